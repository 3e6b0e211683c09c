package router

import (
	"cmp"
	"math"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lobstah/grid"
	"lobstah/key"
)

// peer is one worker and all that is known of it.
type peer struct {
	grid.Peer
	base    *url.URL
	badURL  error
	way     http.RoundTripper
	health  health
	ailing  ailing
	facts   atomic.Pointer[facts] // nil until a poll succeeded
	running atomic.Int64          // our requests that it works on
	placed  atomic.Int64          // our jobs that it has
	pace    pace
	bound   bound
	skew    atomic.Int64  // nanoseconds by which its clock is ahead of ours, as it told
	kick    chan struct{} // asks for an early poll
	polled  chan struct{} // closed when the first poll ended

	receiptsSince atomic.Int64 // the cursor of GET /receipts; back when an older one is wanted again
	setBack       atomic.Int64 // how often that cursor was set back
	moved         atomic.Bool  // it may have made receipts since the cursor was set
}

// facts is what a poll told.
type facts struct {
	grid.Capacity
	models []grid.Model
	told   bool  // models hold more than names
	ours   int64 // our requests among its running and queued ones
	jobs   int64 // our jobs among those that it has queued
}

// offer is a peer and the model by which it serves a request.
type offer struct {
	*peer
	model *grid.Model // not to be changed
	tier  grid.Tier   // of the peer
}

// view is the pool at one moment. It is immutable.
type view struct {
	source []grid.Peer // as [Peers.List] gave it
	peers  []*peer
	offers map[string][]offer // by the model's name, sorted by tier
	pinned bool               // the client insists on the one peer
}

// roster keeps the view up to date. Reading it takes no lock.
type roster struct {
	way     func(grid.Peer) http.RoundTripper
	changed chan struct{} // signals that the set of peers changed
	current atomic.Pointer[view]
	mu      sync.Mutex // held while a new view is made
}

func newRoster(way func(grid.Peer) http.RoundTripper) *roster {
	r := &roster{way: way, changed: make(chan struct{}, 1)}
	r.current.Store(&view{})
	return r
}

// sync returns the view for a list of peers, making a new one when it changed.
func (r *roster) sync(list []grid.Peer) *view {
	v := r.current.Load()
	if same(v.source, list) {
		return v
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	v = r.current.Load()
	if same(v.source, list) {
		return v
	}
	known := make(map[grid.Peer]*peer, len(v.peers))
	for _, p := range v.peers {
		known[p.Peer] = p
	}
	next := &view{source: list}
	seen := make(map[key.ID]bool, len(list))
	for _, entry := range list {
		if seen[entry.ID] {
			continue // the first mention counts
		}
		seen[entry.ID] = true
		p := known[entry]
		if p == nil {
			p = r.newPeer(entry)
		}
		next.peers = append(next.peers, p)
	}
	r.publish(next)
	select {
	case r.changed <- struct{}{}:
	default:
	}
	return next
}

// learn makes a new view after a poll brought other models or another tier.
func (r *roster) learn() {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.current.Load()
	r.publish(&view{source: v.source, peers: v.peers})
}

func (r *roster) publish(v *view) {
	v.offers = map[string][]offer{}
	for _, p := range v.peers {
		if f := p.facts.Load(); f != nil {
			for i := range f.models {
				m := &f.models[i]
				v.offers[m.ID] = append(v.offers[m.ID], offer{p, m, cmp.Or(f.Tier, grid.BestEffort)})
			}
		}
	}
	for _, offers := range v.offers {
		sortByTier(offers)
	}
	r.current.Store(v)
}

func same(a, b []grid.Peer) bool {
	if len(a) != len(b) {
		return false
	}
	return len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b)
}

func (r *roster) newPeer(entry grid.Peer) *peer {
	p := &peer{Peer: entry, kick: make(chan struct{}, 1), polled: make(chan struct{})}
	p.moved.Store(true)
	p.base, p.badURL = url.Parse(entry.URL)
	if p.badURL == nil {
		p.way = r.way(entry)
	}
	return p
}

// serving returns the offers for a model's text, which may lack the tag latest
// or name a digest.
func (v *view) serving(text string) []offer {
	if list := v.offers[text]; list != nil {
		return list
	}
	name, digest := grid.SplitModel(text)
	named := v.offers[name]
	if named == nil {
		named = v.offers[name+grid.LatestTag]
	}
	if digest == "" {
		return named
	}
	var list []offer
	for _, o := range named {
		if o.model.Serves(text) {
			list = append(list, o)
		}
	}
	return list
}

// url returns the address of a path at the peer.
func (p *peer) url(path, query string) *url.URL {
	u := *p.base
	u.Path, u.RawPath = joinPath(p.base.Path, path), ""
	u.RawQuery, u.Fragment = query, ""
	return &u
}

func joinPath(prefix, path string) string {
	if prefix == "" || prefix == "/" {
		return path
	}
	if prefix[len(prefix)-1] == '/' {
		prefix = prefix[:len(prefix)-1]
	}
	return prefix + path
}

// load sums up how busy the peer is, for a request of this tier: stored jobs
// stand before other jobs only.
func (o offer) load(now time.Time, tier grid.Tier) Load {
	l := Load{Running: o.running.Load(), Slots: 1}
	if f := o.facts.Load(); f != nil {
		l.Others = max(0, int64(f.Running)+int64(f.QueueDepth)-f.ours)
		if tier == grid.Batch || tier == grid.BestEffort {
			l.Running += o.placed.Load()
			l.Others += max(0, int64(f.JobCounts.Queued)-f.jobs)
		}
		l.Slots = max(1, int64(f.Concurrency))
		l.Cold = f.told && !o.model.Loaded && !o.model.Demo
	}
	l.Speed, l.FirstToken = o.pace.read(now)
	return l
}

// pace is how fast a peer answered us lately. The zero value knows nothing.
type pace struct {
	mu    sync.Mutex
	speed float64   // guarded by mu; output tokens a second
	first float64   // guarded by mu; seconds to the first token
	at    time.Time // guarded by mu; last measured
}

// memory of a measurement: a peer that was slow for a while gets new chances.
const paceMemory = 10 * time.Minute

func (p *pace) read(now time.Time) (speed float64, first time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.at) > paceMemory {
		return 0, 0
	}
	return p.speed, time.Duration(p.first * float64(time.Second))
}

// note takes up one answer: seconds to its first token, and the tokens a second
// after that (0 when there were too few to tell).
func (p *pace) note(now time.Time, first time.Duration, speed float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.at) > paceMemory {
		p.speed, p.first = 0, 0
	}
	p.at = now
	p.first = blend(p.first, first.Seconds())
	if speed > 0 && !math.IsInf(speed, 0) {
		p.speed = blend(p.speed, speed)
	}
}

func blend(old, measured float64) float64 {
	if old == 0 {
		return measured
	}
	return 0.8*old + 0.2*measured
}
