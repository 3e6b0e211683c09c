package tracker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid/announce"
	"lobstah/key"
)

// naive is what the index should be, without any thought of speed.
type naive struct {
	listed map[key.ID]*announce.Signed
	order  []key.ID
	floors map[key.ID]int64
}

func (n *naive) expire(now time.Time) {
	for id, s := range n.listed {
		if s.Status(now) == announce.Stale {
			n.end(id, s.AnnouncedAt.UnixMilli())
		}
	}
}

func (n *naive) end(id key.ID, floor int64) {
	delete(n.listed, id)
	n.floors[id] = max(n.floors[id], floor)
	n.order = slices.DeleteFunc(n.order, func(other key.ID) bool { return other == id })
}

func (n *naive) put(s *announce.Signed) {
	at := s.AnnouncedAt.UnixMilli()
	old := n.listed[s.ID]
	if at <= n.floors[s.ID] || old != nil && at <= old.AnnouncedAt.UnixMilli() {
		return
	}
	if old == nil {
		n.order = append(n.order, s.ID)
	}
	n.listed[s.ID] = s
}

func (n *naive) withdraw(id key.ID, at int64) {
	if s := n.listed[id]; s != nil && s.AnnouncedAt.UnixMilli() > at {
		return
	}
	n.end(id, at)
}

// serving lists who serves a model, in order.
func (n *naive) serving(model string) []key.ID {
	var list []key.ID
	for _, id := range n.order {
		if model == "" || slices.Contains(n.listed[id].Models, model) {
			list = append(list, id)
		}
	}
	return list
}

// Whatever comes in whatever order, the index says what a naive list says, and
// its sums agree with what it lists.
func TestIndexIsRight(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			checkIndex(t, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}

func checkIndex(t *testing.T, random *rand.Rand) {
	c := newClock()
	ix := newIndex(limits{1 << 20, 1 << 30, 1 << 20}, Rate{}, c.now, &changes{})
	want := &naive{map[key.ID]*announce.Signed{}, nil, map[key.ID]int64{}}
	models := []string{"a", "b", "c", "d"}
	for range 400 {
		n := byte(random.IntN(12))
		at := c.now().Add(time.Duration(random.IntN(200)-100) * time.Second)
		switch random.IntN(10) {
		case 0:
			c.pass(time.Duration(random.IntN(400)) * time.Second)
		case 1:
			ix.withdraw(pair(n).ID(), at.UnixMilli())
			want.expire(c.now())
			want.withdraw(pair(n).ID(), at.UnixMilli())
		default:
			o := offer(n, at, models[random.IntN(4):][:1]...)
			if random.IntN(2) == 0 {
				o.Models = append(o.Models, models[random.IntN(4)])
			}
			o.TTL = time.Duration(random.IntN(600)) * time.Second
			s, err := announce.Sign(pair(n), o)
			if err != nil {
				t.Fatal(err)
			}
			want.expire(c.now())
			if s.Status(c.now()) == announce.OK {
				want.put(s)
				ix.put(s, s.String(), networkOf(addr("192.0.2.1")), probe{})
			}
		}
		want.expire(c.now())
		compare(t, ix, want, append(models, ""))
	}
}

func compare(t *testing.T, ix *index, want *naive, models []string) {
	t.Helper()
	bytes := 0
	for _, model := range models {
		found, err := ix.find(t.Context(), query{model: model, limit: 1000}, false)
		if err != nil {
			t.Fatal(err)
		}
		var got []key.ID
		for _, v := range found.views {
			got = append(got, v.id)
			if model == "" {
				bytes += len(v.envelope)
			}
		}
		if !slices.Equal(got, want.serving(model)) {
			t.Fatalf("model %q: %v; want %v", model, got, want.serving(model))
		}
	}
	// What is over by less than a second is not listed, and still counted.
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	if extra := ix.all.live - len(want.order); extra < 0 || len(ix.byID) != ix.all.live || ix.shares[networkOf(addr("192.0.2.1"))] != ix.all.live {
		t.Fatalf("%d live, %d by key, shares %v; want %d", ix.all.live, len(ix.byID), slices.Collect(maps.Values(ix.shares)), len(want.order))
	} else if extra == 0 && ix.bytes != bytes {
		t.Fatalf("%d bytes; want %d", ix.bytes, bytes)
	}
	for _, p := range ix.models {
		live := 0
		for _, e := range p.list {
			if e.counts(p) {
				live++
			}
		}
		if live != p.live || ix.byName[p.name] != p || ix.models[p.at] != p || !slices.IsSortedFunc(p.list, func(a, b *entry) int { return int(a.seq) - int(b.seq) }) {
			t.Fatalf("posting %s: %d live of %d, counted %d", p.name, live, len(p.list), p.live)
		}
	}
}

// Names that were made up do not stay for ever.
func TestIdleModelsAreForgotten(t *testing.T) {
	tracker, c := start(t, nil)
	for round := range 2 * maxIdleModels / announce.MaxModels {
		models := make([]string, announce.MaxModels)
		for i := range models {
			models[i] = fmt.Sprintf("m%d-%d", round, i)
		}
		c.pass(time.Second)
		mustAnnounce(t, tracker, 1, offer(1, c.now(), models...))
	}
	if n := len(tracker.index.models); n > maxIdleModels+2*announce.MaxModels {
		t.Errorf("%d models are remembered; want at most about %d", n, maxIdleModels)
	}
}

// Many ask and announce at once.
func TestConcurrency(t *testing.T) {
	tracker, c := start(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if err := tracker.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	var busy sync.WaitGroup
	for worker := range byte(4) {
		busy.Go(func() {
			for range 100 {
				c.pass(100 * time.Millisecond)
				body := signed(t, worker, offer(worker, c.now(), "m", fmt.Sprint(c.now().UnixMilli()%7)))
				serve(tracker, httptest.NewRequest("POST", "/announce", strings.NewReader(string(body))))
				for _, target := range []string{"/peers", "/peers?model=m", "/search?q=box", "/"} {
					if got := serve(tracker, httptest.NewRequest("GET", target, nil)); got != http.StatusOK {
						t.Errorf("%s: %d", target, got)
					}
				}
				if c.now().UnixMilli()%5 == 0 {
					serve(tracker, httptest.NewRequest("POST", "/unannounce", strings.NewReader(string(announce.Withdraw(pair(worker), c.now()).JSON()))))
				}
			}
		})
	}
	busy.Wait()
	cancel()
	all.Wait()
}

// A reader of the stream hears in time of who is gone without a word.
func TestExpiryIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracker := New(Config{Store: NewMemory(nil)})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if err := tracker.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		<-tracker.Ready()
		o := offer(1, time.Now(), "m")
		mustAnnounce(t, tracker, 1, o)
		w := httptest.NewRecorder()
		all.Go(func() { tracker.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/peers/stream", nil)) })
		time.Sleep(o.TTL + 3*time.Second)
		synctest.Wait()
		cancel()
		all.Wait()
		before, _, told := strings.Cut(w.Body.String(), fmt.Sprintf("event: gone\ndata: {\"pubkey\":%q,\"reason\":\"expired\"}\n\n", pair(1).ID()))
		if !told {
			t.Fatalf("the end was not told: %q", before)
		}
		if beats := strings.Count(before, "\n: \n"); beats < 19 || beats > 20 {
			t.Errorf("%d beats before the end; want one each 15 s of five minutes", beats)
		}
	})
}

// The table of buckets is bounded, and one who has used his up does not get a
// new one by making it full.
func TestLimiterIsBounded(t *testing.T) {
	l := newLimiter[int](Rate{time.Second, 2}, 10)
	now := time.Unix(1790000000, 0)
	for k := range 10 {
		l.take(k, 2, now)
	}
	if l.take(3, 1, now) == 0 {
		t.Error("an empty bucket gave a token")
	}
	if l.take(100, 2, now) != 0 || l.take(101, 1, now) == 0 {
		t.Error("newcomers should share one bucket, which two tokens emptied")
	}
	if len(l.full) != 10 {
		t.Errorf("%d buckets; want 10", len(l.full))
	}
	now = now.Add(3 * time.Second) // all are full again
	if l.take(100, 2, now) != 0 || l.take(101, 2, now) != 0 || len(l.full) != 2 {
		t.Errorf("%d buckets; want the two newcomers", len(l.full))
	}
}

func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"model=a&capability=b", "q=model:x+@y+z&limit=7", "after=abc.1", "q=%40&limit=-1", "limit=1001"} {
		f.Add(seed)
	}
	c := newClock()
	ix := newIndex(limits{100, 1 << 20, 100}, Rate{}, c.now, &changes{})
	s, err := announce.Sign(pair(1), offer(1, c.now(), "x:7b"))
	if err != nil {
		f.Fatal(err)
	}
	ix.put(s, s.String(), networkOf(addr("192.0.2.1")), probe{})
	f.Fuzz(func(t *testing.T, text string) {
		values, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		q, err := parseQuery(values, "abc")
		if err != nil {
			return
		}
		if len(q.words) > maxWords || q.limit < 0 || q.limit > maxPage {
			t.Fatalf("%q gives %+v", text, q)
		}
		if _, err := ix.find(t.Context(), q, true); err != nil {
			t.Fatal(err)
		}
		ix.findModels(q, 5)
	})
}

func FuzzSnapshot(f *testing.F) {
	c := newClock()
	s, err := announce.Sign(pair(1), offer(1, c.now(), "m"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{"lobstahTracker":1}` + "\n" + fmt.Sprintf(`{"pubkey":%q,"at":%d,"envelope":%s}`, s.ID, s.AnnouncedAt.UnixMilli(), s.Envelope()))
	f.Add(`{"lobstahTracker":1}` + "\n{}\n")
	f.Fuzz(func(t *testing.T, text string) {
		file := &File{Memory: NewMemory(c.now)}
		if _, err := file.load(strings.NewReader(text)); err != nil {
			return
		}
		tracker := New(Config{Store: file, Now: c.now, Logger: slog.New(slog.DiscardHandler)})
		for _, r := range file.list() {
			tracker.take(r)
		}
		for id := range tracker.index.byID {
			if id != s.ID {
				t.Fatalf("%s is listed from %q", id, text)
			}
		}
	})
}
