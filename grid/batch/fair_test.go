package batch

import (
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid"
	"lobstah/openai"
)

// A small batch does not wait for a large one that came before.
func TestBatchesTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			time.Sleep(time.Second)
			ok(w)
		})
		b := newBed(t, Config{Ask: fake, Peers: slots(2)})
		large := b.create(b.upload(chat(1000)))
		time.Sleep(10 * time.Second)
		start := time.Now()
		small := b.await(b.create(b.upload(chat(10))).ID)
		if took := time.Since(start); small.Status != Completed || took > 20*time.Second {
			t.Errorf("10 lines took %s beside 1,000 others", took)
		}
		if got := b.await(large.ID); got.RequestCounts.Completed != 1000 {
			t.Errorf("the large one: %+v", got)
		}
	})
}

// A fast peer that hangs holds up its own line, not the others.
func TestStuckPeer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		did := 0
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			id := r.Header.Get(grid.PreferHeader)
			w.Header().Set(grid.PeerHeader, id)
			if id == "slow" {
				time.Sleep(8 * time.Second)
				ok(w)
				return
			}
			mu.Lock()
			did++
			hangs := did > 40
			mu.Unlock()
			if hangs {
				time.Sleep(15 * time.Minute)
				refuse(w, 502, 0, "no answer")
				return
			}
			time.Sleep(time.Second)
			ok(w)
		})
		b := newBed(t, Config{Ask: fake, Peers: func(string) []Peer { return []Peer{{"fast", 1}, {"slow", 1}} }})
		created := b.create(b.upload(chat(50)))
		time.Sleep(3 * time.Minute)
		if got := b.get(created.ID); got.RequestCounts.Completed != 49 {
			t.Errorf("3 minutes later %d of 50 lines are done; want all but the one that hangs", got.RequestCounts.Completed)
		}
		if got := b.await(created.ID); got.RequestCounts != (Counts{50, 50, 0}) {
			t.Errorf("at the end %+v", got.RequestCounts)
		}
	})
}

// Peers that come and go in the middle are used while they are there.
func TestPeersChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		by := map[string]int{}
		fake := newRouter(func(w http.ResponseWriter, r *http.Request, content string, try int) {
			id := r.Header.Get(grid.PreferHeader)
			mu.Lock()
			by[id]++
			mu.Unlock()
			time.Sleep(time.Second)
			w.Header().Set(grid.PeerHeader, id)
			ok(w)
		})
		b := newBed(t, Config{Ask: fake, Peers: func(string) []Peer {
			switch since := time.Since(began); {
			case since < 30*time.Second:
				return []Peer{{"a", 1}}
			case since < 60*time.Second:
				return []Peer{{"a", 1}, {"b", 4}}
			}
			return []Peer{{"b", 4}}
		}})
		got := b.await(b.create(b.upload(chat(400))).ID)
		if got.RequestCounts.Completed != 400 {
			t.Errorf("counts %+v", got.RequestCounts)
		}
		if by["a"] < 50 || by["a"] > 65 || by["a"]+by["b"] != 400 {
			t.Errorf("asked %v; want some 60 of the peer that was there for a minute", by)
		}
	})
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		dialect openai.Dialect
		body    string
		want    Usage
	}{
		"chat":       {openai.Chat, okAnswer, Usage{3, InputDetail{1}, 2, OutputDetail{1}, 5}},
		"embeddings": {openai.Embeddings, `{"object":"list","data":[],"usage":{"prompt_tokens":4,"total_tokens":4}}`, Usage{InputTokens: 4, TotalTokens: 4}},
		"responses": {openai.Responses, `{"id":"r","object":"response","status":"completed","output":[],"usage":{"input_tokens":5,"input_tokens_details":{"cached_tokens":2},"output_tokens":6,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":11}}`,
			Usage{5, InputDetail{2}, 6, OutputDetail{3}, 11}},
		"messages": {openai.Messages, `{"type":"message","role":"assistant","content":[],"stop_reason":"end_turn","usage":{"input_tokens":7,"output_tokens":8}}`,
			Usage{InputTokens: 7, OutputTokens: 8, TotalTokens: 15}},
		"none": {openai.Chat, `{}`, Usage{}},
		"odd":  {openai.Chat, `{"usage":[1]}`, Usage{}},
	} {
		if got := usageOf(test.dialect, []byte(test.body)); got != test.want {
			t.Errorf("%s: %+v; want %+v", name, got, test.want)
		}
	}
}
