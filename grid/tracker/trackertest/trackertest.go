// Package trackertest is the suite that every [tracker.Store] has to pass,
// whether it lives in memory, in a file, or in a database that several trackers
// share. A store's test calls [Run]; nothing else imports it.
package trackertest

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"lobstah/grid/tracker"
	"lobstah/key"
)

// patience is how long a store that is far away may take to tell of a change.
const patience = 30 * time.Second

// Run runs the suite. open returns an empty store each time; what it opened is
// closed by the test's own cleanup.
func Run(t *testing.T, open func(*testing.T) tracker.Store) {
	for name, test := range map[string]func(*testing.T, tracker.Store){
		"newer replaces older":    newer,
		"older replaces nothing":  older,
		"withdrawals win a tie":   tie,
		"keys are independent":    independent,
		"watch tells all first":   watchAll,
		"watch tells of changes":  watchChanges,
		"watch keeps the order":   watchOrder,
		"watch ends with ctx":     watchEnds,
		"one of many puts counts": race,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// at makes a record that is n milliseconds younger than the first.
func at(id byte, n int, envelope string) tracker.Record {
	r := tracker.Record{ID: key.ID{id}, At: time.Now().UnixMilli() - 10_000 + int64(n)}
	if envelope != "" {
		r.Envelope = fmt.Sprintf(`{"offer":%q}`, envelope)
	}
	return r
}

func put(t *testing.T, s tracker.Store, r, want tracker.Record) {
	t.Helper()
	kept, err := s.Put(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if kept != want {
		t.Errorf("put %s, kept %s; want %s", show(r), show(kept), show(want))
	}
}

func show(r tracker.Record) string {
	return fmt.Sprintf("%s at %d: %s", r.ID.Short(), r.At, r.Envelope)
}

func newer(t *testing.T, s tracker.Store) {
	first := at(1, 0, "a")
	put(t, s, first, first)
	second := first
	second.At, second.Envelope = first.At+1, `"b"`
	put(t, s, second, second)
}

func older(t *testing.T, s tracker.Store) {
	second := at(1, 100, "b")
	first := second
	first.At, first.Envelope = second.At-1, `"a"`
	put(t, s, second, second)
	put(t, s, first, second)
	first.Envelope = "" // a withdrawal that is older
	put(t, s, first, second)
	same := second
	same.Envelope = `"c"`
	put(t, s, same, second)
	put(t, s, second, second)
}

func tie(t *testing.T, s tracker.Store) {
	offer := at(1, 0, "a")
	gone := offer
	gone.Envelope = ""
	put(t, s, offer, offer)
	put(t, s, gone, gone)
	put(t, s, offer, gone)
	back := offer
	back.At++
	put(t, s, back, back)
	put(t, s, gone, back)
}

func independent(t *testing.T, s tracker.Store) {
	one, two := at(1, 0, "a"), at(2, -50, "b")
	put(t, s, one, one)
	put(t, s, two, two)
}

// a reader reads a watch.
type reader struct {
	next func() (tracker.Record, error, bool)
}

// watch starts a watch that ends with the test.
func watch(t *testing.T, s tracker.Store) reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	next, stop := iter.Pull2(s.Watch(ctx))
	t.Cleanup(func() { cancel(); stop() })
	return reader{next}
}

func (r reader) one(t *testing.T) tracker.Record {
	t.Helper()
	record, err, ok := r.next()
	if err != nil || !ok {
		t.Fatalf("the watch ended: %v", err)
	}
	return record
}

// until reads until want comes; others may come before.
func (r reader) until(t *testing.T, want tracker.Record) {
	t.Helper()
	for {
		if got := r.one(t); got == want {
			return
		}
	}
}

// first reads what was there before.
func (r reader) first(t *testing.T) map[key.ID]tracker.Record {
	t.Helper()
	all := map[key.ID]tracker.Record{}
	for {
		record := r.one(t)
		if record.ID.IsZero() {
			return all
		}
		all[record.ID] = record
	}
}

func watchAll(t *testing.T, s tracker.Store) {
	if all := watch(t, s).first(t); len(all) != 0 {
		t.Errorf("an empty store tells %v", all)
	}
	want := []tracker.Record{at(1, 0, "a"), at(2, 0, "b"), at(3, 0, "")}
	for _, r := range want {
		put(t, s, r, r)
	}
	all := watch(t, s).first(t)
	for _, r := range want {
		if got, ok := all[r.ID]; !ok || got != r {
			t.Errorf("told %s; want %s", show(got), show(r))
		}
	}
	if len(all) != len(want) {
		t.Errorf("told %d records; want %d", len(all), len(want))
	}
}

func watchChanges(t *testing.T, s tracker.Store) {
	one, two := watch(t, s), watch(t, s)
	one.first(t)
	two.first(t)
	offer := at(1, 0, "a")
	put(t, s, offer, offer)
	one.until(t, offer)
	two.until(t, offer)
	gone := offer
	gone.Envelope = ""
	put(t, s, gone, gone)
	one.until(t, gone)
	two.until(t, gone)
}

func watchOrder(t *testing.T, s tracker.Store) {
	w := watch(t, s)
	w.first(t)
	last := at(1, 0, "0")
	for i := range 100 {
		last = at(1, 0, fmt.Sprint(i))
		last.At += int64(i)
		put(t, s, last, last)
	}
	var before int64
	for {
		r := w.one(t)
		if r.At < before {
			t.Fatalf("a record of %d came after one of %d", r.At, before)
		}
		if before = r.At; r == last {
			return
		}
	}
}

func watchEnds(t *testing.T, s tracker.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	for r, err := range s.Watch(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if r.ID.IsZero() {
			cancel()
		}
	}
	cancel()
	if ctx.Err() == nil {
		t.Error("the watch ended by itself")
	}
}

// race lets many put at once: every one is told the truth, and the newest is
// kept.
func race(t *testing.T, s tracker.Store) {
	base := at(1, 0, "a")
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			r := base
			r.At += int64(i)
			kept, err := s.Put(t.Context(), r)
			if err != nil || kept.At < r.At {
				t.Errorf("put %s, kept %s, %v", show(r), show(kept), err)
			}
		})
	}
	all.Wait()
	newest := base
	newest.At += 49
	put(t, s, base, newest)
}
