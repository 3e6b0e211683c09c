package tracker

import "sync"

// Why a key left the list.
const (
	withdrawn = "withdrawn"
	expired   = "expired"
	changed   = "changed" // it is listed, and no longer what was asked for
)

// A change is one step of the list: from one view of a key to the next. One of
// both is nil when the key came or went.
type change struct {
	before, after *view
	why           string // it went
}

// ringSize is how many changes a reader may be behind.
const ringSize = 4096

// changes is the ring of the last changes, which all readers of the stream
// share: none has a queue of its own.
type changes struct {
	mu   sync.Mutex
	ring [ringSize]change // guarded by mu
	next uint64           // guarded by mu; number of the next change
	wake chan struct{}    // guarded by mu; closed by the next change; nil while nobody waits
}

func (c *changes) publish(step change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring[c.next%ringSize] = step
	c.next++
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
}

// position is the number of the next change.
func (c *changes) position() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next
}

// since copies the changes from number from on, a few at a time. ok is false
// when the ring no longer has them all. Without any, more is closed when there
// are.
func (c *changes) since(from uint64) (steps []change, more <-chan struct{}, ok bool) {
	const some = 64
	c.mu.Lock()
	defer c.mu.Unlock()
	if from > c.next || c.next-from > ringSize {
		return nil, nil, false
	}
	for n := from; n < c.next && len(steps) < some; n++ {
		steps = append(steps, c.ring[n%ringSize])
	}
	if len(steps) > 0 {
		return steps, nil, true
	}
	if c.wake == nil {
		c.wake = make(chan struct{})
	}
	return nil, c.wake, true
}
