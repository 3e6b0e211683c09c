package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"reflect"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/openai"
)

const (
	watchPeers     = time.Second // how often the list is looked at without requests
	firstRetry     = time.Second // after a poll that failed; doubles up to the usual pause
	pollsAtOnce    = 64
	firstPollWait  = 2 * time.Second // a request for a model that nobody is known to have
	maxRefusalBody = 64 << 10
)

// pollAll keeps one poller for each peer until ctx is done.
func (rt *Router) pollAll(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	pollers := map[*peer]context.CancelFunc{}
	slots := make(chan struct{}, pollsAtOnce)
	tick := time.NewTicker(watchPeers)
	defer tick.Stop()
	for {
		current := map[*peer]bool{}
		for _, p := range rt.roster.sync(rt.Peers.List()).peers {
			current[p] = true
			if pollers[p] == nil {
				peerCtx, cancel := context.WithCancel(ctx)
				pollers[p] = cancel
				wg.Go(func() { rt.pollPeer(peerCtx, p, slots) })
			}
		}
		for p, cancel := range pollers {
			if !current[p] {
				cancel()
				delete(pollers, p)
			}
		}
		select {
		case <-rt.roster.changed:
		case <-tick.C:
		case <-ctx.Done():
			for _, cancel := range pollers {
				cancel()
			}
			return
		}
	}
}

// pollPeer asks one peer again and again. What goes wrong is the peer's state,
// and a log line when it changes.
func (rt *Router) pollPeer(ctx context.Context, p *peer, slots chan struct{}) {
	retry, wasWell := firstRetry, true
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		err := rt.poll(ctx, p)
		<-slots
		if ctx.Err() != nil {
			return
		}
		pause := rt.Timeouts.Poll
		if err != nil {
			pause = min(retry, pause)
			retry *= 2
			if wasWell {
				rt.Logger.LogAttrs(ctx, slog.LevelWarn, "a peer does not tell its capacity", peerAttr(p), errAttr(err))
			}
		} else {
			retry = firstRetry
			rt.pull(ctx, p)
		}
		wasWell = err == nil
		pause -= time.Duration(rand.Int64N(int64(pause)/4 + 1))
		if !p.rest(ctx, pause) {
			return
		}
	}
}

// poll asks once and publishes what changed.
func (rt *Router) poll(ctx context.Context, p *peer) error {
	ours, jobs := p.running.Load(), p.placed.Load()
	capacity, err := rt.capacity(ctx, p)
	if !errors.Is(err, context.DeadlineExceeded) || p.running.Load() == 0 {
		p.health.polled(err) // a peer that is slow to tell while it works for us is not dead
	}
	if err == nil {
		if capacity.Now > 0 {
			p.setClock(time.UnixMilli(capacity.Now), rt.Now())
		}
		next := &facts{Capacity: *capacity, models: capacity.Facts(), told: len(capacity.ModelFacts) > 0, ours: ours, jobs: jobs}
		before := p.facts.Swap(next)
		if before == nil || before.Tier != next.Tier || !reflect.DeepEqual(before.models, next.models) {
			rt.roster.learn()
		}
	}
	select {
	case <-p.polled:
	default:
		close(p.polled)
	}
	return err
}

func (rt *Router) capacity(ctx context.Context, p *peer) (*grid.Capacity, error) {
	ctx, cancel := context.WithTimeout(ctx, rt.Timeouts.Capacity)
	defer cancel()
	body, err := rt.get(ctx, p, "/capacity", "", grid.MaxCapacityBytes)
	if err != nil {
		return nil, err
	}
	var c grid.Capacity
	if err := json.Unmarshal(body, &c); err != nil {
		return nil, fmt.Errorf("capacity: %s", openai.ParseError(http.StatusOK, body).Message)
	}
	return &c, c.Validate(p.ID)
}

// get reads one page of a peer, capped.
func (rt *Router) get(ctx context.Context, p *peer, path, query string, limit int64) ([]byte, error) {
	if p.badURL != nil {
		return nil, p.badURL
	}
	r := (&http.Request{Method: http.MethodGet, URL: p.url(path, query), Header: http.Header{}}).WithContext(ctx)
	rt.sign(r.Header, p, http.MethodGet, path, emptyHash)
	response, err := p.way.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, err)
	case response.StatusCode != http.StatusOK:
		said := openai.ParseError(response.StatusCode, body[:min(len(body), maxRefusalBody)]).Message
		if response.StatusCode == http.StatusForbidden {
			return nil, &closedError{said}
		}
		return nil, fmt.Errorf("GET %s: status %d: %s", path, response.StatusCode, said)
	case int64(len(body)) > limit:
		return nil, fmt.Errorf("GET %s: %w", path, errTooLarge)
	}
	return body, nil
}

// closedError is the answer of a peer that does not know us.
type closedError struct{ said string }

func (e *closedError) Error() string { return e.said }

var errTooLarge = errors.New("the answer is larger than any honest one")

// awaitFirstPolls waits, not long, until every peer was polled once: a router
// that just started, or a peer that was just added, is no reason for a 404.
func (v *view) awaitFirstPolls(ctx context.Context) {
	var limit <-chan time.Time
	for _, p := range v.peers {
		select {
		case <-p.polled:
			continue
		default:
		}
		if limit == nil {
			timer := time.NewTimer(firstPollWait)
			defer timer.Stop()
			limit = timer.C
		}
		select {
		case <-p.polled:
		case <-limit:
			return
		case <-ctx.Done():
			return
		}
	}
}

// rest waits until the next poll, or until somebody asks for an earlier one,
// though never less than a second. It reports whether to go on.
func (p *peer) rest(ctx context.Context, pause time.Duration) bool {
	const least = time.Second
	due := time.NewTimer(min(least, pause))
	defer due.Stop()
	select {
	case <-due.C:
	case <-ctx.Done():
		return false
	}
	due.Reset(max(0, pause-least))
	select {
	case <-due.C:
	case <-p.kick:
	case <-ctx.Done():
		return false
	}
	return true
}

// poke asks for an early poll, since the peer is not as we thought.
func (p *peer) poke() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}
