package worker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"lobstah/grid"
)

// In which order waiting requests get slots, by their tier and the worker's.
func TestQueueServesTiers(t *testing.T) {
	t.Parallel()
	const i, b, e = grid.Interactive, grid.Batch, grid.BestEffort
	for _, test := range []struct {
		own  grid.Tier
		want string
	}{
		{grid.Interactive, "i1 i2 i3 b1 b2 e1"},
		{grid.BestEffort, "i1 i2 i3 b1 b2 e1"},
		{grid.Batch, "b1 b2 i1 i2 i3 e1"},
	} {
		q := newQueue(1, 64, test.own)
		running, _, _ := q.enter("first", false, i)
		waiting := map[string]*ticket{}
		for _, p := range []struct {
			name string
			tier grid.Tier
		}{{"e1", e}, {"b1", b}, {"i1", i}, {"b2", b}, {"i2", i}, {"i3", i}} {
			ticket, waits, refusal := q.enter(p.name, false, p.tier)
			if !waits || refusal != nil {
				t.Fatal("no place")
			}
			waiting[p.name] = ticket
		}
		want := strings.Fields(test.want) // each is a requester of its own
		for at, name := range want {
			if got, _, _ := q.place(waiting[name]); got != at+1 {
				t.Errorf("%s worker: place of %s is %d; want %d", test.own, name, got, at+1)
			}
		}
		var got []string
		for len(waiting) > 0 {
			var name string
			name, running = next(t, q, running, waiting)
			got = append(got, name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s worker: %v; want %v", test.own, got, want)
		}
	}
}

// A full queue makes room for what goes first, and for nothing that comes after.
func TestTiersMakeRoom(t *testing.T) {
	t.Parallel()
	q := newQueue(1, 3, grid.BestEffort)
	q.enter("a", false, grid.Interactive)
	var waiting []*ticket
	for n, tier := range []grid.Tier{grid.Batch, grid.BestEffort, grid.Batch} {
		ticket, _, refusal := q.enter(fmt.Sprint(n), false, tier)
		if refusal != nil {
			t.Fatal(refusal)
		}
		waiting = append(waiting, ticket)
	}
	if _, _, refusal := q.enter("x", false, grid.BestEffort); refusal == nil || refusal.Status != 429 {
		t.Errorf("best effort into a full queue: %v; want 429", refusal)
	}
	for _, gone := range []int{1, 0, 2} { // the last tier first
		if _, waits, refusal := q.enter("p", false, grid.Interactive); !waits || refusal != nil {
			t.Fatalf("interactive into a full queue: %v", refusal)
		}
		select {
		case refusal := <-waiting[gone].called:
			if refusal == nil || refusal.Status != 429 {
				t.Errorf("ticket %d was called with %v; want 429", gone, refusal)
			}
		default:
			t.Errorf("ticket %d kept its place", gone)
		}
	}
}

// A stored job waits in its tier, whatever the room, and keeps its place.
func TestReservedPlace(t *testing.T) {
	t.Parallel()
	q := newQueue(1, 1, grid.BestEffort)
	running, _, _ := q.enter("a", false, grid.Interactive)
	batch, _, _ := q.enter("b", false, grid.Batch)
	job, waits, refusal := q.reserve(grid.BestEffort)
	if !waits || refusal != nil {
		t.Fatalf("no place in a full queue: %v", refusal)
	}
	first, _, refusal := q.enter("c", false, grid.Interactive) // takes the batch request's place
	if refusal != nil || len(batch.called) != 1 || len(job.called) != 0 {
		t.Fatalf("the wrong one lost its place: %v", refusal)
	}
	if _, _, refusal := q.enter("d", false, grid.Interactive); refusal == nil {
		t.Error("the job's place was taken, or counts as room")
	}
	waiting := map[string]*ticket{"first": first, "job": job}
	name, running := next(t, q, running, waiting)
	if name != "first" {
		t.Errorf("%s before the interactive request", name)
	}
	if name, _ = next(t, q, running, waiting); name != "job" {
		t.Errorf("%s; want the job", name)
	}
	q.unreserve()
	if q.room != 1 || q.lines() != 0 {
		t.Errorf("room %d, %d lines afterwards", q.room, q.lines())
	}
}
