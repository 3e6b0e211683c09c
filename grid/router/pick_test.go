package router

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid"
	"lobstah/openai"
)

// In the original, rotation undoes the preference.
func TestTierPreferenceHolds(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, nil, func(t *testing.T, w *world) {
		w.workers[0].change(func() { w.workers[0].capacity.Tier = grid.Batch })
		interactive := w.prefer(1)
		for i := range 6 {
			w.chat(strings.Replace(askWhole, "hi", fmt.Sprint("hi", i), 1))
		}
		if got := interactive.count(); got != 6 {
			t.Errorf("the interactive peer got %d of 6 chats", got)
		}
	})
}

func TestBusyTierYieldsToAFreePeerOfAnother(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, nil, func(t *testing.T, w *world) {
		interactive := w.workers[0]
		interactive.change(func() { interactive.capacity.Running, interactive.capacity.QueueDepth = 1, 3 })
		w.prefer(0)
		if got := w.chat(askWhole); got.header.Get(grid.PeerHeader) != w.workers[1].peer.ID.String() {
			t.Errorf("the busy peer was picked: %s", got.header.Get(grid.RouteHeader))
		}
	})
}

func TestLeastWaitAvoidsTheQueue(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, nil, func(t *testing.T, w *world) {
		busy := w.workers[0]
		busy.change(func() { busy.capacity.Running, busy.capacity.QueueDepth = 1, 5 })
		w.repoll()
		for i := range 10 {
			w.chat(strings.Replace(askWhole, "hi", fmt.Sprint("hi", i), 1))
		}
		if got := busy.count(); got != 0 {
			t.Errorf("the peer with a queue got %d of 10", got)
		}
	})
}

// Between two polls the router counts its own requests, so they do not all run
// to the peer that was idle at the last one.
func TestRequestsAtOnceSpreadOverPeers(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, nil, func(t *testing.T, w *world) {
		for _, f := range w.workers {
			f.answers(func(rw http.ResponseWriter, r *http.Request, streams bool) {
				time.Sleep(time.Second)
				text(goodStream, wholeAnswer)(rw, r, streams)
			})
		}
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() { w.chat(strings.Replace(askWhole, "hi", fmt.Sprint("hi", i), 1)) })
			synctest.Wait()
		}
		wg.Wait()
		if a, b := w.workers[0].count(), w.workers[1].count(); a != 5 || b != 5 {
			t.Errorf("the peers got %d and %d of 10 requests at once", a, b)
		}
	})
}

func TestEstimates(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		better, than Load
	}{
		{"idle before busy", Load{Slots: 1}, Load{Slots: 1, Running: 1}},
		{"short queue before long", Load{Slots: 1, Running: 1}, Load{Slots: 1, Others: 3}},
		{"many slots before one", Load{Slots: 4, Running: 1}, Load{Slots: 1, Running: 1}},
		{"fast before slow", Load{Slots: 1, Speed: 80}, Load{Slots: 1, Speed: 10}},
		{"fast with a queue before very slow", Load{Slots: 1, Speed: 80, Running: 1}, Load{Slots: 1, Speed: 2}},
		{"loaded before cold", Load{Slots: 1}, Load{Slots: 1, Cold: true}},
		{"prompt before late", Load{Slots: 1, FirstToken: time.Second}, Load{Slots: 1, FirstToken: 9 * time.Second}},
	} {
		var s LeastWait
		if a, b := s.Estimate(test.better), s.Estimate(test.than); a >= b {
			t.Errorf("%s: %s, not less than %s", test.name, a, b)
		}
	}
}

func turns(n int, text string) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`{"role":"user","content":"%s %d"}`, text, i))
	}
	return fmt.Sprintf(`{"model":"m","messages":[%s]}`, strings.Join(list, ","))
}

func TestConversationStaysWithThePeerThatServedItsBeginning(t *testing.T) {
	t.Parallel()
	inWorld(t, 5, nil, func(t *testing.T, w *world) {
		first := w.chat(turns(1, "a")).header.Get(grid.PeerHeader)
		for n := 2; n < 12; n++ {
			got := w.chat(turns(n, "a"))
			if got.header.Get(grid.PeerHeader) != first || !strings.HasPrefix(got.header.Get(grid.RouteHeader), "prefix;") {
				t.Fatalf("turn %d went elsewhere: %s", n, got.header.Get(grid.RouteHeader))
			}
		}
	})
}

func TestPrefixYieldsToAShorterQueue(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, nil, func(t *testing.T, w *world) {
		first := w.chat(turns(1, "a")).header.Get(grid.PeerHeader)
		var at *fakeWorker
		for _, f := range w.workers {
			if f.peer.ID.String() == first {
				at = f
			}
		}
		for _, test := range []struct {
			running, queue int
			stays          bool
		}{{1, 0, true}, {1, 1, false}, {0, 0, true}} {
			at.change(func() { at.capacity.Running, at.capacity.QueueDepth = test.running, test.queue })
			w.repoll()
			got := w.chat(turns(2, "a"))
			if stays := got.header.Get(grid.PeerHeader) == first; stays != test.stays {
				t.Errorf("%d running, %d queued: stays=%t, want %t (%s)", test.running, test.queue, stays, test.stays, got.header.Get(grid.RouteHeader))
			}
			// Whoever served last is preferred; bring it back.
			w.rt.affinity.learn(prefixesOf(t, w.rt, turns(2, "a")), at.peer.ID)
		}
	})
}

func prefixesOf(t *testing.T, rt *Router, body string) []uint64 {
	t.Helper()
	r, err := openai.ParseRequest([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return rt.affinity.prefixes(r, openai.Chat)
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	a := newAffinity()
	of := func(d openai.Dialect, body string) []uint64 {
		r, err := openai.ParseRequest([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return a.prefixes(r, d)
	}
	two, three := of(openai.Chat, turns(2, "a")), of(openai.Chat, turns(3, "a"))
	if len(two) != 2 || len(three) != 3 || two[1] != three[1] || two[0] == two[1] {
		t.Errorf("the prefixes %v do not begin %v", two, three)
	}
	if other := of(openai.Chat, strings.Replace(turns(2, "a"), `"m"`, `"n"`, 1)); other[0] == two[0] {
		t.Error("another model has the same prefix")
	}
	if tools := of(openai.Chat, strings.Replace(turns(2, "a"), `{`, `{"tools":[{}],`, 1)); tools[0] == two[0] {
		t.Error("other tools have the same prefix")
	}
	long := strings.Repeat("x", 3*promptBlock)
	if a, b := of(openai.Completions, `{"model":"m","prompt":"`+long+`"}`), of(openai.Completions, `{"model":"m","prompt":"`+long+long+`"}`); len(a) != 3 || a[2] != b[2] {
		t.Errorf("prompts that begin alike have prefixes %v and %v", a, b)
	}
	if got := of(openai.Embeddings, `{"model":"m","input":"x"}`); got != nil {
		t.Errorf("embeddings have prefixes %v", got)
	}
	if got := of(openai.Chat, `{"model":"m","messages":[`+strings.Repeat(`1,`, 5000)+`1]}`); len(got) != maxPrefixes {
		t.Errorf("%d prefixes of a long conversation, want %d", len(got), maxPrefixes)
	}
}

func TestAffinityIsBounded(t *testing.T) {
	t.Parallel()
	a := newAffinity()
	id := grid.Peer{}.ID
	for i := range uint64(3 * affinityShards * affinitySize) {
		a.learn([]uint64{i}, id)
	}
	total := 0
	for i := range a.shards {
		total += a.shards[i].order.Len()
		if len(a.shards[i].entries) != a.shards[i].order.Len() {
			t.Error("a shard's list and map differ")
		}
	}
	if total != affinityShards*affinitySize {
		t.Errorf("%d prefixes are kept, want %d", total, affinityShards*affinitySize)
	}
	if _, found := a.find([]uint64{0}); found {
		t.Error("the oldest was kept")
	}
}

var (
	digestA = "sha256:" + strings.Repeat("aa", 32)
	digestB = "sha256:" + strings.Repeat("bb", 32)
)

// weights gives workers models of one name with these digests.
func (w *world) weights(digests ...string) {
	for i, d := range digests {
		f := w.workers[i]
		f.change(func() { f.capacity.ModelFacts = []grid.Model{{ID: "m", Digest: d, Loaded: true}} })
	}
	w.repoll()
}

func TestDigestAsksForExactlyThatModel(t *testing.T) {
	t.Parallel()
	inWorld(t, 2, nil, func(t *testing.T, w *world) {
		w.weights(digestA, digestB)
		for range 5 {
			got := w.chat(strings.Replace(askWhole, `"m"`, `"m@`+digestB+`"`, 1))
			if got.status != 200 || got.header.Get(grid.PeerHeader) != w.workers[1].peer.ID.String() {
				t.Fatalf("got %d by %s", got.status, got.header.Get(grid.PeerHeader))
			}
		}
		if got := w.chat(strings.Replace(askWhole, `"m"`, `"m@sha256:cccccccccccc"`, 1)); got.status != 404 {
			t.Errorf("unknown digest: %d %s", got.status, got.body)
		}
	})
}

func TestFailoverStaysWithinTheDigestUnlessOthersAreAllowed(t *testing.T) {
	t.Parallel()
	inWorld(t, 3, nil, func(t *testing.T, w *world) {
		w.weights(digestA, digestB, digestA)
		w.prefer(0).answers(boom)
		if got := w.chat(askWhole); got.status != 200 || got.header.Get(grid.PeerHeader) != w.workers[2].peer.ID.String() {
			t.Errorf("got %d by %s, want the peer with the same weights", got.status, got.header.Get(grid.PeerHeader))
		}
		w.workers[2].answers(boom)
		got := w.chat(askWhole)
		if got.status != 502 || w.workers[1].count() != 0 || !strings.Contains(got.body, grid.FailoverHeader) {
			t.Errorf("got %d %s; want 502 that names the header", got.status, got.body)
		}
		time.Sleep(exclusion)
		got = w.chat(askWhole, grid.FailoverHeader, "any")
		if got.status != 200 || got.header.Get(grid.PeerHeader) != w.workers[1].peer.ID.String() {
			t.Errorf("allowed: got %d by %s", got.status, got.header.Get(grid.PeerHeader))
		}
	})
}

func TestNewPeersAreUsedWithoutARestart(t *testing.T) {
	t.Parallel()
	inWorld(t, 0, nil, func(t *testing.T, w *world) {
		if got := w.chat(askWhole); got.status != 503 {
			t.Fatalf("without peers: %d", got.status)
		}
		w.addWorker(1)
		if got := w.chat(askWhole); got.status != 200 { // at once: it waits for the first poll
			t.Errorf("after adding one: %d %s", got.status, got.body)
		}
		w.peers.set(nil)
		if got := w.chat(askWhole); got.status != 503 {
			t.Errorf("after removing it: %d", got.status)
		}
	})
}
