package discover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/key"
)

// place is a source in memory.
type place struct {
	name   string
	origin grid.Origin

	mu    sync.Mutex
	shows []Found
	fault error
	hangs bool
	asked int
}

func (p *place) Name() string { return p.name }

func (p *place) Collect(ctx context.Context, found func(Found)) error {
	p.mu.Lock()
	p.asked++
	shows, fault, hangs := p.shows, p.fault, p.hangs
	p.mu.Unlock()
	for _, f := range shows {
		found(f)
	}
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return fault
}

func (p *place) show(offers ...*announce.Signed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shows = nil
	for _, o := range offers {
		p.shows = append(p.shows, Found{Offer: o, Origin: p.origin, Where: p.name})
	}
}

func (p *place) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// offer signs what worker n offers at a moment.
func offer(t testing.TB, n int, url string, at time.Time, ttl time.Duration) *announce.Signed {
	t.Helper()
	var seed [32]byte
	seed[0], seed[1], seed[2] = byte(n), byte(n>>8), 1
	pair := key.FromSeed(seed)
	s, err := announce.Sign(pair, announce.Offer{ID: pair.ID(), URL: url, Models: []string{"m"}, TTL: ttl, AnnouncedAt: at})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func learning(t *testing.T, c LearnerConfig, sources ...*place) (l *Learner, stop func()) {
	for _, s := range sources {
		c.Sources = append(c.Sources, s)
	}
	c.Logger = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	l = NewLearner(c)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	return l, func() {
		cancel()
		<-done
	}
}

func urls(l *Learner) []string {
	var list []string
	for _, p := range l.Peers() {
		list = append(list, p.URL)
	}
	slices.Sort(list)
	return list
}

func wantURLs(t *testing.T, l *Learner, when string, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := urls(l); !slices.Equal(got, want) {
		t.Errorf("%s: peers at %v; want %v", when, got, want)
	}
}

func TestLearnerKeepsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := &place{name: "p", origin: grid.FromTracker}, &place{name: "q", origin: grid.FromNostr}
		now := time.Now()
		older, newer := offer(t, 1, "https://old:1", now, time.Hour), offer(t, 1, "https://new:1", now.Add(time.Second), 5*time.Minute)
		p.show(older)
		l, stop := learning(t, LearnerConfig{}, p, q)
		defer stop()
		wantURLs(t, l, "first", "https://old:1")
		p.show(newer, older)
		q.show(older)
		time.Sleep(2 * time.Minute)
		wantURLs(t, l, "an older one after a newer one", "https://new:1")
		list := l.List()
		if len(list) != 1 || len(list[0].Seen) != 2 || list[0].Seen[0].Source != "p" || list[0].Seen[1].Source != "q" {
			t.Fatalf("seen: %+v", list)
		}
		if s := list[0].Seen[0]; !s.First.Equal(now) || !s.Last.After(now.Add(time.Minute)) || s.Origin != grid.FromTracker {
			t.Errorf("seen at p: %+v", s)
		}
		// The newest ends first; the older one would still be good by its own
		// words, and must not come back.
		time.Sleep(5 * time.Minute)
		wantURLs(t, l, "after the newest ended")
		// A still newer one counts at once.
		q.show(offer(t, 1, "https://newest:1", time.Now(), time.Minute))
		l.Collect(t.Context())
		wantURLs(t, l, "a still newer one", "https://newest:1")
	})
}

// An offer lives no longer than it says, whatever becomes of its source.
func TestLearnerForgetsWhatExpires(t *testing.T) {
	for name, later := range map[string]func(*place){
		"the source repeats it":    func(*place) {},
		"the source fails":         func(p *place) { p.fault = errors.New("down") },
		"the source never ends":    func(p *place) { p.hangs = true },
		"ten years were asked for": func(*place) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ttl := 3 * time.Minute
				if name == "ten years were asked for" {
					ttl = 10 * 365 * 24 * time.Hour
				}
				p := &place{name: "p", origin: grid.FromTracker}
				o := offer(t, 1, "https://h:1", time.Now(), ttl)
				p.show(o)
				l, stop := learning(t, LearnerConfig{}, p)
				defer stop()
				wantURLs(t, l, "first", "https://h:1")
				p.set(func() { later(p) })
				time.Sleep(time.Until(o.Expires()))
				wantURLs(t, l, "at its last moment", "https://h:1")
				time.Sleep(2 * time.Second)
				wantURLs(t, l, "after its end")
				if len(l.List()) != 0 {
					t.Errorf("list: %+v", l.List())
				}
			})
		})
	}
}

func TestLearnerForgetsWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := &place{name: "p", origin: grid.FromTracker}, &place{name: "q", origin: grid.FromNostr}
		o := offer(t, 1, "https://h:1", time.Now(), time.Hour)
		p.show(o)
		q.show(o)
		l, stop := learning(t, LearnerConfig{}, p, q)
		defer stop()
		p.show()
		time.Sleep(5 * time.Minute)
		wantURLs(t, l, "one of two sources shows it", "https://h:1")
		if seen := l.List()[0].Seen; len(seen) != 1 || seen[0].Source != "q" {
			t.Errorf("seen: %+v", seen)
		}
		q.set(func() { q.shows, q.fault = nil, errors.New("half an answer") })
		time.Sleep(10 * time.Minute)
		wantURLs(t, l, "an answer that is not complete says nothing", "https://h:1")
		q.set(func() { q.fault = nil })
		l.Collect(t.Context())
		wantURLs(t, l, "one complete answer without it", "https://h:1")
		l.Collect(t.Context())
		wantURLs(t, l, "two complete answers without it")
	})
}

func TestFloodPushesNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flood, quiet := &place{name: "flood", origin: grid.FromNostr}, &place{name: "quiet", origin: grid.FromTracker}
		now := time.Now()
		first := offer(t, 1, "https://first:1", now, time.Hour)
		flood.show(first)
		l, stop := learning(t, LearnerConfig{Limits: Limits{Peers: 30, Bytes: 1 << 20}}, flood, quiet)
		defer stop()
		synctest.Wait()
		offers := []*announce.Signed{}
		for n := range 500 {
			offers = append(offers, offer(t, n+100, fmt.Sprintf("https://flood:%d", n+1), now, time.Hour))
		}
		flood.show(append(offers, first)...)
		time.Sleep(2 * time.Minute)
		quiet.show(offer(t, 2, "https://quiet:1", now, time.Hour))
		time.Sleep(2 * time.Minute)
		peers := urls(l)
		if len(peers) > 30 {
			t.Errorf("%d peers; want 30 at most", len(peers))
		}
		for _, want := range []string{"https://first:1", "https://quiet:1"} {
			if !slices.Contains(peers, want) {
				t.Errorf("%s was pushed out by a flood", want)
			}
		}
		states := l.Sources()
		if states[0].Refused < 400 || states[1].Refused != 0 || states[1].Peers != 1 {
			t.Errorf("states: %+v", states)
		}
		// When the flood is over there is room again, and what is remembered of
		// it is bounded.
		flood.show(offer(t, 3, "https://third:1", time.Now(), time.Hour))
		time.Sleep(5 * time.Minute)
		wantURLs(t, l, "after the flood", "https://quiet:1", "https://third:1")
		l.mu.Lock()
		defer l.mu.Unlock()
		if n := len(l.table.shelf("flood").graves); n > 11 {
			t.Errorf("%d graves", n)
		}
	})
}

func TestLargeOffersFillBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now, large := time.Now(), []*announce.Signed{}
		for n := range 50 {
			pair := key.FromSeed([32]byte{byte(n + 1), 9})
			models := make([]string, 200)
			for i := range models {
				models[i] = fmt.Sprintf("model-%060d", i)
			}
			s, err := announce.Sign(pair, announce.Offer{ID: pair.ID(), URL: "https://h:1", Models: models, TTL: time.Hour, AnnouncedAt: now})
			if err != nil {
				t.Fatal(err)
			}
			large = append(large, s)
		}
		p := &place{name: "p", origin: grid.FromTracker}
		p.show(large...)
		l, stop := learning(t, LearnerConfig{Limits: Limits{Bytes: 128 << 10}}, p)
		defer stop()
		synctest.Wait()
		if n := len(l.Peers()); n < 2 || n > 6 {
			t.Errorf("%d peers of %d bytes each; want what fits into a share of 80 KiB", n, len(large[0].Envelope()))
		}
	})
}

func TestLearnerLeavesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		own := offer(t, 1, "https://own:1", now, time.Hour)
		p := &place{name: "p", origin: grid.FromTracker}
		p.show(own, offer(t, 2, "https://bad:1", now, time.Hour), offer(t, 3, "https://good:1", now, time.Hour),
			offer(t, 4, "https://future:1", now.Add(time.Hour), time.Hour), offer(t, 5, "https://stale:1", now.Add(-2*time.Hour), time.Hour))
		trusted := &place{name: "t", origin: grid.FromUser}
		trusted.show(offer(t, 6, "https://user:1", now, time.Hour))
		l, stop := learning(t, LearnerConfig{Self: own.ID, Allow: func(p grid.Peer) error {
			if p.URL == "https://bad:1" {
				return errors.New("not there")
			}
			return nil
		}}, p, trusted)
		defer stop()
		wantURLs(t, l, "own key, forbidden place, past, future and false origin left out", "https://good:1")
	})
}

// A place that a source reached itself is better than what an offer says.
func TestNearPlaceIsPreferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := offer(t, 1, "https://far:1", time.Now(), time.Hour)
		far, near := &place{name: "far", origin: grid.FromTracker}, &place{name: "near", origin: grid.FromLAN}
		far.show(o)
		l, stop := learning(t, LearnerConfig{}, far, near)
		defer stop()
		wantURLs(t, l, "far", "https://far:1")
		near.set(func() { near.shows = []Found{{o, grid.FromLAN, "eth0", "https://192.168.1.5:17474"}} })
		l.Collect(t.Context())
		time.Sleep(turnEvery)
		wantURLs(t, l, "near", "https://192.168.1.5:17474")
		if p := l.Peers()[0]; p.Origin != grid.FromLAN {
			t.Errorf("origin %s", p.Origin)
		}
	})
}

func TestPeersIsStable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := 0
		p := &place{name: "p", origin: grid.FromTracker}
		p.show(offer(t, 1, "https://a:1", time.Now(), time.Hour), offer(t, 2, "https://b:1", time.Now(), time.Hour))
		l, stop := learning(t, LearnerConfig{Changed: func() { changes++ }}, p)
		defer stop()
		synctest.Wait()
		before := l.Peers()
		time.Sleep(time.Minute)
		p.show(offer(t, 2, "https://b:1", time.Now(), time.Hour), offer(t, 1, "https://a:1", time.Now(), time.Hour))
		time.Sleep(5 * time.Minute)
		if after := l.Peers(); len(after) != 2 || &after[0] != &before[0] || changes != 1 {
			t.Errorf("renewals made %d changes; want the first only", changes)
		}
	})
}

func TestLearnerAsksWithJitterAndBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad, stuck := &place{name: "good"}, &place{name: "bad", fault: errors.New("down")}, &place{name: "stuck", hangs: true}
		l, stop := learning(t, LearnerConfig{}, good, bad, stuck)
		time.Sleep(time.Hour)
		stop()
		if good.asked < 60 || good.asked > 68 || bad.asked < 7 || bad.asked > 20 || stuck.asked > 20 || stuck.asked < 5 {
			t.Errorf("asked %d, %d and %d times in an hour", good.asked, bad.asked, stuck.asked)
		}
		states := l.Sources()
		if states[0].LastErr != nil || states[0].LastOK.IsZero() || states[1].LastErr == nil || states[1].Failures != bad.asked || states[2].LastErr == nil {
			t.Errorf("states: %+v", states)
		}
	})
}

// A place that shows more than is read, or of which a part is missing, did not
// fail, and tells of nobody that he left.
func TestPartOfAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{name: "p", origin: grid.FromTracker}
		p.show(offer(t, 1, "https://a:1", time.Now(), time.Hour), offer(t, 2, "https://b:1", time.Now(), time.Hour))
		l, stop := learning(t, LearnerConfig{}, p)
		defer stop()
		synctest.Wait()
		p.show(offer(t, 1, "https://a:1", time.Now(), time.Hour))
		p.set(func() { p.fault = fmt.Errorf("page 2: %w", ErrPart) })
		time.Sleep(10 * time.Minute)
		wantURLs(t, l, "ten minutes of parts", "https://a:1", "https://b:1")
		if s := l.Sources()[0]; s.Failures != 0 || s.LastErr == nil || time.Since(s.LastOK) > 2*time.Minute {
			t.Errorf("state: %+v", s)
		}
	})
}

func TestLearnerWaitsAsLongAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{name: "p", fault: &LaterError{7 * time.Minute, errors.New("too many")}}
		l, stop := learning(t, LearnerConfig{Interval: 10 * time.Second}, p)
		time.Sleep(7*time.Minute - time.Second)
		p.set(func() {
			if p.asked != 1 {
				t.Errorf("asked %d times", p.asked)
			}
			p.fault = &LaterError{1000 * time.Hour, errors.New("never")}
		})
		time.Sleep(2*lastRetry + time.Minute)
		stop()
		if p.asked != 3 || l.Sources()[0].Failures != 3 {
			t.Errorf("asked %d times", p.asked)
		}
	})
}

// shelves is a store in memory.
type shelves struct {
	mu   sync.Mutex
	kept map[string][]Kept
	err  error
}

func (s *shelves) Load(context.Context) ([]Kept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Concat(slices.Collect(maps.Values(s.kept))...), s.err
}

func (s *shelves) Save(_ context.Context, source string, kept []Kept) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = map[string][]Kept{}
	}
	s.kept[source] = kept
	return s.err
}

func TestLearnerRestores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, began := &shelves{}, time.Now()
		p := &place{name: "p", origin: grid.FromTracker}
		p.show(offer(t, 1, "https://long:1", began, time.Hour), offer(t, 2, "https://short:1", began, time.Minute))
		first := NewLearner(LearnerConfig{Sources: []Source{p}, Store: store, Logger: slog.New(slog.DiscardHandler)})
		if states := first.Collect(t.Context()); len(states) != 1 || states[0].LastErr != nil || states[0].Peers != 2 {
			t.Fatalf("states: %+v", states)
		}
		wantURLs(t, first, "collected", "https://long:1", "https://short:1")
		time.Sleep(10 * time.Minute)
		damaged := store.kept["p"][0]
		damaged.Envelope = []byte("{}")
		store.kept["damaged"] = []Kept{damaged}

		// The next program does not even know the source.
		second := NewLearner(LearnerConfig{Store: store})
		if err := second.Restore(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantURLs(t, second, "restored", "https://long:1")
		if s := second.List()[0].Seen[0]; s.Source != "p" || !s.First.Equal(began) || !s.Last.Equal(began) {
			t.Errorf("seen: %+v", s)
		}
		store.err = errors.New("no disk")
		if err := second.Restore(t.Context()); err == nil {
			t.Error("restored from a broken store")
		}
	})
}

func BenchmarkTurn(b *testing.B) {
	l := NewLearner(LearnerConfig{Sources: []Source{&place{name: "p"}}, Limits: Limits{Peers: 10_000}})
	for n := range 4096 {
		l.take("p", Found{Offer: offer(b, n, "https://h:1", time.Now(), time.Hour), Origin: grid.FromTracker}, nil)
	}
	for b.Loop() {
		l.stale = true
		l.turn()
	}
	b.ReportMetric(float64(len(l.Peers())), "peers")
}

func TestGravesOfOneKey(t *testing.T) {
	now := time.Now()
	table := newTable(Limits{}, 1)
	see := func(at time.Time) bool {
		return table.take("p", Found{Offer: offer(t, 1, "https://h:1", at, time.Minute), Origin: grid.FromTracker}, at)
	}
	leave := func() {
		for range missesAllowed + 1 {
			table.begin("p")
			table.end("p", true)
		}
	}
	for i := range 3 {
		if !see(now.Add(time.Duration(i) * time.Minute)) {
			t.Fatalf("offer %d was refused", i)
		}
		leave()
	}
	table.expire(now.Add(announce.MaxTTL + time.Second)) // of the first grave
	if table.take("p", Found{Offer: offer(t, 1, "https://h:1", now.Add(time.Minute), time.Hour)}, now.Add(2*time.Minute)) {
		t.Error("an older offer counted, since an older grave was cleared")
	}
	table.expire(now.Add(2 * announce.MaxTTL))
	if s := table.shelf("p"); len(s.graves) != 0 || len(s.buried) != 0 || s.peers != 0 || s.bytes != 0 {
		t.Errorf("left over: %+v", s)
	}
}
