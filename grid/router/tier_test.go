package router

import (
	"net/http"
	"strings"
	"testing"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/openai"
)

// Whom a request may go to, by what it is, what the peers are meant for, and
// how many requests each has before its one slot is free.
func TestTiers(t *testing.T) {
	t.Parallel()
	type peers map[grid.Tier]int64
	const i, b, e = grid.Interactive, grid.Batch, grid.BestEffort
	for _, test := range []struct {
		name  string
		wants grid.Tier
		peers peers
		picks string // the tiers that may be picked
	}{
		{"people first at what is meant for them", i, peers{i: 0, b: 0, e: 0}, "interactive"},
		{"people before a queue elsewhere", i, peers{i: 1, b: 0, e: 0}, "best-effort"},
		{"people at a batch machine rather than in a queue", i, peers{i: 1, b: 0, e: 1}, "batch"},
		{"people in the queue of their tier when all are busy", i, peers{i: 9, b: 1, e: 1}, "interactive"},
		{"people where there is anybody", i, peers{b: 3}, "batch"},
		{"batches first at what is meant for them", b, peers{i: 0, b: 0, e: 0}, "batch"},
		{"batches spill to best-effort", b, peers{i: 0, b: 1, e: 0}, "best-effort"},
		{"batches wait rather than take an interactive machine", b, peers{i: 0, b: 3, e: 2}, "batch"},
		{"batches wait at best-effort too", b, peers{i: 0, e: 2}, "best-effort"},
		{"batches where there is anybody", b, peers{i: 2}, "interactive"},
		{"best effort at its own", e, peers{i: 0, b: 0, e: 0}, "best-effort"},
		{"best effort spills to batch", e, peers{i: 0, b: 0, e: 1}, "batch"},
		{"best effort waits", e, peers{i: 0, b: 1, e: 1}, "best-effort"},
		{"no wish, no preference", "", peers{i: 5, b: 5, e: 5}, "interactive best-effort batch"},
	} {
		var list []candidate
		for _, tier := range []grid.Tier{i, e, b} {
			if running, ok := test.peers[tier]; ok {
				list = append(list, candidate{offer{tier: tier}, Load{Running: running, Slots: 1}})
			}
		}
		var got []string
		for _, c := range byTier(list, test.wants) {
			got = append(got, string(c.tier))
		}
		if strings.Join(got, " ") != test.picks {
			t.Errorf("%s: %v; want %s", test.name, got, test.picks)
		}
	}
}

// In a large pool, whose offers are looked at through a window, the one peer of
// the wanted tier is found each time, whoever knows the conversation.
func TestTierIsKeptInACrowd(t *testing.T) {
	t.Parallel()
	rt := crowd(t, 20*maxCandidates)
	v := rt.roster.sync(rt.Peers.List())
	only := v.peers[123]
	only.facts.Store(&facts{Capacity: grid.Capacity{Tier: grid.Batch}, models: []grid.Model{{ID: "m"}}})
	rt.roster.learn()
	v = rt.roster.sync(rt.Peers.List())
	rt.affinity.learn([]uint64{7}, v.peers[5].ID)
	for range 200 {
		for wanted, want := range map[grid.Tier]bool{grid.Batch: true, grid.Interactive: false} {
			c, ok := rt.pick(v, &wish{tier: wanted, model: "m", prefixes: []uint64{7}})
			if !ok || (c.peer == only) != want {
				t.Fatalf("%s went to %v", wanted, key.ID.Short(c.ID))
			}
		}
	}
}

func TestTierOfARequest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		header string
		d      openai.Dialect
		want   grid.Tier
		ok     bool
	}{
		{"", openai.Chat, grid.Interactive, true},
		{"", openai.Messages, grid.Interactive, true},
		{"", openai.Embeddings, "", true},
		{"batch", openai.Chat, grid.Batch, true},
		{"best-effort", openai.Embeddings, grid.BestEffort, true},
		{"gold", openai.Chat, "", false},
	} {
		r := &http.Request{Header: http.Header{}}
		if test.header != "" {
			r.Header.Set(grid.TierHeader, test.header)
		}
		got, e := tierOf(r, test.d)
		if got != test.want || (e == nil) != test.ok {
			t.Errorf("%q, dialect %d: %q, %v; want %q", test.header, test.d, got, e, test.want)
		}
	}
}

// The tier travels to the worker, whose queue goes by it.
func TestTierTravels(t *testing.T) {
	t.Parallel()
	inWorld(t, 3, nil, func(t *testing.T, w *world) {
		for n, tier := range []grid.Tier{grid.Interactive, grid.Batch, grid.BestEffort} {
			w.workers[n].change(func() { w.workers[n].capacity.Tier = tier })
		}
		w.repoll()
		for n, tier := range []grid.Tier{grid.Interactive, grid.Batch, grid.BestEffort} {
			for range 4 {
				got := w.chat(askWhole, grid.TierHeader, string(tier))
				if got.header.Get(grid.PeerHeader) != w.workers[n].peer.ID.String() {
					t.Errorf("%s went elsewhere: %s", tier, got.header.Get(grid.RouteHeader))
				}
			}
			if got := w.workers[n].header().Get(grid.TierHeader); got != string(tier) {
				t.Errorf("the worker was told %q; want %q", got, tier)
			}
		}
		if got := w.chat(askWhole, grid.TierHeader, "gold"); got.status != 400 {
			t.Errorf("an unknown tier: %d", got.status)
		}
	})
}
