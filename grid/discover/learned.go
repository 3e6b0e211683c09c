package discover

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/key"
)

// A Sighting says that a source showed a peer.
type Sighting struct {
	Source string      // its name
	Origin grid.Origin // what kind of place it is
	Where  string
	URL    string    // where the source itself reached the peer; empty for the offer's
	First  time.Time // since when it shows the peer
	Last   time.Time
}

// A Learned is a peer that sources told of.
type Learned struct {
	Peer  grid.Peer        // as a router should ask it
	Offer *announce.Signed // the newest
	Seen  []Sighting       // by source
}

// Limits are what a [Learner] holds at most. Each source has an equal share, of
// which nobody is pushed out: a newcomer waits until one of them goes.
type Limits struct {
	Peers int // 0 means 4096
	Bytes int // of envelopes; 0 means 32 MiB
}

// table is what is known of learned peers. It is not safe for concurrent use.
//
// An entry lives as long as some source shows its key and its newest offer is
// good. An offer that is older than the newest one that ever counted counts no
// more, as long as it could be mistaken for good.
type table struct {
	share  Limits // of one source
	peers  map[key.ID]*learned
	shelve map[string]*shelf // by source
}

// learned is an entry of the table.
type learned struct {
	offer *announce.Signed
	seen  map[string]*seen // by source
}

// seen is one source's part in an entry.
type seen struct {
	Sighting
	bytes  int
	round  int // the source's round in which it was shown
	missed int // answers in a row that were complete and did not show it
}

// A shelf is what one source takes up.
type shelf struct {
	peers, bytes int
	round        int
	refused      int // of the last round, for want of room
	graves       []grave
	buried       map[key.ID]time.Time
}

// A grave remembers when a key that is gone announced last.
type grave struct {
	id   key.ID
	last time.Time
}

// missesAllowed is how many complete answers may lack a peer: one, since a
// tracker that was restarted hears of everybody again within minutes.
const missesAllowed = 1

func newTable(l Limits, sources int) *table {
	share := max(sources, 1) + 1 // and what was kept of sources that are no longer asked
	return &table{
		share:  Limits{cmp.Or(l.Peers, 4096)/share + 1, cmp.Or(l.Bytes, 32<<20)/share + announce.MaxBytes},
		peers:  map[key.ID]*learned{},
		shelve: map[string]*shelf{},
	}
}

func (t *table) shelf(source string) *shelf {
	s := t.shelve[source]
	if s == nil {
		s = &shelf{buried: map[key.ID]time.Time{}}
		t.shelve[source] = s
	}
	return s
}

// begin starts a round of a source.
func (t *table) begin(source string) {
	s := t.shelf(source)
	s.round++
	s.refused = 0
}

// take notes what a source showed and reports whether it counts.
func (t *table) take(source string, f Found, now time.Time) bool {
	if f.Offer.Status(now) != announce.OK || t.buried(f.Offer) {
		return false
	}
	entry, known := t.peers[f.Offer.ID]
	if !known {
		entry = &learned{offer: f.Offer, seen: map[string]*seen{}}
	}
	if !t.sight(entry, source, f, now) {
		return false
	}
	t.peers[f.Offer.ID] = entry
	if f.Offer.AnnouncedAt.After(entry.offer.AnnouncedAt) {
		entry.offer = f.Offer
	}
	return true
}

// sight notes that source shows entry, when it has room for that.
func (t *table) sight(entry *learned, source string, f Found, now time.Time) bool {
	shelf, size := t.shelf(source), len(f.Offer.Envelope())
	s := entry.seen[source]
	if s == nil {
		if shelf.peers >= t.share.Peers || shelf.bytes+size > t.share.Bytes {
			shelf.refused++
			return false
		}
		s = &seen{Sighting: Sighting{Source: source, First: now}}
		entry.seen[source] = s
		shelf.peers++
	}
	shelf.bytes += size - s.bytes
	s.bytes, s.round, s.missed = size, shelf.round, 0
	s.Origin, s.Where, s.URL, s.Last = f.Origin, f.Where, f.URL, now
	return true
}

// end closes a round of a source; a complete one also tells who is gone.
func (t *table) end(source string, complete bool) {
	round := t.shelf(source).round
	if !complete {
		return
	}
	for id, entry := range t.peers {
		if s := entry.seen[source]; s != nil && s.round != round {
			if s.missed++; s.missed > missesAllowed {
				t.forget(id, entry, source)
			}
		}
	}
}

// expire drops what is over and reports whether there was any.
func (t *table) expire(now time.Time) (some bool) {
	for id, entry := range t.peers {
		if now.After(entry.offer.Expires()) {
			some = true
			for source := range entry.seen {
				t.forget(id, entry, source)
			}
		}
	}
	for _, s := range t.shelve {
		// No older offer is good for longer than that.
		for len(s.graves) > 0 && now.After(s.graves[0].last.Add(announce.MaxTTL)) {
			s.unbury()
		}
	}
	return some
}

// forget takes a source's sighting out, and the entry with the last of them.
func (t *table) forget(id key.ID, entry *learned, source string) {
	s := t.shelf(source)
	s.peers--
	s.bytes -= entry.seen[source].bytes
	delete(entry.seen, source)
	if len(entry.seen) > 0 {
		return
	}
	delete(t.peers, id)
	if len(s.graves) >= t.share.Peers {
		s.unbury()
	}
	s.graves = append(s.graves, grave{id, entry.offer.AnnouncedAt})
	s.buried[id] = entry.offer.AnnouncedAt
}

// unbury forgets the oldest grave, unless its key was buried again.
func (s *shelf) unbury() {
	first := s.graves[0]
	if s.buried[first.id].Equal(first.last) {
		delete(s.buried, first.id)
	}
	s.graves = s.graves[1:]
}

// buried reports whether a newer offer of the key was known once.
func (t *table) buried(o *announce.Signed) bool {
	for _, s := range t.shelve {
		if last, ok := s.buried[o.ID]; ok && o.AnnouncedAt.Before(last) {
			return true
		}
	}
	return false
}

// list returns the peers, by key.
func (t *table) list() []Learned {
	list := make([]Learned, 0, len(t.peers))
	for _, entry := range t.peers {
		list = append(list, entry.view())
	}
	slices.SortFunc(list, func(a, b Learned) int { return bytes.Compare(a.Peer.ID[:], b.Peer.ID[:]) })
	return list
}

func (e *learned) view() Learned {
	v := Learned{Offer: e.offer}
	for _, s := range e.seen {
		v.Seen = append(v.Seen, s.Sighting)
	}
	slices.SortFunc(v.Seen, func(a, b Sighting) int {
		return cmp.Or(rank(a)-rank(b), a.First.Compare(b.First), strings.Compare(a.Source, b.Source))
	})
	v.Peer = e.offer.Peer(v.Seen[0].Origin)
	if url := v.Seen[0].URL; url != "" {
		v.Peer.URL = url
	}
	return v
}

// rank prefers places that reached the peer themselves: they are near.
func rank(s Sighting) int {
	if s.URL != "" {
		return 0
	}
	return 1
}
