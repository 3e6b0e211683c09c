package tracker

import (
	"context"
	"iter"
	"maps"
	"sync"
	"time"

	"lobstah/key"
)

// A Memory is a [Store] that lives and dies with the process. It forgets a
// record some time after [Record.Until].
type Memory struct {
	now func() time.Time

	mu       sync.Mutex
	records  map[key.ID]Record     // guarded by mu
	watchers map[*watcher]struct{} // guarded by mu
	swept    time.Time             // guarded by mu
	changes  uint64                // guarded by mu; how many puts changed something
}

// a watcher knows which keys changed since it last looked: at most one entry
// for each key, however slow it is.
type watcher struct {
	changed map[key.ID]struct{} // guarded by Memory.mu
	wake    chan struct{}       // one token when changed is not empty
}

// NewMemory returns an empty store. now may be nil for [time.Now].
func NewMemory(now func() time.Time) *Memory {
	if now == nil {
		now = time.Now
	}
	return &Memory{now: now, records: map[key.ID]Record{}, watchers: map[*watcher]struct{}{}, swept: now()}
}

// Put implements [Store].
func (m *Memory) Put(_ context.Context, r Record) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep()
	if kept, ok := m.records[r.ID]; ok && !r.Supersedes(kept) {
		return kept, nil
	}
	m.records[r.ID] = r
	m.changes++
	for w := range m.watchers {
		w.changed[r.ID] = struct{}{}
		select {
		case w.wake <- struct{}{}:
		default: // a token waits already
		}
	}
	return r, nil
}

// sweep forgets, now and then, what no longer stands against anything.
func (m *Memory) sweep() {
	now := m.now()
	if now.Sub(m.swept).Abs() < time.Minute {
		return
	}
	m.swept = now
	maps.DeleteFunc(m.records, func(_ key.ID, r Record) bool { return now.After(r.Until()) })
}

// Watch implements [Store].
func (m *Memory) Watch(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		w, all := m.join()
		defer m.leave(w)
		for _, r := range append(all, Record{}) {
			if !yield(r, nil) {
				return
			}
		}
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.wake:
			}
			for _, r := range m.take(w) {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

func (m *Memory) join() (*watcher, []Record) {
	w := &watcher{changed: map[key.ID]struct{}{}, wake: make(chan struct{}, 1)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[w] = struct{}{}
	return w, m.list()
}

func (m *Memory) leave(w *watcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.watchers, w)
}

// take returns what changed since the last call.
func (m *Memory) take(w *watcher) []Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Record, 0, len(w.changed))
	for id := range w.changed {
		if r, ok := m.records[id]; ok {
			list = append(list, r)
		}
	}
	clear(w.changed)
	return list
}

// list returns all records, with room for one more; mu is held.
func (m *Memory) list() []Record {
	list := make([]Record, 0, len(m.records)+1)
	for _, r := range m.records {
		list = append(list, r)
	}
	return list
}
