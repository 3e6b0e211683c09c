package worker

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/openai"
)

// A queue gives out the slots in which answers run. Who finds none waits in a
// line of its requester's (ring.go); lines take turns, so that one requester's
// hundred requests delay another's by one slot each at most. All strangers
// together have one turn, because keys are free. Tiers come before turns: no
// line of a tier moves while one waits whose tier goes first (see ranking).
//
// At most room requests wait. When that many do, a newcomer takes the place of
// the last whose tier comes after its own; or of the last in the longest line
// of its tier, if its own line is shorter by two or more; else it is refused.
type queue struct {
	mu      sync.Mutex
	slots   int
	room    int
	running int
	waiting int
	rank    map[grid.Tier]int // in which order tiers are served; fixed
	turns   [tiers]*ring      // by rank
	closed  bool
	service time.Duration // moving mean of how long a slot is held
}

// A ticket is one request's place. Its fields are guarded by the queue's lock,
// apart from called, which gets one value: nil for a slot, else the refusal.
type ticket struct {
	rank   int
	line   *line // nil once it was called
	called chan *openai.Error
	since  time.Time // when it got its slot
}

// tiers is how many there are.
const tiers = 3

// ranking is the order in which a worker of tier own serves requests: what it
// is meant for first, people before machines else.
func ranking(own grid.Tier) map[grid.Tier]int {
	if own == grid.Batch {
		return map[grid.Tier]int{grid.Batch: 0, grid.Interactive: 1, grid.BestEffort: 2}
	}
	return map[grid.Tier]int{grid.Interactive: 0, grid.Batch: 1, grid.BestEffort: 2}
}

func newQueue(slots, room int, own grid.Tier) *queue {
	q := &queue{slots: slots, room: room, rank: ranking(own)}
	for i := range q.turns {
		q.turns[i] = newRing()
	}
	return q
}

// enter gives a slot at once (waits is false) or a place in the requester's
// line, or refuses.
func (q *queue) enter(who string, stranger bool, tier grid.Tier) (t *ticket, waits bool, refusal *openai.Error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t = q.ticket(tier)
	switch {
	case q.closed:
		return nil, false, q.drainingError()
	case q.running < q.slots:
		q.call(t)
		return t, false, nil
	case q.waiting >= q.room && !q.makeRoom(who, stranger, t.rank):
		return nil, false, q.fullError()
	}
	q.turns[t.rank].add(t, who, stranger)
	q.waiting++
	return t, true, nil
}

// stored is the name of the line in which jobs wait that are kept elsewhere;
// no key has it.
const stored = "stored jobs"

// reserve is enter for a job that is kept elsewhere: it needs no room, nobody
// takes its place, and only a closed queue refuses it. One waits at a time.
func (q *queue) reserve(tier grid.Tier) (t *ticket, waits bool, refusal *openai.Error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t = q.ticket(tier)
	switch {
	case q.closed:
		return nil, false, q.drainingError()
	case q.running < q.slots:
		q.call(t)
		return t, false, nil
	}
	q.turns[t.rank].add(t, stored, false)
	t.line.lasting = true
	q.waiting++
	q.room++
	return t, true, nil
}

// unreserve takes the room back that reserve added for a ticket that waited,
// after it was called or given up.
func (q *queue) unreserve() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.room--
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
		q.take().called <- q.drainingError()
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
	position = q.turns[t.rank].ahead(t) + 1
	for _, before := range q.turns[:t.rank] {
		position += before.len()
	}
	return position, q.waiting, q.eta(position)
}

// The methods below want the lock held.

func (q *queue) ticket(tier grid.Tier) *ticket {
	return &ticket{rank: q.rank[tier], called: make(chan *openai.Error, 1)}
}

// take removes and returns the ticket whose turn it is; somebody waits.
func (q *queue) take() *ticket {
	for _, r := range q.turns {
		if len(r.lines) > 0 {
			return r.take()
		}
	}
	panic("worker: the queue counts a ticket that is in no line")
}

func (q *queue) call(t *ticket) {
	q.running++
	t.since = time.Now()
	t.called <- nil
}

func (q *queue) free() {
	q.running--
	if q.waiting > 0 {
		q.waiting--
		q.call(q.take())
	}
}

func (q *queue) remove(t *ticket) {
	q.turns[t.rank].remove(t)
	q.waiting--
}

// makeRoom sends somebody away for the sake of a request whose tier goes first,
// or of a requester who has at least two fewer waiting.
func (q *queue) makeRoom(who string, stranger bool, rank int) bool {
	var last *ticket
	for r := tiers - 1; r > rank && last == nil; r-- {
		if l := q.turns[r].longest(); l != nil {
			last = l.last()
		}
	}
	if last == nil {
		last = q.turns[rank].surplus(who, stranger)
	}
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
