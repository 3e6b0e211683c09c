// Package member is the membership of the mesh: who is there, what they offer,
// and through whom they are reached. It is a pure state machine: time, link
// changes and messages go in; messages, events and the time of the next step
// come out. It does no I/O and starts no goroutine.
//
// Begin with [New]. Report links with [State.Connected] and
// [State.Disconnected], hand over what neighbours sent with [State.Receive], and
// call [State.Step] after every input and whenever its Next has come. Ask
// [State.Members] and [State.NextHops].
//
// Every node signs one [Record] of itself: what it offers and which links it
// has. Nobody speaks for another: a node is alive when links that both ends
// state lead to it, suspected when none do any more, and dead when that lasts.
// So nobody can be slandered out of the mesh, and a node that comes back after a
// partition needs no resurrection: its old record is as good as before. A larger
// epoch replaces a process with the same key at once. Changes are flooded, each
// version once over each link; after a change neighbours compare summaries three
// times, and at intervals forever, which repairs whatever was lost.
//
// mesh composes it with links. Everything that Receive reads is hostile: sizes
// and counts are capped before parsing, signatures are checked before JSON is
// read, and tables and rates are bounded. A State is not safe for concurrent
// use; its owner serialises the calls.
package member

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"lobstah/key"
)

// Times and bounds of the state machine.
const (
	MaxMembers      = 1024 // records in the table, the dead included
	MaxRevocations  = 512
	revocationsEach = 64 // by one signer

	JoinGrace      = 10 * time.Second // after the first link: an older process with our key is outbid
	SuspectAtLeast = 15 * time.Second
	TombstoneFor   = 24 * time.Hour
	RevocationFor  = 30 * 24 * time.Hour

	publishEvery = 500 * time.Millisecond // own record, at most
	remeasure    = time.Minute            // publish a changed round-trip time, at most
	flushEvery   = 100 * time.Millisecond
	searchEvery  = 100 * time.Millisecond
	quiet        = time.Second // without changes, then neighbours compare summaries
	checks       = 3           // after a change
	compareEvery = 30 * time.Second
	digestEvery  = time.Second // for one neighbour, at most

	versionsBurst  = 20 // accepted versions of one record
	versionsPerSec = 2
)

// Config is the identity of one process in the mesh. Offer must not be changed
// after it was handed over.
type Config struct {
	Pair  key.Pair
	Name  string
	Epoch uint64 // larger than that of any earlier process with this key; Unix milliseconds at start will do
	Offer Offer
	// Trusts says whose revocations this node obeys; nil obeys its own only.
	Trusts func(by key.ID) bool
	// Rand chooses whom to compare with; nil is seeded from the key.
	Rand *rand.Rand
}

// A Message is for one direct neighbour.
type Message struct {
	To   key.ID
	Data []byte
}

// A Change says what happened to a member.
type Change int

// The changes. Superseded is about this very node: another process with its key
// began later, and this one must stop.
const (
	Joined Change = iota
	Updated
	Suspected
	Left // dead or said goodbye: what the others call peer_leave
	Revoked
	Superseded
)

func (c Change) String() string {
	return [...]string{"joined", "updated", "suspected", "left", "revoked", "superseded"}[c]
}

// An Event is a change of one member.
type Event struct {
	Change Change
	Key    key.ID
	Name   string
}

// Output is what a step produced. Next is when Step must be called again if
// nothing comes in before.
type Output struct {
	Messages []Message
	Events   []Event
	Next     time.Time
}

// ErrRevoked says that a key is no member any more.
var ErrRevoked = errors.New("the key was revoked")

// State is the membership as one node sees it.
type State struct {
	cfg   Config
	self  key.ID
	rand  *rand.Rand
	open  func([]byte) (*Record, error)
	table map[key.ID]*entry
	hints map[Hint]*entry
	links map[key.ID]*neighbour

	revoked     map[key.ID]time.Time // honoured, until
	revocations map[Hint]*revocation // known, by the hash of their bytes

	own         Record
	ownDirty    bool // own must be signed and published
	leaving     bool
	superseded  bool
	publishedAt time.Time
	measured    bool // a round-trip time differs from the published one
	graceUntil  time.Time

	graphDirty bool
	searched   time.Time
	hash       *[32]byte // summary of what is reachable; nil when it must be made anew
	changedAt  time.Time
	checksLeft int
	checkAt    time.Time
	compareAt  time.Time
	flushed    time.Time
	expireAt   time.Time // earliest end of a suspicion, tombstone or revocation

	out Output
}

// entry is one member's newest record.
type entry struct {
	record *Record
	sealed []byte
	status Status
	since  time.Time // of status

	dist   time.Duration // on the best path; negative when there is none
	via    key.ID        // first hop of it
	hops   int
	tokens float64 // versions that may still be accepted now
	filled time.Time
}

// neighbour is the other end of a direct link.
type neighbour struct {
	rtt        time.Duration
	digestAt   time.Time              // of the last digest that was sent
	dirty      map[key.ID]struct{}    // records to send; at most MaxMembers
	dirtyNotes map[Hint]struct{}      // revocations to send; at most MaxRevocations
	control    map[byte]controlSender // summary, digest, want to send; the newest of each kind
}

type controlSender func() []byte

type revocation struct {
	*Revocation
	sealed []byte
	until  time.Time
}

// New makes the state of a node that knows only itself.
func New(cfg Config, now time.Time) (*State, error) {
	s := &State{
		cfg: cfg, self: cfg.Pair.ID(), rand: cfg.Rand, open: OpenRecord,
		table: map[key.ID]*entry{}, hints: map[Hint]*entry{}, links: map[key.ID]*neighbour{},
		revoked: map[key.ID]time.Time{}, revocations: map[Hint]*revocation{},
		own:       Record{Key: cfg.Pair.ID(), Name: cfg.Name, Epoch: cfg.Epoch, Offer: cfg.Offer},
		compareAt: now.Add(compareEvery),
	}
	if s.rand == nil {
		seed := sha256.Sum256(append([]byte("member"), s.self[:]...))
		s.rand = rand.New(rand.NewChaCha8(seed))
	}
	if s.cfg.Trusts == nil {
		s.cfg.Trusts = func(by key.ID) bool { return by == s.self }
	}
	if err := cmp.Or(cfg.Offer.fit(), s.publish(now)); err != nil {
		return nil, fmt.Errorf("begin as a member: %w", err)
	}
	return s, nil
}

// Epoch returns the epoch of this process, which may have risen above that of
// the Config to outbid an older process.
func (s *State) Epoch() uint64 { return s.own.Epoch }

// Admit says whether a key may be a neighbour.
func (s *State) Admit(peer key.ID) error {
	if _, bad := s.revoked[peer]; bad {
		return fmt.Errorf("%s is no member: %w", peer.Short(), ErrRevoked)
	}
	return nil
}

// Connected reports a new direct link, or one that replaced the last.
func (s *State) Connected(now time.Time, peer key.ID, rtt time.Duration) {
	if s.graceUntil.IsZero() {
		s.graceUntil = now.Add(JoinGrace)
	}
	n := &neighbour{rtt: rtt, dirty: map[key.ID]struct{}{}, dirtyNotes: map[Hint]struct{}{}, control: map[byte]controlSender{}}
	s.links[peer] = n
	s.ownDirty, s.graphDirty = true, true
	n.dirty[s.self] = struct{}{}
	n.control[kindSummary] = s.summaryMessage
	s.changed(now)
}

// Disconnected reports that the last link to a neighbour ended.
func (s *State) Disconnected(now time.Time, peer key.ID) {
	if _, ok := s.links[peer]; !ok {
		return
	}
	delete(s.links, peer)
	s.ownDirty, s.graphDirty = true, true
	s.changed(now)
}

// Measured reports a neighbour's round-trip time. Small changes are not worth
// telling the mesh.
func (s *State) Measured(peer key.ID, rtt time.Duration) {
	n := s.links[peer]
	if n == nil {
		return
	}
	n.rtt = rtt
	told := time.Duration(s.own.Links[HintOf(peer)]) * time.Millisecond
	if diff := (rtt - told).Abs(); diff > 5*time.Millisecond && diff > told/3 {
		s.measured = true
	}
}

// SetOffer changes what this node offers.
func (s *State) SetOffer(now time.Time, offer Offer) error {
	if err := offer.fit(); err != nil {
		return fmt.Errorf("offer: %w", err)
	}
	if s.own.Offer.equal(&offer) {
		return nil
	}
	s.own.Offer, s.ownDirty = offer, true
	s.changed(now)
	return nil
}

// Leave says goodbye; the next step tells the neighbours.
func (s *State) Leave(now time.Time) {
	s.leaving, s.own.Gone, s.ownDirty = true, true, true
	s.publishedAt, s.flushed = time.Time{}, time.Time{} // at once
	s.changed(now)
}

func (s *State) changed(now time.Time) {
	s.hash = nil
	s.changedAt, s.checksLeft, s.checkAt = now, checks, now.Add(quiet)
}

// Step does what is due and returns what came of it and of the inputs before.
func (s *State) Step(now time.Time) Output {
	if s.publicationDue(now) {
		if err := s.publish(now); err != nil {
			panic("member: the limits of offer and links exceed those of a record: " + err.Error())
		}
	}
	if s.graphDirty && !now.Before(s.searched.Add(searchEvery)) {
		s.searchGraph(now)
	}
	if !now.Before(s.expireAt) {
		s.expire(now)
	}
	s.compare(now)
	if s.flushPending() && !now.Before(s.flushed.Add(flushEvery)) {
		s.flush(now)
	}
	out := s.out
	s.out = Output{}
	out.Next = s.next()
	return out
}

func (s *State) publicationDue(now time.Time) bool {
	if s.superseded {
		return false
	}
	return s.ownDirty && !now.Before(s.publishedAt.Add(publishEvery)) ||
		s.measured && !now.Before(s.publishedAt.Add(remeasure))
}

// publish signs the own record and puts it into the table.
func (s *State) publish(now time.Time) error {
	s.own.Version++
	s.own.Links = linkList(s.links)
	if s.leaving {
		s.own.Links = nil
	}
	record := s.own
	sealed, err := record.Seal(s.cfg.Pair)
	if err != nil {
		return err
	}
	s.ownDirty, s.measured, s.publishedAt = false, false, now
	s.put(now, &record, sealed, key.ID{})
	return nil
}

// put stores a record and queues it for every neighbour but the one it is from.
func (s *State) put(now time.Time, r *Record, sealed []byte, from key.ID) {
	e := s.table[r.Key]
	if e == nil {
		e = &entry{status: Dead, since: now, dist: -1, tokens: versionsBurst, filled: now}
		s.table[r.Key], s.hints[HintOf(r.Key)] = e, e
	} else if e.status == Alive && r.Key != s.self {
		s.event(Updated, r)
	}
	e.record, e.sealed = r, sealed
	for id, n := range s.links {
		if id == from {
			delete(n.dirty, r.Key)
		} else {
			n.dirty[r.Key] = struct{}{}
		}
	}
	s.graphDirty = true
	s.changed(now)
}

func (s *State) event(change Change, r *Record) {
	s.out.Events = append(s.out.Events, Event{change, r.Key, r.Name})
}

// suspectFor grows with the mesh, since news travels longer in a large one.
func (s *State) suspectFor() time.Duration {
	return max(SuspectAtLeast, time.Duration(math.Log10(float64(len(s.table)))*20*float64(time.Second)))
}

// expire ends suspicions, tombstones and revocations, and finds the next end.
func (s *State) expire(now time.Time) {
	s.expireAt = now.Add(time.Hour)
	for id, e := range s.table {
		switch {
		case e.status == Suspect && !now.Before(e.since.Add(s.suspectFor())):
			s.setStatus(now, e, Dead)
			s.event(Left, e.record)
		case e.status == Dead && id != s.self && !now.Before(e.since.Add(TombstoneFor)):
			s.forget(id)
			continue
		}
		s.expireBy(e.end(s.suspectFor()))
	}
	for hint, r := range s.revocations {
		if !now.Before(r.until) {
			delete(s.revocations, hint)
			s.hash = nil
		} else {
			s.expireBy(r.until)
		}
	}
	for id, until := range s.revoked {
		if !now.Before(until) {
			delete(s.revoked, id)
			s.graphDirty = true
		}
	}
}

func (e *entry) end(suspicion time.Duration) time.Time {
	switch e.status {
	case Suspect:
		return e.since.Add(suspicion)
	case Dead:
		return e.since.Add(TombstoneFor)
	}
	return time.Time{}
}

func (s *State) expireBy(t time.Time) {
	if !t.IsZero() && t.Before(s.expireAt) {
		s.expireAt = t
	}
}

func (s *State) forget(id key.ID) {
	delete(s.hints, HintOf(id))
	delete(s.table, id)
	for _, n := range s.links {
		delete(n.dirty, id)
	}
}

func (s *State) next() time.Time {
	times := []time.Time{s.compareAt, s.expireAt}
	if s.ownDirty && !s.superseded {
		times = append(times, s.publishedAt.Add(publishEvery))
	}
	if s.measured && !s.superseded {
		times = append(times, s.publishedAt.Add(remeasure))
	}
	if s.graphDirty {
		times = append(times, s.searched.Add(searchEvery))
	}
	if s.checksLeft > 0 {
		times = append(times, s.checkAt)
	}
	if s.flushPending() {
		times = append(times, s.flushed.Add(flushEvery))
	}
	return slices.MinFunc(times, time.Time.Compare)
}
