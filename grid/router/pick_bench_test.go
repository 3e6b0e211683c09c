package router

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"testing"

	"lobstah/grid"
	"lobstah/key"
)

// crowd is a router that knows n peers with the model "m".
func crowd(t testing.TB, n int) *Router {
	list := make([]grid.Peer, n)
	for i := range list {
		var id key.ID
		binary.BigEndian.PutUint64(id[:], uint64(i+1))
		list[i] = grid.Peer{ID: id, URL: fmt.Sprintf("http://192.0.2.1:%d", 1000+i)}
	}
	rt, err := New(Config{
		Identity: key.FromSeed([32]byte{2}), Peers: &peerList{list: list},
		RoundTripper: func(grid.Peer) http.RoundTripper { return http.DefaultTransport },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range rt.roster.sync(list).peers {
		p.facts.Store(&facts{models: []grid.Model{{ID: "m"}}})
		close(p.polled)
	}
	rt.roster.learn()
	return rt
}

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{1, 3, 30, 300, 3000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rt := crowd(b, n)
			for b.Loop() {
				w := wish{tier: grid.Interactive, model: "m"}
				if _, ok := rt.pick(rt.roster.sync(rt.Peers.List()), &w); !ok {
					b.Fatal("no peer")
				}
			}
		})
	}
}

// A window on a large pool still finds the peer that knows the conversation,
// and the only one that is well.
func TestPickFromACrowd(t *testing.T) {
	t.Parallel()
	rt := crowd(t, 10*maxCandidates)
	v := rt.roster.sync(rt.Peers.List())
	rt.affinity.learn([]uint64{7}, v.peers[100].ID)
	for range 50 {
		w := wish{tier: grid.Interactive, model: "m", prefixes: []uint64{7}}
		if c, ok := rt.pick(v, &w); !ok || c.peer != v.peers[100] {
			t.Fatal("the peer that knows the conversation was not picked")
		}
	}
	now := rt.Now()
	for i, p := range v.peers {
		if i != 42 {
			p.health.failed(now, "x")
			p.health.failed(now, "x")
		}
	}
	for range 50 {
		w := wish{tier: grid.Interactive, model: "m", prefixes: []uint64{7}}
		if c, ok := rt.pick(v, &w); !ok || c.peer != v.peers[42] {
			t.Fatal("the only healthy peer was not picked")
		}
	}
}
