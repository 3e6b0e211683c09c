package tracker

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"lobstah/grid/announce"
	"lobstah/key"
)

// An entry is a listed key. It keeps its place from its first announcement to
// its end; a key that comes back gets a new one.
type entry struct {
	seq    uint64
	from   network    // whose share it counts against; none when it came from the store
	view   *view      // guarded by index.mu; nil when it ended
	due    int64      // guarded by index.mu; the second in which the wheel looks at it
	day    day[uint8] // guarded by index.mu; highest load of each slot, 0 for not seen
	bucket int64      // guarded by index.mu; of its renewals: when it is full again
	probed probe      // guarded by index.mu
}

// A probe remembers that a URL was reached.
type probe struct {
	url string
	at  int64 // Unix nanoseconds
}

// A posting lists the entries that serve one model, or all of them, in the
// order of their places. Entries that ended or no longer serve it stay in the
// list until they are half of it, so that leaving costs nothing.
type posting struct {
	name, folded string
	at           int         // in index.models
	list         []*entry    // guarded by index.mu
	live         int         // guarded by index.mu; how many of list count
	day          day[uint32] // guarded by index.mu; highest live of each slot
}

// limits bound an index.
type limits struct {
	peers  int // keys, the withdrawn ones included
	bytes  int // of envelopes
	prefix int // keys that are listed for one address prefix
}

// index answers questions about what is announced. One writer or many readers
// at a time; long reads give the lock back now and then.
type index struct {
	limits   limits
	renewals *limiter[key.ID] // has the buckets of keys that are not listed
	now      func() time.Time
	changes  *changes

	mu     sync.RWMutex // guards everything below
	byID   map[key.ID]*entry
	floors map[key.ID]int64 // of keys that are not listed: no offer up to this time counts
	shares map[network]int
	byName map[string]*posting
	models []*posting // the values of byName, in any order
	all    posting
	seq    uint64
	bytes  int
	wheel  map[int64][]*entry    // entries by the second in which they may end
	second int64                 // up to which the wheel has turned
	pruned int64                 // when floors were last looked through
	loads  map[key.ID]day[uint8] // of keys that were listed before a restart and are not yet again
}

func newIndex(l limits, renewals Rate, now func() time.Time, c *changes) *index {
	return &index{
		limits: l, renewals: newLimiter[key.ID](renewals, l.peers), now: now, changes: c,
		byID: map[key.ID]*entry{}, floors: map[key.ID]int64{}, shares: map[network]int{},
		byName: map[string]*posting{}, wheel: map[int64][]*entry{}, second: now().Unix(),
		loads: map[key.ID]day[uint8]{},
	}
}

// A verdict says what became of an announcement.
type verdict int

const (
	accepted verdict = iota
	superseded
	registryFull
	shareFull
)

// renew takes a token from the bucket of a key, as [Rate.take] does. That of a
// listed one is in its entry, which is needed next.
func (ix *index) renew(id key.ID) time.Duration {
	now := ix.turn()
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if e := ix.byID[id]; e != nil {
		return ix.renewals.rate.take(&e.bucket, 1, now.UnixNano())
	}
	return ix.renewals.take(id, 1, now)
}

// admits says whether there would be room for an offer of id.
func (ix *index) admits(id key.ID, from network, size int) verdict {
	ix.turn()
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	_, known := ix.floors[id]
	if e := ix.byID[id]; e != nil {
		if grown := size - len(e.view.envelope); grown > 0 && ix.bytes+grown > ix.limits.bytes {
			return registryFull
		}
		return accepted
	}
	switch {
	case !known && len(ix.byID)+len(ix.floors) >= ix.limits.peers, ix.bytes+size > ix.limits.bytes:
		return registryFull
	case from != (network{}) && ix.shares[from] >= ix.limits.prefix:
		return shareFull
	}
	return accepted
}

// remembers says whether there is room for the withdrawal of a key.
func (ix *index) remembers(id key.ID) bool {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	_, listed := ix.byID[id]
	_, known := ix.floors[id]
	return listed || known || len(ix.byID)+len(ix.floors) < ix.limits.peers
}

// put lists an offer, unless the index knows something newer. It returns how
// many are listed then.
func (ix *index) put(s *announce.Signed, envelope string, from network, reached probe) (verdict, int) {
	now := ix.turn()
	ix.mu.Lock()
	defer ix.mu.Unlock()
	at := s.AnnouncedAt.UnixMilli()
	e := ix.byID[s.ID]
	if floor, ok := ix.floors[s.ID]; ok && at <= floor || e != nil && at <= e.view.at {
		return superseded, ix.all.live
	}
	var old *view
	if e == nil {
		e = &entry{seq: ix.seq, from: from, day: ix.loads[s.ID], bucket: ix.renewals.release(s.ID)}
		delete(ix.loads, s.ID)
		ix.seq++
		ix.byID[s.ID] = e
		delete(ix.floors, s.ID)
		if from != (network{}) {
			ix.shares[from]++
		}
	} else {
		old = e.view
	}
	ix.show(e, newView(s, envelope, old, ix.posting), now)
	if reached.url != "" && reached != e.probed {
		e.probed = probe{strings.Clone(reached.url), reached.at} // the URL is a part of a whole announcement
	}
	ix.changes.publish(change{before: old, after: e.view})
	return accepted, ix.all.live
}

// show makes v what e offers; mu is held.
func (ix *index) show(e *entry, v *view, now time.Time) {
	old := e.view
	e.view = v
	slot := slotOf(now)
	if old == nil {
		ix.all.add(e, slot)
	} else {
		ix.bytes -= len(old.envelope)
	}
	ix.bytes += len(v.envelope)
	if !v.shares(old) {
		ix.offer(e, v, old, slot)
	}
	e.day.roll(slot, 0)
	e.day.raise(v.load)
	ix.schedule(e)
}

// offer lists e with the models of v that old had not, and takes it off the
// others; mu is held.
func (ix *index) offer(e *entry, v, old *view, slot int64) {
	for _, o := range v.offered {
		if old == nil || !old.serves(o.model) {
			o.model.add(e, slot)
		}
	}
	if old == nil {
		return
	}
	for _, o := range old.offered {
		if !v.serves(o.model) {
			ix.drop(o.model, slot)
		}
	}
}

// schedule lets the wheel look at e when its offer ends. It is looked at once,
// however often it is renewed before.
func (ix *index) schedule(e *entry) {
	due := max(e.view.until/1000, ix.second) + 1
	if e.due > ix.second && e.due <= due {
		return // it is looked at before then, and put back
	}
	e.due = due
	ix.wheel[due] = append(ix.wheel[due], e)
}

// withdraw ends what id offered up to a time, and remembers it. It reports
// whether something was listed.
func (ix *index) withdraw(id key.ID, at int64) bool {
	now := ix.turn()
	ix.mu.Lock()
	defer ix.mu.Unlock()
	e := ix.byID[id]
	if e != nil && e.view.at > at {
		return false
	}
	if e != nil {
		ix.end(id, e, withdrawn, slotOf(now))
	}
	ix.floors[id] = max(ix.floors[id], at)
	return e != nil
}

// end takes e off the list, as of slot; mu is held. The time of its offer stays
// as a floor, since an older one may have longer to live.
func (ix *index) end(id key.ID, e *entry, why string, slot int64) {
	old := e.view
	e.view = nil
	delete(ix.byID, id)
	ix.renewals.keep(id, e.bucket, ix.now())
	ix.floors[id] = old.at
	ix.bytes -= len(old.envelope)
	if e.from != (network{}) {
		if ix.shares[e.from]--; ix.shares[e.from] == 0 {
			delete(ix.shares, e.from)
		}
	}
	for _, o := range old.offered {
		ix.drop(o.model, slot)
	}
	ix.all.remove(slot, nil)
	ix.changes.publish(change{before: old, why: why})
}

// turn ends what is over. Every question and every change calls it first, so
// that the list is right without a clock of its own. It returns the time.
func (ix *index) turn() time.Time {
	now := ix.now()
	second := now.Unix()
	ix.mu.RLock()
	behind := ix.second < second
	ix.mu.RUnlock()
	if !behind {
		return now
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	for _, due := range ix.passed(second) {
		waiting := ix.wheel[due]
		delete(ix.wheel, due)
		for _, e := range waiting {
			ix.look(e, due, now.UnixMilli())
		}
	}
	ix.second = max(ix.second, second)
	if second-ix.pruned >= 60 {
		ix.prune(now)
	}
	return now
}

// passed lists the seconds of the wheel up to second.
func (ix *index) passed(second int64) []int64 {
	var due []int64
	if second-ix.second > int64(len(ix.wheel)) { // the clock jumped
		for s := range ix.wheel {
			if s <= second {
				due = append(due, s)
			}
		}
		slices.Sort(due)
		return due
	}
	for s := ix.second + 1; s <= second; s++ {
		if _, ok := ix.wheel[s]; ok {
			due = append(due, s)
		}
	}
	return due
}

func (ix *index) look(e *entry, due, now int64) {
	switch {
	case e.view == nil || e.due != due: // ended, or put elsewhere
	case now > e.view.until:
		ix.end(e.view.id, e, expired, slotOf(time.UnixMilli(e.view.until)))
	default:
		e.due = 0
		ix.schedule(e)
	}
}

// prune forgets what no longer matters; mu is held.
func (ix *index) prune(now time.Time) {
	ix.pruned = now.Unix()
	slot := slotOf(now)
	maps.DeleteFunc(ix.loads, func(_ key.ID, d day[uint8]) bool { return d.last < slot-1 })
	maps.DeleteFunc(ix.floors, func(id key.ID, at int64) bool { return now.After(Record{ID: id, At: at}.Until()) })
	for i := len(ix.models) - 1; i >= 0; i-- {
		if p := ix.models[i]; p.live == 0 && slices.Max(p.day.read(slot, 0)) == 0 {
			ix.forget(p)
		}
	}
}

// posting finds or makes the posting of a model; mu is held.
func (ix *index) posting(name string) *posting {
	p := ix.byName[name]
	if p == nil {
		name = strings.Clone(name) // it is a part of a whole announcement
		p = &posting{name: name, folded: strings.ToLower(name), at: len(ix.models)}
		ix.byName[name] = p
		ix.models = append(ix.models, p)
	}
	return p
}

// maxIdleModels is how many models that nobody serves now are kept for their
// day's plot; made-up names should not fill the memory.
const maxIdleModels = 4096

// drop takes one entry off p, whose last one it may have been; mu is held.
func (ix *index) drop(p *posting, slot int64) {
	p.remove(slot, p)
	if p.live == 0 && len(ix.models) > maxIdleModels {
		ix.forget(p)
	}
}

func (ix *index) forget(p *posting) {
	delete(ix.byName, p.name)
	last := ix.models[len(ix.models)-1]
	ix.models[p.at], last.at = last, p.at
	ix.models[len(ix.models)-1] = nil
	ix.models = ix.models[:len(ix.models)-1]
}

// add counts e in, at its place.
func (p *posting) add(e *entry, slot int64) {
	i, found := slices.BinarySearchFunc(p.list, e.seq, compareSeq)
	if !found { // else it was there before and is still in the list
		p.list = slices.Insert(p.list, i, e)
	}
	p.day.roll(slot, uint32(p.live))
	p.live++
	p.day.raise(uint32(p.live))
}

// remove counts one out that has ended already. of is what entries have to
// serve to stay in the list; nil for any.
func (p *posting) remove(slot int64, of *posting) {
	p.day.roll(slot, uint32(p.live))
	p.live--
	if len(p.list) > 2*p.live+16 {
		p.list = slices.DeleteFunc(p.list, func(e *entry) bool { return !e.counts(of) })
	}
	if p.live == 0 {
		p.list = nil
	}
}

// counts reports whether e is listed and serves of; nil for any.
func (e *entry) counts(of *posting) bool {
	return e.view != nil && (of == nil || e.view.serves(of))
}

// live is how many keys are listed now.
func (ix *index) live() int {
	ix.turn()
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	return ix.all.live
}

// reached tells when a URL of id was last reached.
func (ix *index) reached(id key.ID) probe {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	if e := ix.byID[id]; e != nil {
		return e.probed
	}
	return probe{}
}

func compareSeq(e *entry, seq uint64) int { return cmp.Compare(e.seq, seq) }

// knows reports whether r says nothing new.
func (ix *index) knows(r Record) bool {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	if e := ix.byID[r.ID]; e != nil {
		return e.view.at > r.At || e.view.at == r.At && !r.Withdrawn()
	}
	floor, ok := ix.floors[r.ID]
	return ok && floor >= r.At
}
