package member

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"lobstah/key"
)

// Receive takes one message of a direct neighbour. An error means that the
// neighbour broke the protocol; nothing after the broken part was taken.
func (s *State) Receive(now time.Time, from key.ID, data []byte) error {
	n := s.links[from]
	if n == nil {
		return fmt.Errorf("a message of %s, which is no neighbour", from.Short())
	}
	m, err := decode(data)
	if err != nil {
		return fmt.Errorf("membership message of %s: %w", from.Short(), err)
	}
	switch m.kind {
	case kindSummary:
		s.compareSummary(now, n, m.summary)
	case kindDigest:
		s.compareDigest(n, &m)
	case kindWant:
		s.answer(n, m.hints)
	case kindRecords:
		return s.takeAll(m.sealed, func(wire []byte) error { return s.takeRecord(now, from, wire) })
	case kindRevocations:
		return s.takeAll(m.sealed, func(wire []byte) error { return s.takeRevocation(now, from, wire) })
	}
	return nil
}

func (s *State) takeAll(list [][]byte, take func([]byte) error) error {
	for _, wire := range list {
		if err := take(wire); err != nil {
			return err
		}
	}
	return nil
}

// takeRecord accepts a newer record and passes it on. The very bytes that are
// known already, which is what most floods bring, cost no signature check.
func (s *State) takeRecord(now time.Time, from key.ID, wire []byte) error {
	known := s.table[key.ID(wire[:32])]
	if known != nil && bytes.Equal(known.sealed, wire) {
		delete(s.links[from].dirty, known.record.Key)
		return nil
	}
	wire = bytes.Clone(wire) // the message belongs to the caller
	r, err := s.open(wire)
	if err != nil {
		return err
	}
	switch {
	case r.Key == s.self:
		s.meetDouble(now, r)
	case s.Admit(r.Key) != nil:
	case known == nil && s.makeRoom(r.Key),
		known != nil && r.Newer(known.record.Epoch, known.record.Version) && known.spend(now):
		s.put(now, r, wire, from)
	}
	return nil
}

// spend limits how often one member's record may change. What is refused here
// comes again when summaries are compared.
func (e *entry) spend(now time.Time) bool {
	e.tokens = min(versionsBurst, e.tokens+max(0, now.Sub(e.filled).Seconds())*versionsPerSec)
	e.filled = now
	if e.tokens < 1 {
		return false
	}
	e.tokens--
	return true
}

// makeRoom keeps the table bounded: the member that is dead for the longest time
// gives way. Nobody else does, so strangers cannot crowd out the living, but for one
// that this node trusts: any other stranger that is no neighbour makes room for it.
// Hints that clash are refused.
func (s *State) makeRoom(id key.ID) bool {
	if _, clash := s.hints[HintOf(id)]; clash {
		return false
	}
	if len(s.table) < MaxMembers {
		return true
	}
	trusted := s.cfg.Trusts(id)
	var out *entry
	for _, e := range s.table {
		dead := e.status == Dead
		if (dead || trusted && s.stranger(e.record.Key)) && (out == nil || e.goesBefore(out)) {
			out = e
		}
	}
	if out == nil {
		return false
	}
	if out.status != Dead {
		s.event(Left, out.record)
	}
	s.forget(out.record.Key)
	return true
}

// stranger reports whether nothing is lost with a member but what others tell of it.
func (s *State) stranger(id key.ID) bool {
	_, direct := s.links[id]
	return id != s.self && !direct && !s.cfg.Trusts(id)
}

// goesBefore reports whether e makes room rather than f: the dead first, and of them
// the longest dead; of the living the newest.
func (e *entry) goesBefore(f *entry) bool {
	switch {
	case (e.status == Dead) != (f.status == Dead):
		return e.status == Dead
	case e.status == Dead:
		return e.since.Before(f.since)
	}
	return e.since.After(f.since)
}

// meetDouble handles a record that carries our own key. Its process began
// earlier, or it is a ghost and we are still joining: then we outbid it. Else it
// began later and we are the stale one.
func (s *State) meetDouble(now time.Time, r *Record) {
	switch {
	case s.superseded || !r.Newer(s.own.Epoch, s.own.Version):
		return
	case r.Epoch == s.own.Epoch:
		s.own.Version = r.Version
	case s.graceUntil.IsZero() || now.Before(s.graceUntil):
		s.own.Epoch, s.own.Version = r.Epoch+1, 0
	default:
		s.superseded = true
		s.event(Superseded, &s.own)
		return
	}
	s.ownDirty, s.publishedAt = true, now.Add(-publishEvery)
}

// compare sends summaries: to all neighbours when the table has been quiet after
// a change, and now and then to one of them.
func (s *State) compare(now time.Time) {
	if s.checksLeft > 0 && !now.Before(s.checkAt) {
		s.checksLeft--
		s.checkAt = now.Add(quiet << (checks - s.checksLeft))
		for _, n := range s.links {
			n.control[kindSummary] = s.summaryMessage
		}
	}
	if now.Before(s.compareAt) {
		return
	}
	s.compareAt = now.Add(compareEvery*9/10 + time.Duration(s.rand.Int64N(int64(compareEvery/5))))
	if len(s.links) > 0 {
		ids := slices.SortedFunc(maps.Keys(s.links), compareKeys)
		s.links[ids[s.rand.IntN(len(ids))]].control[kindSummary] = s.summaryMessage
	}
}

func (s *State) summaryMessage() []byte {
	sum := s.summary()
	return append([]byte{kindSummary}, sum[:]...)
}

// summary is equal for two nodes that reach the same members in the same
// versions and know the same revocations. The unreachable are left out of it, so
// that nobody keeps the dead in circulation.
func (s *State) summary() [32]byte {
	if s.hash == nil {
		told, _ := s.records()
		s.hash = new(sha256.Sum256(s.appendNotes(appendStamps(nil, told))))
	}
	return *s.hash
}

func (s *State) digestMessage() []byte {
	told, held := s.records()
	return s.appendNotes(appendStamps(appendStamps([]byte{kindDigest}, told), held))
}

func (s *State) records() (told, held []*Record) {
	for _, e := range s.table {
		if e.told() {
			told = append(told, e.record)
		} else {
			held = append(held, e.record)
		}
	}
	return told, held
}

func (s *State) appendNotes(message []byte) []byte {
	for _, h := range slices.SortedFunc(maps.Keys(s.revocations), func(a, b Hint) int { return bytes.Compare(a[:], b[:]) }) {
		message = append(message, h[:]...)
	}
	return message
}

// told says whether the mesh is told of the member in comparisons.
func (e *entry) told() bool { return e.status == Alive || e.status == Suspect }

func (s *State) compareSummary(now time.Time, n *neighbour, theirs [32]byte) {
	if theirs == s.summary() || now.Before(n.digestAt.Add(digestEvery)) {
		return
	}
	n.digestAt = now
	n.control[kindDigest] = s.digestMessage
}

// compareDigest queues what the neighbour lacks and asks for what it has newer.
func (s *State) compareDigest(n *neighbour, m *message) {
	for id, e := range s.table {
		theirs := m.held[HintOf(id)]
		if e.told() && e.record.Newer(theirs.epoch, theirs.version) {
			n.dirty[id] = struct{}{}
		}
	}
	for h := range s.revocations {
		if !m.revocations[h] {
			n.dirtyNotes[h] = struct{}{}
		}
	}
	if wants := s.wants(m); len(wants) > 0 {
		n.control[kindWant] = func() []byte { return append([]byte{kindWant}, wants...) }
	}
}

// wants lists the hints of what a digest has newer. The revoked are not wanted.
func (s *State) wants(m *message) (list []byte) {
	unwanted := make(map[Hint]bool, len(s.revoked))
	for id := range s.revoked {
		unwanted[HintOf(id)] = true
	}
	for h, theirs := range m.stamps {
		e := s.hints[h]
		if !unwanted[h] && (e == nil || theirs.newer(e.record)) {
			list = append(list, h[:]...)
		}
	}
	for h := range m.revocations {
		if s.revocations[h] == nil {
			list = append(list, h[:]...)
		}
	}
	return list
}

func (s *State) answer(n *neighbour, hints []Hint) {
	for _, h := range hints {
		if e := s.hints[h]; e != nil {
			n.dirty[e.record.Key] = struct{}{}
		}
		if s.revocations[h] != nil {
			n.dirtyNotes[h] = struct{}{}
		}
	}
}

func (s *State) flushPending() bool {
	for _, n := range s.links {
		if len(n.dirty)+len(n.dirtyNotes)+len(n.control) > 0 {
			return true
		}
	}
	return false
}

// flush turns what is queued for each neighbour into messages. The queues are
// sets, so a record that changed twice goes out once.
func (s *State) flush(now time.Time) {
	s.flushed = now
	for _, id := range slices.SortedFunc(maps.Keys(s.links), compareKeys) {
		n := s.links[id]
		// Revocations first: they decide whose records count.
		var notes, records [][]byte
		for h := range n.dirtyNotes {
			if r := s.revocations[h]; r != nil {
				notes = append(notes, r.sealed)
			}
		}
		for member := range n.dirty {
			if e := s.table[member]; e != nil {
				records = append(records, e.sealed)
			}
		}
		s.send(id, kindRevocations, notes)
		s.send(id, kindRecords, records)
		for _, kind := range []byte{kindWant, kindDigest, kindSummary} {
			if build, ok := n.control[kind]; ok {
				s.out.Messages = append(s.out.Messages, Message{id, build()})
			}
		}
		clear(n.dirty)
		clear(n.dirtyNotes)
		clear(n.control)
	}
}

// send packs sealed statements into as few messages as the limit allows.
func (s *State) send(to key.ID, kind byte, list [][]byte) {
	slices.SortFunc(list, func(a, b []byte) int { return bytes.Compare(a[:32], b[:32]) })
	m := []byte{kind}
	for _, sealed := range list {
		if len(m)+len(sealed)+binary.MaxVarintLen64 > MaxMessageBytes {
			s.out.Messages = append(s.out.Messages, Message{to, m})
			m = []byte{kind}
		}
		m = appendSealed(m, sealed)
	}
	if len(m) > 1 {
		s.out.Messages = append(s.out.Messages, Message{to, m})
	}
}

// Statement is a message with the newest record of one member, for a process
// that must hear of it before it is a neighbour; nil when there is none.
func (s *State) Statement(id key.ID) []byte {
	e := s.table[id]
	if e == nil {
		return nil
	}
	return appendSealed([]byte{kindRecords}, e.sealed)
}
