package router

import (
	"net/http"
	"strconv"
	"time"

	"lobstah/grid"
)

// learnClock takes the peer's clock from its refusal of our signature. It
// reports whether signing again may help, which is tried once: the clock may
// differ, or the worker may have started since.
func (a *attempt) learnClock(h http.Header) bool {
	at, ok := clockOf(h)
	if !ok || a.proof == "" || a.resigned {
		return false
	}
	a.resigned = a.setClock(at, a.rt.Now())
	return a.resigned
}

// clockOf is the time that a refusal tells.
func clockOf(h http.Header) (time.Time, bool) {
	ms, err := strconv.ParseInt(h.Get(grid.TimeHeader), 10, 64)
	return time.UnixMilli(ms), err == nil
}

// setClock notes how far a peer's clock is from ours, since it judges our
// signatures by it, and dates its receipts. A day is more than a wrong clock.
func (p *peer) setClock(theirs, now time.Time) bool {
	const most, same = 24 * time.Hour, 5 * time.Second
	skew := theirs.Sub(now)
	if skew.Abs() > most {
		return false
	}
	if skew.Abs() < same {
		skew = 0
	}
	p.skew.Store(int64(skew))
	return true
}

// clock is the peer's time when ours is now.
func (p *peer) clock(now time.Time) time.Time { return now.Add(time.Duration(p.skew.Load())) }
