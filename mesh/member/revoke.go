package member

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"lobstah/key"
)

// Revoke says that id is no member any more and tells the mesh. Nodes that trust
// this one obey; all pass it on.
func (s *State) Revoke(now time.Time, id key.ID, reason string) error {
	if id == s.self {
		return fmt.Errorf("a node cannot revoke itself: leave the mesh instead")
	}
	r := &Revocation{By: s.self, Key: id, AtMS: now.UnixMilli(), Reason: reason}
	sealed, err := r.Seal(s.cfg.Pair)
	if err != nil {
		return fmt.Errorf("revoke %s: %w", id.Short(), err)
	}
	if !s.keep(now, r, sealed, key.ID{}) {
		return fmt.Errorf("revoke %s: %d revocations of trusted nodes are in force, and no more are kept; each lasts %d days", id.Short(), MaxRevocations, int(RevocationFor.Hours()/24))
	}
	return nil
}

// Revocations returns the wire forms of those that this node obeys.
func (s *State) Revocations() (list [][]byte) {
	for _, r := range s.revocations {
		if s.cfg.Trusts(r.By) {
			list = append(list, r.sealed)
		}
	}
	return list
}

// Restore takes in what Revocations gave to an earlier process. It trusts them
// as that did, whoever signed them.
func (s *State) Restore(now time.Time, list [][]byte) error {
	for _, wire := range list {
		r, err := OpenRevocation(wire)
		if err != nil {
			return err
		}
		s.keep(now, r, wire, key.ID{})
		if until := r.at().Add(RevocationFor); now.Before(until) && r.Key != s.self && s.Admit(r.Key) == nil {
			s.obey(now, r.Key, until)
		}
	}
	return nil
}

// Reconsider obeys the known revocations of those that Trusts says yes to by now.
func (s *State) Reconsider(now time.Time) {
	for _, r := range s.revocations {
		if s.Admit(r.Key) == nil && s.cfg.Trusts(r.By) && r.Key != s.self {
			s.obey(now, r.Key, r.until)
		}
	}
}

// takeRevocation accepts what a present member signed, within limits: strangers
// cannot fill the table.
func (s *State) takeRevocation(now time.Time, from key.ID, wire []byte) error {
	if n := s.links[from]; n != nil {
		delete(n.dirtyNotes, noteHint(wire))
	}
	if s.revocations[noteHint(wire)] != nil {
		return nil
	}
	wire = slices.Clone(wire)
	r, err := OpenRevocation(wire)
	if err != nil {
		return err
	}
	if s.cfg.Trusts(r.By) || s.table[r.By] != nil && s.mayRevoke(r.By) {
		s.keep(now, r, wire, from)
	}
	return nil
}

func (s *State) mayRevoke(by key.ID) bool {
	count := 0
	for _, r := range s.revocations {
		if r.By == by {
			count++
		}
	}
	return count < revocationsEach && len(s.revocations) < MaxRevocations && s.Admit(by) == nil
}

// keep stores a revocation, passes it on, and obeys it if its signer is trusted.
// Its life is counted from its own date, but never beyond ours: clocks differ. It
// reports false for one that is over, and when there is no room.
func (s *State) keep(now time.Time, r *Revocation, sealed []byte, from key.ID) bool {
	until := now.Add(RevocationFor)
	if own := r.at().Add(RevocationFor); own.Before(until) {
		until = own
	}
	if !now.Before(until) || len(s.revocations) >= MaxRevocations && !s.evictRevocation() {
		return false
	}
	hint := noteHint(sealed)
	s.revocations[hint] = &revocation{r, sealed, until}
	for id, n := range s.links {
		if id != from {
			n.dirtyNotes[hint] = struct{}{}
		}
	}
	s.expireBy(until)
	s.changed(now)
	if s.cfg.Trusts(r.By) && r.Key != s.self {
		s.obey(now, r.Key, until)
	}
	return true
}

// evictRevocation lets one go that this node does not obey.
func (s *State) evictRevocation() bool {
	for h, r := range s.revocations {
		if !s.cfg.Trusts(r.By) {
			delete(s.revocations, h)
			return true
		}
	}
	return false
}

func (s *State) obey(now time.Time, id key.ID, until time.Time) {
	if s.revoked[id].Before(until) {
		s.revoked[id] = until
	}
	e := s.table[id]
	name := ""
	if e != nil {
		name = e.record.Name
		s.setStatus(now, e, Dead)
	}
	s.graphDirty = true
	s.out.Events = append(s.out.Events, Event{Revoked, id, name})
}

func noteHint(sealed []byte) Hint {
	sum := sha256.Sum256(sealed)
	return Hint(sum[:8])
}
