package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"lobstah/grid/batch"
	"lobstah/internal/cli"
)

const (
	firstLook   = 50 * time.Millisecond
	usualLook   = time.Second
	routerAway  = time.Minute      // how long a router may be away while a batch is followed
	plainEvery  = 10 * time.Second // between lines where there is no terminal
	paceWindow  = time.Minute      // over which speeds are taken
	barWidth    = 24
	maxPaceTaps = 64

	// A line that is too long for the terminal is cut off there, not wrapped.
	noWrap, wrap = "\x1b[?7l", "\x1b[?7h"
)

// connect finds the router, or starts one. The context that it returns ends
// when the work is to stop, the function ends what was started.
func (r *batchRun) connect(ctx context.Context) (_ context.Context, stop func() error, err error) {
	if r.Router == "" {
		_, running, err := r.home.Holder()
		if err != nil {
			return ctx, nil, err
		}
		if !running {
			return r.startRouter(ctx)
		}
	}
	r.client, err = r.batchClient(r.clientSettings)
	return ctx, func() error { return nil }, err
}

// startRouter runs a router in this process, on a free port of this machine.
func (r *batchRun) startRouter(ctx context.Context) (context.Context, func() error, error) {
	p, ctx, err := r.openProcess(ctx, "lobstah batch run", processSettings{LogLevel: "error"})
	if err != nil {
		return ctx, nil, err
	}
	fail := func(err error) (context.Context, func() error, error) { return ctx, nil, errors.Join(err, p.close()) }
	if err := p.learn(ctx, r.Discovery, r.Nostr, r.BlockPrivate); err != nil {
		return fail(err)
	}
	p.mu.Lock()
	found := len(p.peers.Peers()) + len(p.learner.Peers())
	p.mu.Unlock()
	if found == 0 && len(r.Discovery.From) == 0 {
		return fail(cli.Hintf(errors.New("no router runs here, and there are no peers to ask"),
			"lobstah up serves this machine's models; lobstah peers add names a worker elsewhere"))
	}
	key, err := r.sources.first("router.api-keys") // as a router that is started later wants it
	if err != nil {
		return fail(err)
	}
	s := askingSettings{BlockPrivate: r.BlockPrivate}
	if key != "" {
		s.APIKey = []string{key}
	}
	p.keys = s.APIKey
	base, err := p.serveRouter(routerAddress{Host: "127.0.0.1"}, s, "")
	if err != nil {
		return fail(err)
	}
	r.note("no router runs here, so this command asks %s itself", cli.Plural(found, "peer"))
	r.client = &batchClient{&apiClient{base, key}}
	return ctx, func() error {
		var err error
		if ctx.Err() != nil { // it was interrupted
			err = p.drain(ctx)
		}
		return errors.Join(err, p.close())
	}, nil
}

// watch shows how the batch does until it has ended.
func (r *batchRun) watch(ctx context.Context) (batch.Batch, error) {
	bar := &progressBar{out: r.Err, terminal: cli.Terminal(r.Err), style: r.Style(r.Err)}
	defer bar.clear()
	wait, lost := firstLook, time.Time{}
	for {
		b, err := r.client.get(ctx, r.state.Batch)
		refused, isRefusal := errors.AsType[*refusedError](err)
		switch now := time.Now(); {
		case err == nil:
			lost = time.Time{}
			bar.show(b, now)
			if b.Status.Ended() {
				return b, nil
			}
		case ctx.Err() != nil:
			return b, ctx.Err()
		case isRefusal && refused.status < 500:
			return b, err
		case lost.IsZero():
			lost = now
		case now.Sub(lost) > routerAway:
			return b, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return b, ctx.Err()
		}
		wait = min(wait*3/2, usualLook)
	}
}

// progressBar is one line that is written over on a terminal, and a line now and
// then elsewhere.
type progressBar struct {
	out      io.Writer
	terminal bool
	style    cli.Style

	taps  []tap // over the latest paceWindow, the oldest first
	plain time.Time
	last  string
}

// tap is how far a batch was at one moment.
type tap struct {
	at     time.Time
	lines  int
	tokens int64
}

func (p *progressBar) show(b batch.Batch, now time.Time) {
	if b.RequestCounts.Total == 0 {
		return // it is being read
	}
	text := p.text(b, now)
	if p.plain.IsZero() {
		p.plain = now // what is quick needs no progress
	}
	switch {
	case p.terminal:
		fmt.Fprintf(p.out, "\r\x1b[K%s%s%s", noWrap, text, wrap)
	case text != p.last && now.Sub(p.plain) >= plainEvery:
		p.plain = now
		fmt.Fprintln(p.out, text)
	}
	p.last = text
}

func (p *progressBar) clear() {
	if p.terminal && p.last != "" {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

func (p *progressBar) text(b batch.Batch, now time.Time) string {
	n := b.RequestCounts
	lines, tokens := p.pace(tap{now, n.Completed + n.Failed, b.Usage.TotalTokens})
	var text strings.Builder
	if p.terminal {
		full := barWidth * (n.Completed + n.Failed) / n.Total
		text.WriteString(p.style.Green(strings.Repeat("█", full)) + p.style.Dim(strings.Repeat("░", barWidth-full)) + " ")
	}
	fmt.Fprintf(&text, "%s of %s done", cli.Count(n.Completed), cli.Count(n.Total))
	if n.Failed > 0 {
		text.WriteString(", " + p.style.Red(cli.Count(n.Failed)+" failed"))
	}
	fmt.Fprintf(&text, ", %s", cli.Plural(b.Usage.TotalTokens, "token"))
	if tokens > 0 {
		fmt.Fprintf(&text, ", %s/s", cli.Count(int64(tokens)))
	}
	if left := n.Total - n.Completed - n.Failed; left > 0 && lines > 0 {
		fmt.Fprintf(&text, ", %s left", cli.Duration(time.Duration(float64(left)/lines*float64(time.Second)).Round(time.Second)))
	}
	if b.Now != nil && b.Now.Waiting != "" {
		const most = 100
		fmt.Fprintf(&text, "; waiting: %.*s", most, cli.CleanLine(b.Now.Waiting))
	}
	return text.String()
}

// pace takes up a look, and returns lines and tokens a second over the latest
// ones; 0 while that is not known.
func (p *progressBar) pace(t tap) (lines, tokens float64) {
	if len(p.taps) == maxPaceTaps {
		p.taps = p.taps[1:]
	}
	for len(p.taps) > 1 && t.at.Sub(p.taps[0].at) > paceWindow {
		p.taps = p.taps[1:]
	}
	p.taps = append(p.taps, t)
	first := p.taps[0]
	took := t.at.Sub(first.at).Seconds()
	if took < 0.5 {
		return 0, 0
	}
	return float64(t.lines-first.lines) / took, float64(t.tokens-first.tokens) / took
}
