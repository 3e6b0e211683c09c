package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid"
)

// lines counts the lines that are kept, empty ones too.
func (q *queue) lines() (n int) {
	for _, r := range q.turns {
		n += max(len(r.lines), len(r.byName))
	}
	return n
}

// enter takes a place that must wait.
func enter(t *testing.T, q *queue, who string) *ticket {
	t.Helper()
	return enterAs(t, q, who, false)
}

func enterAs(t *testing.T, q *queue, who string, stranger bool) *ticket {
	t.Helper()
	ticket, waits, refusal := q.enter(who, stranger, grid.Interactive)
	if refusal != nil || !waits {
		t.Fatalf("%s: waits %v, refused with %v; want a place", who, waits, refusal)
	}
	return ticket
}

// next ends the running one and says which of the waiting got its slot.
func next(t *testing.T, q *queue, running *ticket, waiting map[string]*ticket) (name string, _ *ticket) {
	t.Helper()
	q.leave(running)
	for name, ticket := range waiting {
		select {
		case refusal := <-ticket.called:
			if refusal != nil {
				t.Fatalf("%s was refused: %v", name, refusal)
			}
			delete(waiting, name)
			return name, ticket
		default:
		}
	}
	t.Fatal("nobody got the slot")
	return "", nil
}

func TestQueueTakesTurns(t *testing.T) {
	t.Parallel()
	q := newQueue(1, 64, grid.BestEffort)
	running, waits, refusal := q.enter("a", false, grid.Interactive)
	if waits || refusal != nil {
		t.Fatal("the first does not run at once")
	}
	waiting := map[string]*ticket{}
	for _, name := range []string{"a1", "a2", "a3", "a4", "b1", "b2", "c1"} {
		waiting[name] = enter(t, q, name[:1])
	}
	for name, want := range map[string]int{"a1": 1, "b1": 2, "c1": 3, "a2": 4, "b2": 5, "a3": 6, "a4": 7} {
		if got, depth, _ := q.place(waiting[name]); got != want || depth != 7 {
			t.Errorf("place of %s: %d of %d; want %d of 7", name, got, depth, want)
		}
	}
	var order []string
	for len(waiting) > 0 {
		var name string
		name, running = next(t, q, running, waiting)
		order = append(order, name)
	}
	if got, want := strings.Join(order, " "), "a1 b1 c1 a2 b2 a3 a4"; got != want {
		t.Errorf("order %s; want %s", got, want)
	}
	q.leave(running)
	if r, w := q.load(); r != 0 || w != 0 || q.lines() != 0 {
		t.Errorf("afterwards %d run, %d wait, %d lines", r, w, q.lines())
	}
}

// However many keys strangers make, they have one turn among the others.
func TestStrangersShareOneTurn(t *testing.T) {
	t.Parallel()
	q := newQueue(1, 64, grid.BestEffort)
	running, _, _ := q.enter("a", false, grid.Interactive)
	waiting := map[string]*ticket{}
	for _, name := range []string{"s1", "s2", "r1", "u1"} { // two of one, one each of others
		waiting[name] = enterAs(t, q, name[:1], true)
	}
	for _, name := range []string{"a1", "a2", "b1"} {
		waiting[name] = enter(t, q, name[:1])
	}
	order := []string{"s1", "a1", "b1", "r1", "a2", "u1", "s2"}
	for i, name := range order {
		if got, _, _ := q.place(waiting[name]); got != i+1 {
			t.Errorf("place of %s: %d; want %d", name, got, i+1)
		}
	}
	var got []string
	for len(waiting) > 0 {
		var name string
		name, running = next(t, q, running, waiting)
		got = append(got, name)
	}
	if !slices.Equal(got, order) {
		t.Errorf("order %v; want %v", got, order)
	}
}

// Strangers cannot fill the queue against the owner's friends, nor one of them
// against the others.
func TestStrangersMakeRoom(t *testing.T) {
	t.Parallel()
	q := newQueue(1, 4, grid.BestEffort)
	q.enter("a", false, grid.Interactive)
	var line []*ticket
	for _, name := range []string{"s", "s", "r", "u"} {
		line = append(line, enterAs(t, q, name, true))
	}
	enterAs(t, q, "v", true)
	if refusal := <-line[1].called; refusal == nil || refusal.Status != 429 {
		t.Errorf("the second of s: %v; want it sent away", refusal)
	}
	if _, _, refusal := q.enter("w", true, grid.Interactive); refusal == nil {
		t.Error("a fifth stranger has a place, though none has two")
	}
	enter(t, q, "a")
	enter(t, q, "b")
	if _, _, refusal := q.enter("a", false, grid.Interactive); refusal == nil {
		t.Error("a has a second place, though the strangers have but two left")
	}
	if n := q.turns[0].byName[strangers].len(); n != 2 {
		t.Errorf("%d strangers wait; want 2", n)
	}
}

func TestFullQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(2, 4, grid.BestEffort)
		first, _, _ := q.enter("a", false, grid.Interactive)
		q.enter("a", false, grid.Interactive)
		time.Sleep(40 * time.Second) // virtual
		q.leave(first)
		q.enter("a", false, grid.Interactive)
		var line []*ticket
		for range 4 {
			line = append(line, enter(t, q, "a"))
		}
		_, _, refusal := q.enter("a", false, grid.Interactive)
		if refusal == nil || refusal.Status != 429 || refusal.RetryAfter != 20*time.Second {
			t.Fatalf("the seventh of a: %+v; want 429 and 20 s, half of what an answer took", refusal)
		}
		if refusal.Extra["queueDepth"] != 4 || refusal.Extra["position"] != 5 {
			t.Errorf("refusal says %v", refusal.Extra)
		}
		enter(t, q, "b") // takes the place of a's last
		if evicted := <-line[3].called; evicted == nil || evicted.Status != 429 {
			t.Errorf("the last of a: %v; want it sent away", evicted)
		}
		enter(t, q, "c") // again
		<-line[2].called
		if _, _, refusal := q.enter("b", false, grid.Interactive); refusal == nil {
			t.Error("b has a second place, though a has but two left")
		}
		if _, waiting := q.load(); waiting != 4 {
			t.Errorf("%d wait; want 4", waiting)
		}
	})
}

func TestNoQueue(t *testing.T) {
	t.Parallel()
	q := newQueue(1, 0, grid.BestEffort)
	q.enter("a", false, grid.Interactive)
	if _, _, refusal := q.enter("b", false, grid.Interactive); refusal == nil || refusal.Status != 429 || refusal.RetryAfter != time.Second {
		t.Errorf("got %+v; want 429 and a second, as nothing was measured yet", refusal)
	}
}

func TestLeavingTheQueueFreesThePlace(t *testing.T) {
	t.Parallel()
	q := newQueue(1, 1, grid.BestEffort)
	running, _, _ := q.enter("a", false, grid.Interactive)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.wait(ctx, enter(t, q, "b")); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
	ticket := enter(t, q, "c") // there is room again
	q.leave(running)
	if refusal, err := q.wait(t.Context(), ticket); refusal != nil || err != nil {
		t.Errorf("c: %v %v", refusal, err)
	}
}

func TestClosedQueue(t *testing.T) {
	t.Parallel()
	q := newQueue(1, 8, grid.BestEffort)
	running, _, _ := q.enter("a", false, grid.Interactive)
	ticket := enter(t, q, "b")
	q.close()
	if refusal, err := q.wait(t.Context(), ticket); err != nil || refusal == nil || refusal.Status != 503 || refusal.RetryAfter == 0 {
		t.Errorf("waiting: %v %v", refusal, err)
	}
	if _, _, refusal := q.enter("c", false, grid.Interactive); refusal == nil || refusal.Status != 503 {
		t.Errorf("new: %v", refusal)
	}
	q.leave(running)
	if r, w := q.load(); r != 0 || w != 0 {
		t.Errorf("%d run, %d wait", r, w)
	}
}

// Whatever happens, never more than slots run or room wait, and all is given
// back.
func TestQueueUnderFire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const slots, room = 3, 10
		q := newQueue(slots, room, grid.BestEffort)
		var mu sync.Mutex
		running, most, served := 0, 0, 0
		var clients sync.WaitGroup
		for i := range 300 {
			clients.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(i)))
				time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(200))*time.Millisecond)
				defer cancel()
				ticket, waits, refusal := q.enter(fmt.Sprint(i%7), i%7 > 3, [...]grid.Tier{grid.Interactive, grid.Batch, grid.BestEffort}[i%3])
				var err error
				if waits {
					q.place(ticket)
					refusal, err = q.wait(ctx, ticket)
				}
				if refusal != nil || err != nil {
					return
				}
				mu.Lock()
				running, served = running+1, served+1
				most = max(most, running)
				mu.Unlock()
				time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
				mu.Lock()
				running--
				mu.Unlock()
				q.leave(ticket)
			})
		}
		clients.Wait()
		if most > slots || served < slots {
			t.Errorf("at most %d ran, %d were served", most, served)
		}
		if r, w := q.load(); r != 0 || w != 0 || q.lines() != 0 {
			t.Errorf("afterwards %d run, %d wait, %d lines", r, w, q.lines())
		}
	})
}

func TestWholeSeconds(t *testing.T) {
	t.Parallel()
	var got []time.Duration
	for _, d := range []time.Duration{0, time.Millisecond, 1001 * time.Millisecond, time.Hour} {
		got = append(got, wholeSeconds(d))
	}
	if want := []time.Duration{time.Second, time.Second, 2 * time.Second, 2 * time.Minute}; !slices.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
}
