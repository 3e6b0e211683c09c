package batch

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// pool gives out places in flight. There are as many as the peers can answer at
// once, and a few more that wait at a peer so that none idles while the next
// line is on its way: whoever finishes takes the next line, so a fast peer does
// more of them. Who waits for a place waits in turn, past those whose model has
// no room.
type pool struct {
	room   func(model string) int
	now    func() time.Time
	flight int64 // bytes in flight at most

	mu      sync.Mutex
	waiters list.List         // guarded by mu; of *waiter
	models  map[string]*share // guarded by mu
	running int               // guarded by mu
	bytes   int64             // guarded by mu
	changed chan struct{}     // asks run to look at its timer again
}

// share is what one model holds of the pool.
type share struct {
	running int
	pause   time.Time     // nothing is asked before
	backoff time.Duration // of the next pause, when no Retry-After is told
	reason  string        // of the pause; empty when the latest line succeeded
}

type waiter struct {
	model  string
	bytes  int64
	tail   func() int // lines that would wait behind this one
	placed chan struct{}
}

func newPool(room func(string) int, flight int64, now func() time.Time) *pool {
	return &pool{room: room, now: now, flight: flight, models: map[string]*share{}, changed: make(chan struct{}, 1)}
}

const (
	lookEvery  = time.Second // how often room is looked at without news
	firstPause = time.Second
	mostPause  = time.Minute
	// queueShare is how many lines may wait at the peers, beyond those that run
	// there: one for so many.
	queueShare = 4
)

// allowance is how many lines may be in flight when the peers can run room at
// once. Near the end none waits at a peer, so that whoever is free first takes
// it.
func allowance(room, left int) int {
	if left <= room {
		return max(room, 1)
	}
	return max(room, 1) + max(1, room/queueShare)
}

// run gives places when time passes or the peers change, until ctx is done.
func (p *pool) run(ctx context.Context) {
	for {
		timer := time.NewTimer(p.place())
		select {
		case <-timer.C:
		case <-p.changed:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// enter waits for a place for a line of so many bytes. left tells how many
// lines wait behind it.
func (p *pool) enter(ctx context.Context, model string, bytes int64, left func() int) error {
	w := &waiter{model: model, bytes: bytes, tail: left, placed: make(chan struct{})}
	p.mu.Lock()
	at := p.waiters.PushBack(w)
	p.mu.Unlock()
	p.place()
	select {
	case <-w.placed:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-w.placed: // just now
		p.giveBack(model, bytes)
	default:
		p.waiters.Remove(at)
	}
	return ctx.Err()
}

// leave gives a place back.
func (p *pool) leave(model string, bytes int64) {
	p.mu.Lock()
	p.giveBack(model, bytes)
	p.mu.Unlock()
	p.place()
}

func (p *pool) giveBack(model string, bytes int64) {
	p.running--
	p.bytes -= bytes
	p.share(model).running--
}

// share wants the lock held.
func (p *pool) share(model string) *share {
	s := p.models[model]
	if s == nil {
		s = &share{}
		p.models[model] = s
	}
	return s
}

// place gives places to those in the line for whom there is room. It returns
// when to look again.
func (p *pool) place() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, again := p.now(), lookEvery
	rooms := map[string]int{}
	room := func(model string) int {
		n, known := rooms[model]
		if !known {
			n = p.room(model)
			rooms[model] = n
		}
		return n
	}
	for at := p.waiters.Front(); at != nil; {
		w, next := at.Value.(*waiter), at.Next()
		s := p.share(w.model)
		if pause := s.pause.Sub(now); pause > 0 {
			again = min(again, pause)
		} else if p.fits(w, s, room) {
			p.waiters.Remove(at)
			p.running++
			p.bytes += w.bytes
			s.running++
			close(w.placed)
		}
		at = next
	}
	p.forget(now)
	return again
}

func (p *pool) fits(w *waiter, s *share, room func(string) int) bool {
	if p.running == 0 {
		return true // one of any size
	}
	left, mine := w.tail(), room(w.model)
	if mine == 0 || s.reason != "" { // one at a time finds out when that changes
		return s.running == 0
	}
	return s.running < allowance(mine, left) && p.running < allowance(max(room(""), mine), left) && p.bytes+w.bytes <= p.flight
}

// forget drops models that nobody asks for any more.
func (p *pool) forget(now time.Time) {
	if len(p.models) < 1024 {
		return
	}
	for model, s := range p.models {
		if s.running == 0 && now.After(s.pause) {
			delete(p.models, model)
		}
	}
}

// succeeded notes that a model is answered.
func (p *pool) succeeded(model string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.share(model)
	s.pause, s.backoff, s.reason = time.Time{}, 0, ""
}

// pauseFor asks nothing of a model for a while: for as long as the pool said,
// else twice as long as the last time.
func (p *pool) pauseFor(model string, told time.Duration, reason string) {
	p.mu.Lock()
	s := p.share(model)
	now := p.now()
	if now.Before(s.pause) { // the others of the same moment say nothing new
		p.mu.Unlock()
		return
	}
	s.backoff = min(max(2*s.backoff, firstPause), mostPause)
	s.reason = reason
	if told == 0 {
		told = s.backoff
	}
	s.pause = now.Add(told)
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// waitingFor says why a model is not answered, empty when it is.
func (p *pool) waitingFor(model string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.models[model]; s != nil {
		return s.reason
	}
	return ""
}
