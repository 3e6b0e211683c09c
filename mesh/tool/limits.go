package tool

import (
	"time"

	"golang.org/x/time/rate"

	"lobstah/key"
)

// How often a caller may ask at all, and how many of its refusals are kept in the
// audit log: a flood of them would push out what matters.
const (
	asksPerSecond       = 500
	asksAtOnce          = 1000
	refusalsPerMinute   = 60
	refusalsAtOnce      = 60
	forgetCallersBefore = 10 * time.Minute
)

// limits is what a server counts of one caller. Guarded by Server.mu.
type limits struct {
	asks     *rate.Limiter
	refusals *rate.Limiter
	active   int
	reading  int
	unlogged int
	seen     time.Time
}

// of returns the limits of a caller; the server's lock is held.
func (s *Server) of(id key.ID) *limits {
	l := s.limits[id]
	if l == nil {
		s.forgetCallers()
		l = &limits{asks: rate.NewLimiter(asksPerSecond, asksAtOnce), refusals: rate.NewLimiter(refusalsPerMinute/60.0, refusalsAtOnce)}
		s.limits[id] = l
	}
	l.seen = time.Now()
	return l
}

// forgetCallers makes room when too many are known.
func (s *Server) forgetCallers() {
	if len(s.limits) < maxCallers {
		return
	}
	for id, l := range s.limits {
		if l.active+l.reading == 0 && time.Since(l.seen) > forgetCallersBefore {
			delete(s.limits, id)
		}
	}
}

// ask counts one more request of a caller.
func (s *Server) ask(c Caller) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return refuse(CodeStopping, "", "the node %s is stopping", s.opt.Self.Node)
	}
	l := s.of(c.Key)
	if !l.asks.Allow() {
		l.unlogged++
		return refuse(CodeBusy, "", "more than %d calls in a second", asksPerSecond)
	}
	return nil
}

// mayLog reports whether one more refusal of a caller is kept, and how many were
// not since the last that was.
func (s *Server) mayLog(c Caller) (unlogged int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.of(c.Key)
	if !l.refusals.Allow() {
		l.unlogged++
		return 0, false
	}
	unlogged, l.unlogged = l.unlogged, 0
	return unlogged, true
}

// reading counts a request whose body is being read; call done after that.
func (s *Server) reading(c Caller) (done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.of(c.Key)
	if l.reading >= maxCallsOfCaller {
		return nil, refuse(CodeBusy, "", "%d requests of yours are being read here already", maxCallsOfCaller)
	}
	l.reading++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.of(c.Key).reading--
	}, nil
}
