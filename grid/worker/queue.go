package worker

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"lobstah/openai"
)

// A queue gives out the slots in which answers run. Who finds none waits in a
// line of its requester's (ring.go); lines take turns, so that one requester's
// hundred requests delay another's by one slot each at most. All strangers
// together have one turn, because keys are free.
//
// At most room requests wait. When that many do, a newcomer takes the place of
// the last in the longest line if its own line is shorter by two or more;
// else it is refused.
type queue struct {
	mu      sync.Mutex
	slots   int
	room    int
	running int
	waiting int
	turns   *ring
	closed  bool
	service time.Duration // moving mean of how long a slot is held
}

// A ticket is one request's place. Its fields are guarded by the queue's lock,
// apart from called, which gets one value: nil for a slot, else the refusal.
type ticket struct {
	line   *line // nil once it was called
	called chan *openai.Error
	since  time.Time // when it got its slot
}

func newQueue(slots, room int) *queue { return &queue{slots: slots, room: room, turns: newRing()} }

// enter gives a slot at once (waits is false) or a place in the requester's
// line, or refuses.
func (q *queue) enter(who string, stranger bool) (t *ticket, waits bool, refusal *openai.Error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t = &ticket{called: make(chan *openai.Error, 1)}
	switch {
	case q.closed:
		return nil, false, q.drainingError()
	case q.running < q.slots:
		q.call(t)
		return t, false, nil
	case q.waiting >= q.room && !q.makeRoom(who, stranger):
		return nil, false, q.fullError()
	}
	q.turns.add(t, who, stranger)
	q.waiting++
	return t, true, nil
}

// wait blocks until t has a slot, is refused, or ctx ends.
func (q *queue) wait(ctx context.Context, t *ticket) (*openai.Error, error) {
	select {
	case refusal := <-t.called:
		return refusal, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case refusal := <-t.called: // it was called just now
		if refusal == nil {
			q.free()
		}
	default:
		q.remove(t)
	}
	return nil, context.Cause(ctx)
}

// leave gives t's slot to the next.
func (q *queue) leave(t *ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	took := time.Since(t.since)
	if q.service == 0 {
		q.service = took
	}
	q.service += (took - q.service) / 8
	q.free()
}

// close refuses everybody who waits or comes.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for ; q.waiting > 0; q.waiting-- {
		q.turns.take().called <- q.drainingError()
	}
}

// load is how many run and wait.
func (q *queue) load() (running, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running, q.waiting
}

// place estimates t's position, 0 when it has its slot, and when its turn
// comes.
func (q *queue) place(t *ticket) (position, depth int, eta time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.line == nil {
		return 0, q.waiting, 0
	}
	position = q.turns.ahead(t) + 1
	return position, q.waiting, q.eta(position)
}

// The methods below want the lock held.

func (q *queue) call(t *ticket) {
	q.running++
	t.since = time.Now()
	t.called <- nil
}

func (q *queue) free() {
	q.running--
	if q.waiting > 0 {
		q.waiting--
		q.call(q.turns.take())
	}
}

func (q *queue) remove(t *ticket) {
	q.turns.remove(t)
	q.waiting--
}

// makeRoom sends somebody away for the sake of a requester who has at least two
// fewer waiting.
func (q *queue) makeRoom(who string, stranger bool) bool {
	last := q.turns.surplus(who, stranger)
	if last == nil {
		return false
	}
	q.remove(last)
	last.called <- q.fullError()
	return true
}

func (q *queue) eta(position int) time.Duration {
	return q.service * time.Duration(position) / time.Duration(q.slots)
}

func (q *queue) fullError() *openai.Error {
	return &openai.Error{
		Status: http.StatusTooManyRequests, Type: "rate_limit_error", Code: "queue_full",
		Message:    fmt.Sprintf("the worker's queue is full: %d run and %d wait", q.running, q.waiting),
		RetryAfter: wholeSeconds(q.eta(1)),
		Extra:      map[string]any{"queueDepth": q.waiting, "position": q.waiting + 1},
	}
}

func (q *queue) drainingError() *openai.Error {
	return unavailable("draining", max(q.service, 5*time.Second), "the worker is stopping; it finishes what runs and takes nothing new")
}

// unavailable is a 503 that says when to come again.
func unavailable(code string, retry time.Duration, format string, args ...any) *openai.Error {
	return &openai.Error{
		Status: http.StatusServiceUnavailable, Type: "unavailable", Code: code,
		Message: fmt.Sprintf(format, args...), RetryAfter: wholeSeconds(retry),
	}
}

// wholeSeconds rounds up to what Retry-After can say, from 1 s to 2 minutes.
func wholeSeconds(d time.Duration) time.Duration {
	seconds := time.Duration(math.Ceil(d.Seconds())) * time.Second
	return min(max(seconds, time.Second), 2*time.Minute)
}
