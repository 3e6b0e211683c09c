package router

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"lobstah/grid"
	"lobstah/key"
)

// choice is a peer that was picked and why.
type choice struct {
	offer
	route string // for the X-Lobstah-Route header
}

// candidate is an offer that may be picked now.
type candidate struct {
	offer
	load Load
}

// wish is what a request asks of its peer.
type wish struct {
	tier     grid.Tier // empty: every peer is as good
	prefer   key.ID    // whom the client wants; zero for nobody
	model    string
	digest   string  // a failover stays within it; empty for any
	tried    []*peer // asked already
	prefixes []uint64
	familiar key.ID // served a beginning of the conversation; zero for none
}

// pick chooses a peer for a wish and claims it. It fails when none is left.
func (rt *Router) pick(v *view, w *wish) (choice, bool) {
	now, offers := rt.Now(), v.serving(w.model)
	w.familiar, _ = rt.affinity.find(w.prefixes)
	for {
		list := eligible(offers, w, now, false)
		last := len(list) == 0
		if last {
			list = longestOut(eligible(offers, w, now, true))
		}
		if len(list) == 0 {
			return choice{}, false
		}
		c, reason := rt.choose(list, w)
		probe, ok := c.claim(now, last)
		if !ok {
			continue // another request claimed its probe just now
		}
		if probe {
			reason = "probe"
		}
		route := fmt.Sprintf("%s; candidates=%d; queue=%d; attempt=%d", reason, len(list), c.load.Queue(), len(w.tried)+1)
		return choice{c.offer, route}, true
	}
}

// maxCandidates of each rank are looked at for one choice. Of a larger pool a
// window at random is as good, and takes no longer.
const maxCandidates = 16

// eligible lists the offers that may be picked, the one that knows the
// conversation among them. With last, the shorter exclusion of a model's last
// peer counts.
func eligible(offers []offer, w *wish, now time.Time, last bool) []candidate {
	list := make([]candidate, 0, min(len(offers), maxCandidates+1))
	for len(offers) > 0 {
		n := sameRank(offers)
		list = w.window(list, offers[:n], now, last)
		offers = offers[n:]
	}
	return list
}

// window adds the offers of one tier.
func (w *wish) window(list []candidate, offers []offer, now time.Time, last bool) []candidate {
	start, most := 0, len(list)+maxCandidates
	if len(offers) > maxCandidates {
		start = rand.IntN(len(offers))
	}
	for i := range offers {
		o := offers[(start+i)%len(offers)]
		if w.takes(o, now, last) && (len(list) < most || o.ID == w.familiar || o.ID == w.prefer) {
			list = append(list, candidate{o, o.load(now, w.tier)})
		}
		if len(list) == most && w.familiar.IsZero() && w.prefer.IsZero() {
			break
		}
	}
	return list
}

// takes reports whether an offer may be picked.
func (w *wish) takes(o offer, now time.Time, last bool) bool {
	return (w.digest == "" || o.model.Digest == w.digest) && o.ready(now, last) && !slices.Contains(w.tried, o.peer)
}

// longestOut keeps the one whose latest failure is oldest.
func longestOut(list []candidate) []candidate {
	if len(list) < 2 {
		return list
	}
	oldest := slices.MinFunc(list, func(a, b candidate) int {
		return a.until(true).Compare(b.until(true))
	})
	return []candidate{oldest}
}

// choose takes the peer that the client wants, or else, of those that the user
// knows while one of them is free, the one that knows the conversation while
// that costs no wait, or the better of two by estimated wait.
func (rt *Router) choose(list []candidate, w *wish) (candidate, string) {
	if len(list) == 1 {
		return list[0], "only"
	}
	if c, ok := wanted(list, w.prefer); ok {
		return c, "wanted"
	}
	list = byTier(ownFirst(list), w.tier)
	if c, ok := familiar(list, w.familiar); ok {
		return c, "prefix"
	}
	if len(list) == 1 {
		return list[0], "tier"
	}
	i := rand.IntN(len(list))
	j := rand.IntN(len(list) - 1)
	if j >= i {
		j++
	}
	if rt.Scorer.Estimate(list[j].load) < rt.Scorer.Estimate(list[i].load) {
		i = j
	}
	return list[i], "least-wait"
}

// familiar returns the peer that served this conversation's beginning, while
// its queue is at most one longer than the shortest.
func familiar(list []candidate, id key.ID) (candidate, bool) {
	at := slices.IndexFunc(list, func(c candidate) bool { return c.ID == id })
	if at < 0 || list[at].load.Queue() > shortest(list)+1 {
		return candidate{}, false
	}
	return list[at], true
}

func shortest(list []candidate) int64 {
	least := list[0].load.Queue()
	for _, c := range list[1:] {
		least = min(least, c.load.Queue())
	}
	return least
}

// servedBefore tells the affinity who served.
func (rt *Router) servedBefore(w *wish, id key.ID) { rt.affinity.learn(w.prefixes, id) }
