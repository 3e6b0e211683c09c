package link

import (
	"math/rand/v2"
	"time"
)

// Reconnecting begins with up to a second and ends with up to a minute.
const (
	firstWait    = time.Second
	longestWait  = time.Minute
	healthyAfter = time.Minute
)

// Backoff says how long to wait before the next dial: a random part of a span
// that doubles from 1 s to 60 s, so that nodes which lost the same hub do not
// come back at the same moment. The zero value is ready.
type Backoff struct{ failures int }

// Next counts a failure and returns the wait.
func (b *Backoff) Next() time.Duration {
	span := min(longestWait, firstWait<<min(b.failures, 6))
	b.failures++
	return rand.N(span)
}

// Hopeless makes the next waits the longest: the failure will not pass by itself.
func (b *Backoff) Hopeless() { b.failures = 6 }

// Lasted reports how long a link held; a minute makes the next wait short again.
func (b *Backoff) Lasted(d time.Duration) {
	if d >= healthyAfter {
		b.failures = 0
	}
}
