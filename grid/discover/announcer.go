package discover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/key"
)

// A LaterError is what a place returns that wants to be left alone for a while.
type LaterError struct {
	After time.Duration
	Err   error
}

// Error implements error.
func (e *LaterError) Error() string {
	return fmt.Sprintf("%v (it wants to be asked again in %s)", e.Err, e.After.Round(time.Second))
}

// Unwrap returns what the place said.
func (e *LaterError) Unwrap() error { return e.Err }

const (
	publishGap   = 10 * time.Second // between two offers on one board, however often they change
	publishLimit = 30 * time.Second // for one board to take an offer
	firstRetry   = 5 * time.Second
	lastRetry    = 5 * time.Minute
	stopLimit    = 5 * time.Second // for what has to be done when all else stopped
)

// An AnnouncerConfig says what is announced and where.
type AnnouncerConfig struct {
	Boards []Board
	Key    key.Pair
	// Offer tells what the worker offers now; ID and AnnouncedAt are filled in.
	// It is called from several goroutines, some times a minute. While it fails,
	// nothing is announced, and what was announced runs out.
	Offer func(context.Context) (announce.Offer, error)
	// Logger may be nil, which means slog.Default.
	Logger *slog.Logger
}

// An Announcer keeps an offer on every board, each for itself: it renews at half
// of the time that the offer stays there, and earlier when the offer changed; it
// tries again, ever more slowly, where that failed. Get one from [NewAnnouncer].
type Announcer struct {
	config AnnouncerConfig
	boards []*posting

	mu   sync.Mutex
	last time.Time // guarded by mu; when the newest offer was announced
}

// A posting is what one board has of us. Only the goroutine that runs
// [Announcer.keep] writes to it.
type posting struct {
	board Board

	mu    sync.Mutex
	state BoardState     // guarded by mu
	shown announce.Offer // guarded by mu; without what always changes
}

// A BoardState tells how announcing on one board goes.
type BoardState struct {
	Name     string
	Tried    bool      // an offer was sent there, whatever became of it
	LastOK   time.Time // zero when it never took an offer
	Until    time.Time // when what it took runs out
	Failures int       // in a row, since LastOK
	LastErr  error     // nil when the last attempt went well
	Next     time.Time // when it is tried again
}

// NewAnnouncer makes an announcer, which does nothing before [Announcer.Run].
func NewAnnouncer(c AnnouncerConfig) *Announcer {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	a := &Announcer{config: c}
	for _, b := range c.Boards {
		a.boards = append(a.boards, &posting{board: b, state: BoardState{Name: b.Name()}})
	}
	return a
}

// Run announces until ctx ends and then withdraws everywhere within five
// seconds. The error names the boards that could not be told; there the offer
// runs out by itself.
func (a *Announcer) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	for _, p := range a.boards {
		tasks.Go(func() { a.keep(ctx, p) })
	}
	tasks.Wait()
	return a.withdraw(context.WithoutCancel(ctx))
}

// States tells of each board, in the order in which they were given.
func (a *Announcer) States() []BoardState {
	list := make([]BoardState, len(a.boards))
	for i, p := range a.boards {
		p.mu.Lock()
		list[i] = p.state
		p.mu.Unlock()
	}
	return list
}

// keep holds the offer on one board until ctx ends.
func (a *Announcer) keep(ctx context.Context, p *posting) {
	for ctx.Err() == nil {
		wait := a.publish(ctx, p)
		if ctx.Err() == nil {
			a.rest(ctx, p, wait)
		}
	}
}

// publish brings a fresh offer to the board and returns how long to wait then.
func (a *Announcer) publish(ctx context.Context, p *posting) time.Duration {
	limited, cancel := context.WithTimeout(ctx, publishLimit)
	defer cancel()
	offer, err := a.sign(limited)
	var stay time.Duration
	if err == nil {
		p.mu.Lock()
		p.state.Tried = true
		p.mu.Unlock()
		stay, err = p.board.Publish(limited, offer)
	}
	if err != nil && ctx.Err() != nil {
		return 0 // it was stopped, which says nothing of the board
	}
	if err != nil {
		return a.failed(p, err)
	}
	if stay <= 0 || stay > offer.Lifetime() {
		stay = offer.Lifetime()
	}
	return a.published(p, offer, stay)
}

// sign makes the announcement of this moment. Each is later than the one
// before, even within a millisecond or when the clock was put back a little.
func (a *Announcer) sign(ctx context.Context) (*announce.Signed, error) {
	offer, err := a.config.Offer(ctx)
	if err != nil {
		return nil, fmt.Errorf("learn what to announce: %w", err)
	}
	offer.ID = a.config.Key.ID()
	a.mu.Lock()
	defer a.mu.Unlock()
	now := wall()
	if !now.After(a.last) && a.last.Sub(now) < announce.Window {
		now = a.last.Add(time.Millisecond)
	}
	offer.AnnouncedAt = now
	s, err := announce.Sign(a.config.Key, offer)
	if err == nil {
		a.last = s.AnnouncedAt
	}
	return s, err
}

func (a *Announcer) published(p *posting, offer *announce.Signed, stay time.Duration) time.Duration {
	wait := max(jitter(stay/2), publishGap)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.LastErr != nil || p.state.LastOK.IsZero() {
		a.config.Logger.Info("announced", "board", p.state.Name, "url", offer.URL, "models", len(offer.Models))
	}
	now := wall()
	p.shown = lasting(offer.Offer)
	p.state.LastOK, p.state.Until, p.state.Next = now, now.Add(stay), now.Add(wait)
	p.state.Failures, p.state.LastErr = 0, nil
	return wait
}

func (a *Announcer) failed(p *posting, err error) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := backoff(firstRetry, lastRetry, p.state.Failures)
	if later, ok := errors.AsType[*LaterError](err); ok {
		wait = max(wait, min(later.After, 2*lastRetry))
	}
	if p.state.LastErr == nil {
		a.config.Logger.Warn("could not announce; trying again", "board", p.state.Name, "error", err)
	}
	p.state.Failures++
	p.state.LastErr, p.state.Next = err, wall().Add(wait)
	return wait
}

// rest waits, by the clock of the wall, or until the offer differs from what
// the board shows.
func (a *Announcer) rest(ctx context.Context, p *posting, wait time.Duration) {
	due := wall().Add(wait)
	for {
		left := due.Sub(wall())
		if left <= 0 || left > wait+time.Minute { // or the clock was put back
			return
		}
		if !nap(ctx, min(left, checkEvery)) {
			return
		}
		if soon, changed := a.changed(ctx, p); changed && soon.Before(due) {
			due = soon
		}
	}
}

// changed reports whether the board shows what is no longer so, and when it may
// be told. A board that failed is left to its own time.
func (a *Announcer) changed(ctx context.Context, p *posting) (time.Time, bool) {
	p.mu.Lock()
	state, shown := p.state, p.shown
	p.mu.Unlock()
	if state.LastErr != nil {
		return time.Time{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, publishLimit)
	defer cancel()
	offer, err := a.sign(ctx) // which also writes it as others would read it
	if err != nil {
		return time.Time{}, false // publishing will tell
	}
	return state.LastOK.Add(publishGap), !reflect.DeepEqual(lasting(offer.Offer), shown)
}

// lasting is an offer, as read back, without what changes by the second and in
// a fixed order: two of them are equal when there is nothing to tell.
func lasting(o announce.Offer) announce.Offer {
	o.AnnouncedAt, o.Running, o.QueueDepth = time.Time{}, 0, 0
	o.Models = slices.Sorted(slices.Values(o.Models))
	o.Through = slices.Sorted(slices.Values(o.Through))
	o.ModelFacts = slices.SortedFunc(slices.Values(o.ModelFacts), func(a, b grid.Model) int { return strings.Compare(a.ID, b.ID) })
	return o
}

// withdraw tells every board that may have an offer of ours.
func (a *Announcer) withdraw(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	a.mu.Lock()
	now := wall()
	if a.last.After(now) {
		now = a.last
	}
	a.mu.Unlock()
	gone := announce.Withdraw(a.config.Key, now)
	faults := make([]error, len(a.boards))
	var tasks sync.WaitGroup
	for i, p := range a.boards {
		if !p.state.Tried { // nobody writes any more
			continue
		}
		tasks.Go(func() {
			if err := p.board.Withdraw(ctx, gone); err != nil {
				faults[i] = fmt.Errorf("withdraw from %s: %w", p.state.Name, err)
			}
		})
	}
	tasks.Wait()
	return errors.Join(faults...)
}
