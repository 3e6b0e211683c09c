package batch

import (
	"container/heap"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// queue holds a batch's lines of one model that are still to be asked. Those
// that have to be tried again wait until their time, and no other waits behind
// them.
type queue struct {
	model string
	now   func() time.Time

	mu        sync.Mutex
	fresh     []int32       // guarded by mu; in the input's order
	again     retries       // guarded by mu
	left      int           // guarded by mu; lines that have no result
	successes int           // guarded by mu; answers so far, also of former processes
	down      bool          // guarded by mu; the latest request was not answered
	unknown   time.Time     // guarded by mu; since when nobody has the model; zero when somebody has
	changed   chan struct{} // signals that next may have something
}

func newQueue(model string, entries []int32, now func() time.Time) *queue {
	return &queue{model: model, now: now, fresh: entries, left: len(entries), changed: make(chan struct{}, 1)}
}

// task is a line that is to be asked.
type task struct {
	entry  int32
	tries  int       // that came to nothing
	blamed int       // of these, while others succeeded
	seen   int       // the queue's successes when it was taken first, or failed last
	at     time.Time // not before
}

// next waits for a line to ask. It returns false when every line has a result,
// or when ctx ends. One goroutine calls it.
func (q *queue) next(ctx context.Context) (task, bool) {
	for {
		t, wait, more := q.take()
		if wait == 0 || !more {
			return t, more
		}
		timer := time.NewTimer(wait)
		select {
		case <-q.changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return task{}, false
		}
		timer.Stop()
	}
}

// idle is how long next sleeps at most while every line is being asked.
const idle = time.Hour

// take returns a line, or how long to wait for one, or that no more will come.
func (q *queue) take() (t task, wait time.Duration, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.left == 0 {
		return task{}, 0, false
	}
	now := q.now()
	// While nobody is answered, what was never asked goes first, so that no line
	// has to bear all the failures.
	if len(q.again) > 0 && !q.again[0].at.After(now) && (!q.down || len(q.fresh) == 0) {
		return heap.Pop(&q.again).(task), 0, true
	}
	if len(q.fresh) > 0 {
		t = task{entry: q.fresh[0], seen: q.successes}
		q.fresh = q.fresh[1:]
		return t, 0, true
	}
	if len(q.again) > 0 {
		return task{}, q.again[0].at.Sub(now), true
	}
	return task{}, idle, true
}

// waiting tells how many lines are not being asked.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.fresh) + len(q.again)
}

// putBack returns a line that has no result. It is asked again from its time
// on.
func (q *queue) putBack(t task) {
	q.mu.Lock()
	heap.Push(&q.again, t)
	q.mu.Unlock()
	q.signal()
}

// without drops the entries that are done.
func (q *queue) without(done []bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fresh = slices.DeleteFunc(q.fresh, func(at int32) bool { return done[at] })
	q.left = len(q.fresh)
}

// missing tells how many lines have no result.
func (q *queue) missing() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.left
}

// settled counts a line that has its result.
func (q *queue) settled() {
	q.mu.Lock()
	q.left--
	q.mu.Unlock()
	q.signal()
}

// heard takes note of an answer's status, and tells how the others fare.
func (q *queue) heard(t *task, status int) circumstances {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := circumstances{others: q.successes > t.seen, ever: q.successes > 0}
	t.seen = q.successes
	now := q.now()
	q.down = retriable(status)
	switch {
	case status == http.StatusOK:
		q.successes++
		q.unknown = time.Time{}
	case status != http.StatusNotFound:
		q.unknown = time.Time{}
	case q.unknown.IsZero():
		q.unknown = now
	default:
		c.unknown = now.Sub(q.unknown)
	}
	return c
}

// rest empties the queue, when its batch ends early.
func (q *queue) rest() []int32 {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.fresh
	for _, t := range q.again {
		list = append(list, t.entry)
	}
	q.fresh, q.again = nil, nil
	return list
}

func (q *queue) signal() {
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

// retries is a heap by time.
type retries []task

func (r retries) Len() int           { return len(r) }
func (r retries) Less(i, j int) bool { return r[i].at.Before(r[j].at) }
func (r retries) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *retries) Push(x any)        { *r = append(*r, x.(task)) }
func (r *retries) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}
