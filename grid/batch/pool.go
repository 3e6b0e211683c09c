package batch

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// A Peer is somebody who answers lines.
type Peer struct {
	ID    string // empty for whom the handler chooses
	Slots int    // answers at once that are free for us
}

// pool gives out the peers' slots: who finishes a line takes the next one, so a
// fast peer does more of them, and nobody idles while there are lines. Feeders
// wait in turn, past those whose model has no free slot.
type pool struct {
	peers  func(model string) []Peer
	now    func() time.Time
	flight int64 // bytes in flight at most

	mu       sync.Mutex
	waiters  list.List           // guarded by mu; of *waiter
	models   map[string]*share   // guarded by mu
	stations map[string]*station // guarded by mu; by the peer's id
	running  int                 // guarded by mu
	bytes    int64               // guarded by mu
	changed  chan struct{}       // asks run to look at its timer again
}

// share is what the pool knows of one model.
type share struct {
	running int
	pause   time.Time     // nothing is asked before
	backoff time.Duration // of the next pause, when no Retry-After is told
	reason  string        // of the pause; empty when the latest line succeeded
	pace    map[string]time.Duration
}

// station is what the pool knows of one peer.
type station struct {
	running int
	avoid   time.Time // another answered in its place just before
	backoff time.Duration
	done    time.Time // of its latest answer
}

type waiter struct {
	place
	left   func() int // lines that wait behind this one
	placed chan struct{}
}

// place is a line's place in flight.
type place struct {
	model string
	peer  string // to ask first; empty for any
	bytes int64
	began time.Time
}

func newPool(peers func(string) []Peer, flight int64, now func() time.Time) *pool {
	return &pool{
		peers: peers, flight: flight, now: now,
		models: map[string]*share{}, stations: map[string]*station{}, changed: make(chan struct{}, 1),
	}
}

const (
	lookEvery   = time.Second // how often the peers are looked at without news
	firstPause  = time.Second
	mostPause   = time.Minute
	mostAvoided = 30 * time.Second
)

// run gives slots when time passes or the peers change, until ctx is done.
func (p *pool) run(ctx context.Context) {
	for {
		timer := time.NewTimer(p.assign())
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
func (p *pool) enter(ctx context.Context, model string, bytes int64, left func() int) (place, error) {
	w := &waiter{place: place{model: model, bytes: bytes}, left: left, placed: make(chan struct{})}
	p.mu.Lock()
	at := p.waiters.PushBack(w)
	p.mu.Unlock()
	p.assign()
	p.look()
	select {
	case <-w.placed:
		return w.place, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-w.placed: // just now
		p.giveBack(w.place)
	default:
		p.waiters.Remove(at)
	}
	return place{}, ctx.Err()
}

// leave gives a place back.
func (p *pool) leave(at place) {
	p.mu.Lock()
	p.giveBack(at)
	p.mu.Unlock()
	p.assign()
}

// giveBack, share and station want the lock held, as do choose, othersFinish,
// forget and shun.
func (p *pool) giveBack(at place) {
	p.running--
	p.bytes -= at.bytes
	p.share(at.model).running--
	p.station(at.peer).running--
}

func (p *pool) share(model string) *share {
	s := p.models[model]
	if s == nil {
		s = &share{pace: map[string]time.Duration{}}
		p.models[model] = s
	}
	return s
}

func (p *pool) station(peer string) *station {
	s := p.stations[peer]
	if s == nil {
		s = &station{}
		p.stations[peer] = s
	}
	return s
}

// assign gives places to those in the line for whom there is one. It returns
// when to look again.
func (p *pool) assign() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, again := p.now(), lookEvery
	if p.waiters.Len() == 0 {
		again = idle
	}
	known := map[string][]Peer{}
	for at := p.waiters.Front(); at != nil; {
		w, next := at.Value.(*waiter), at.Next()
		s := p.share(w.model)
		if pause := s.pause.Sub(now); pause > 0 {
			again = min(again, pause)
			at = next
			continue
		}
		peers, seen := known[w.model]
		if !seen {
			peers = p.peers(w.model)
			known[w.model] = peers
		}
		if peer, ok := p.choose(w, s, peers, now); ok {
			p.waiters.Remove(at)
			w.peer, w.began = peer, now
			p.running++
			p.bytes += w.bytes
			s.running++
			p.station(peer).running++
			close(w.placed)
		}
		at = next
	}
	p.forget(now)
	return again
}

// choose finds the fastest peer that has a slot for a line.
func (p *pool) choose(w *waiter, s *share, peers []Peer, now time.Time) (peer string, ok bool) {
	if p.running > 0 && p.bytes+w.bytes > p.flight {
		return "", false
	}
	if len(peers) == 0 || s.reason != "" { // one at a time finds out when that changes
		return "", s.running == 0
	}
	left := w.left() + 1
	best := time.Duration(-1)
	for _, one := range peers {
		at, pace := p.station(one.ID), s.pace[one.ID]
		free := at.running < max(one.Slots, 1)+ahead(one.Slots, pace, left) && !now.Before(at.avoid)
		if free && (best < 0 || pace < best) && !p.othersFinish(s, peers, pace, left, now) {
			peer, best, ok = one.ID, pace, true
		}
	}
	return peer, ok
}

// onTheWay is about how long a slot is empty between two lines.
const onTheWay = 10 * time.Millisecond

// ahead is how many lines may wait at a peer so that its slots are never empty:
// as many as it answers while the next ones are on their way. Near the end none
// waits, so that whoever is free first takes it.
func ahead(slots int, pace time.Duration, left int) int {
	if pace == 0 || left <= 2*slots {
		return 0
	}
	return min(slots, int(time.Duration(slots)*onTheWay*2/pace))
}

// othersFinish tells whether faster peers will have answered all that is left
// before a peer of this pace would have answered one line: then the end of the
// batch does not wait for the slowest.
func (p *pool) othersFinish(s *share, peers []Peer, pace time.Duration, left int, now time.Time) bool {
	for _, one := range peers {
		theirs, at := s.pace[one.ID], p.station(one.ID)
		if theirs == 0 || theirs >= pace || now.Before(at.avoid) || now.Sub(at.done) > 4*theirs {
			continue // not faster, or stuck
		}
		slots := max(one.Slots, 1)
		busy := min(at.running, slots)
		// A busy slot is on average half way through.
		left -= (slots-busy)*int(pace/theirs) + busy*int((pace-theirs/2)/theirs)
		if left <= 0 {
			return true
		}
	}
	return false
}

// forget drops models that nobody asks for any more.
func (p *pool) forget(now time.Time) {
	const most = 1024
	if len(p.models) > most {
		for model, s := range p.models {
			if s.running == 0 && now.After(s.pause) {
				delete(p.models, model)
			}
		}
	}
	if len(p.stations) > most {
		for id, s := range p.stations {
			if s.running == 0 {
				delete(p.stations, id)
			}
		}
	}
}

// answered notes that a peer answered a line at this place; empty is whom it was
// for.
func (p *pool) answered(at place, by string) {
	if by == "" {
		by = at.peer
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now, s := p.now(), p.share(at.model)
	s.pause, s.backoff, s.reason = time.Time{}, 0, ""
	p.station(by).done = now
	if by == at.peer {
		took := max(now.Sub(at.began), 1)
		if before := s.pace[by]; before > 0 {
			took = before + (took-before)*3/10
		}
		s.pace[by] = took
		p.station(by).backoff = 0
		return
	}
	p.shun(at, now)
}

// failed notes that nobody answered a line. How long that took is what is to be
// expected of its peer.
func (p *pool) failed(at place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, s := p.now(), p.share(at.model)
	s.pace[at.peer] = max(s.pace[at.peer], now.Sub(at.began))
	p.shun(at, now)
}

// shun leaves alone for a while the peer that did not answer what was meant for
// it.
func (p *pool) shun(at place, now time.Time) {
	if at.peer == "" {
		return
	}
	wanted := p.station(at.peer)
	wanted.backoff = min(max(2*wanted.backoff, firstPause), mostAvoided)
	wanted.avoid = now.Add(wanted.backoff)
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
	p.look()
}

// look lets run find out anew how long it may sleep.
func (p *pool) look() {
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
