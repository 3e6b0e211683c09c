package router

import "time"

// Load is what a [Scorer] judges a peer by.
type Load struct {
	Running    int64         // requests of ours that the peer works on or queues now
	Others     int64         // requests of others, as of the last poll
	Slots      int64         // requests that it answers at once, at least 1
	Speed      float64       // output tokens a second, lately; 0 when not known
	FirstToken time.Duration // wait for the first token, lately; 0 when not known
	Cold       bool          // the model has to be loaded first
}

// Queue returns how many requests would stand before a new one.
func (l Load) Queue() int64 { return max(0, l.Running+l.Others+1-l.Slots) }

// A Scorer estimates how long a request would take at a peer. The router asks
// the one with the lower estimate of two that it draws.
type Scorer interface{ Estimate(Load) time.Duration }

// LeastWait is the [Scorer] that counts what stands before the request, at the
// speed that was measured.
type LeastWait struct{}

// A usual answer, for want of knowing how long this one will be, at the speed
// that a peer is taken to have until it was measured.
const (
	usualTokens = 400
	usualSpeed  = 40
	coldLoad    = 10 * time.Second
)

// Estimate implements [Scorer].
func (LeastWait) Estimate(l Load) time.Duration {
	speed := l.Speed
	if speed <= 0 {
		speed = usualSpeed
	}
	answer := usualTokens / speed
	waits := float64(l.Queue()) / float64(max(1, l.Slots))
	// Slots share one machine: its speed for each falls as they fill.
	sharing := float64(min(l.Running+l.Others, l.Slots)) / float64(max(1, l.Slots))
	estimate := time.Duration((waits + 1 + sharing/2) * answer * float64(time.Second))
	if l.Cold {
		estimate += coldLoad
	}
	return estimate + l.FirstToken
}
