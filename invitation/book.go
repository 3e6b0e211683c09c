package invitation

import (
	"bytes"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"lobstah/internal/durable"
	"lobstah/internal/livefile"
	"lobstah/key"
)

const (
	bookVersion = 1
	maxRecords  = 1000
	// MaxUses is how many machines one invitation can let in.
	MaxUses = 100
	// forgetAfter is how long an invitation that has ended is still told from
	// one that never was.
	forgetAfter = 30 * 24 * time.Hour
)

// Terms are what an invitation promises.
type Terms struct {
	Label   string    `json:"label,omitempty"`  // for who joins; empty takes the joiner's own
	Guest   bool      `json:"guest,omitempty"`  // models are lent, and nothing else
	Models  []string  `json:"models,omitempty"` // that a guest may use; none named means all
	Uses    int       `json:"uses"`
	Expires time.Time `json:"expires"`
}

// Lasting are the terms of an invitation that begins now and lasts for ttl. It
// checks them for the person who names them.
func (t Terms) Lasting(ttl time.Duration, now time.Time) (Terms, error) {
	switch {
	case ttl < time.Minute || ttl > MaxTTL:
		return t, fmt.Errorf("an invitation lasts 1m to %dh, not %s", int(MaxTTL.Hours()), ttl)
	case t.Uses < 1 || t.Uses > MaxUses:
		return t, fmt.Errorf("an invitation lets in 1 to %d machines, not %d", MaxUses, t.Uses)
	case len(t.Models) > 0 && !t.Guest:
		return t, errors.New("models can be named for a guest only (--guest)")
	}
	t.Expires = now.Add(ttl).UTC().Truncate(time.Second) // whole seconds are what the line carries
	return t, nil
}

// A Record is one invitation as the inviter remembers it: without its secret.
type Record struct {
	ID string `json:"id"`
	Terms
	Hash    string    `json:"hash"` // of the secret, hex
	Made    time.Time `json:"made"`
	Revoked time.Time `json:"revoked,omitzero"`
	Joined  []Guest   `json:"joined,omitempty"`
}

// A Guest is a machine that came by an invitation.
type Guest struct {
	ID    key.ID    `json:"pubkey"`
	Label string    `json:"label,omitempty"`
	At    time.Time `json:"at"`
	Words string    `json:"words"` // that both sides show
}

// State says in one word how an invitation stands.
func (r Record) State(now time.Time) string {
	switch {
	case !r.Revoked.IsZero():
		return "revoked"
	case len(r.Joined) >= r.Uses:
		return "used"
	case !now.Before(r.Expires):
		return "expired"
	}
	return "open"
}

func (r Record) has(id key.ID) bool {
	return slices.ContainsFunc(r.Joined, func(g Guest) bool { return g.ID == id })
}

// over says since when nobody can come by r.
func (r Record) over() time.Time {
	if !r.Revoked.IsZero() && r.Revoked.Before(r.Expires) {
		return r.Revoked
	}
	return r.Expires
}

func (r Record) check() error {
	hash, err := hex.DecodeString(r.Hash)
	switch {
	case err != nil || len(hash) != 32:
		return errors.New("hash: want 64 hex digits")
	case r.ID != hex.EncodeToString(hash[:6]):
		return errors.New("the id does not belong to the hash")
	case r.Uses < 1 || r.Uses > MaxUses:
		return fmt.Errorf("uses: want 1 to %d", MaxUses)
	case r.Expires.IsZero():
		return errors.New("it needs the member expires")
	}
	return nil
}

// A Refusal is why an invitation lets nobody in. Only who shows its secret is
// told more than that it is unknown.
type Refusal struct{ Code, Message string }

func (e *Refusal) Error() string { return e.Message }

// refusals, by code
const (
	codeUnknown = "invitation_unknown"
	codeExpired = "invitation_expired"
	codeUsed    = "invitation_used"
	codeRevoked = "invitation_revoked"
)

// ErrUnknown refuses a secret that no invitation here has.
var ErrUnknown = &Refusal{codeUnknown, "this machine knows no such invitation: it was altered, made by another identity, or forgotten long after its end"}

type bookFile struct {
	Version     int      `json:"version"`
	Invitations []Record `json:"invitations"`
}

// Read returns the invitations that the file remembers, the oldest first.
func Read(path string) ([]Record, error) {
	list, err := livefile.Read(path, parseBook)
	if err != nil {
		return nil, fmt.Errorf("invitations file %w", err)
	}
	return list, nil
}

// A Listed is a record as its owner is shown it.
type Listed struct {
	Record
	State string `json:"state"`
}

// List is Read with the state of each record; it is never nil.
func List(path string, now time.Time) ([]Listed, error) {
	records, err := Read(path)
	list := []Listed{}
	for _, r := range records {
		list = append(list, Listed{r, r.State(now)})
	}
	return list, err
}

// Add remembers the invitation that has this secret. Callers of Add, Redeem,
// Revoke and RevokeKey see to it that no two of them write at a time.
func Add(path string, secret Secret, t Terms, now time.Time) (Record, error) {
	hash := secret.hash()
	r := Record{ID: secret.ID(), Terms: t, Hash: hex.EncodeToString(hash[:]), Made: now.UTC().Truncate(time.Second)}
	if err := r.check(); err != nil {
		return r, err
	}
	return r, rewrite(path, func(list []Record) ([]Record, error) {
		list = slices.DeleteFunc(list, func(r Record) bool { return now.Sub(r.over()) > forgetAfter })
		if len(list) >= maxRecords {
			return nil, fmt.Errorf("more than %d invitations; the old ones are forgotten %d days after their end", maxRecords, int(forgetAfter.Hours()/24))
		}
		return append(list, r), nil
	})
}

// Redeem counts guest in by the invitation that has this secret. A guest who
// came by it before is counted once, so that a lost answer can be asked for
// again. A [*Refusal] says why there is no way in.
func Redeem(path string, secret Secret, guest Guest, now time.Time) (r Record, again bool, err error) {
	guest.At = now.UTC().Truncate(time.Second)
	err = rewrite(path, func(list []Record) ([]Record, error) {
		i := find(list, secret)
		if i < 0 {
			return nil, ErrUnknown
		}
		again = list[i].has(guest.ID)
		if refusal := list[i].refuse(again, now); refusal != nil {
			return nil, refusal
		}
		if !again {
			list[i].Joined = append(list[i].Joined, guest)
		}
		r = list[i]
		return list, nil
	})
	return r, again, err
}

// find compares the secret's hash with every record, in constant time.
func find(list []Record, secret Secret) int {
	hash := secret.hash()
	text := []byte(hex.EncodeToString(hash[:]))
	found := -1
	for i, r := range list {
		if subtle.ConstantTimeCompare([]byte(r.Hash), text) == 1 {
			found = i
		}
	}
	return found
}

func (r Record) refuse(again bool, now time.Time) error {
	switch {
	case !r.Revoked.IsZero():
		return &Refusal{codeRevoked, "this invitation was revoked"}
	case !now.Before(r.Expires):
		return &Refusal{codeExpired, "this invitation expired at " + r.Expires.UTC().Format(time.RFC3339)}
	case !again && len(r.Joined) >= r.Uses:
		return &Refusal{codeUsed, "this invitation was used already; each lets in as many machines as --uses said"}
	}
	return nil
}

// Revoke ends the invitation with this id. found is false when
// there is none.
func Revoke(path, id string, now time.Time) (r Record, found bool, err error) {
	err = rewrite(path, func(list []Record) ([]Record, error) {
		i := slices.IndexFunc(list, func(r Record) bool { return r.ID == id })
		if i < 0 {
			return list, nil
		}
		found = true
		list[i].revoke(now)
		r = list[i]
		return list, nil
	})
	return r, found, err
}

// RevokeKey ends all invitations by which id came, so that it cannot come again,
// and returns their ids.
func RevokeKey(path string, id key.ID, now time.Time) (ids []string, err error) {
	err = rewrite(path, func(list []Record) ([]Record, error) {
		for i := range list {
			if list[i].has(id) && list[i].Revoked.IsZero() {
				list[i].revoke(now)
				ids = append(ids, list[i].ID)
			}
		}
		return list, nil
	})
	return ids, err
}

func (r *Record) revoke(now time.Time) {
	if r.Revoked.IsZero() {
		r.Revoked = now.UTC().Truncate(time.Second)
	}
}

func rewrite(path string, change func([]Record) ([]Record, error)) error {
	list, err := Read(path)
	if err != nil {
		return err
	}
	before := len(list)
	if list, err = change(list); err != nil {
		return err
	}
	if before == 0 && len(list) == 0 {
		return nil // nothing to say, and perhaps no file
	}
	data, err := json.MarshalIndent(bookFile{bookVersion, list}, "", "  ")
	if err != nil {
		return fmt.Errorf("invitations file %s: %w", path, err)
	}
	return durable.WriteFile(path, append(data, '\n'), 0o600)
}

func parseBook(data []byte) ([]Record, error) {
	if data == nil {
		return nil, nil
	}
	var f bookFile
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		placed := livefile.JSON(data, err)
		if _, ok := errors.AsType[*livefile.DamagedError](placed); ok {
			return nil, placed
		}
		return nil, livefile.At(data, dec.InputOffset(), err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, livefile.At(data, dec.InputOffset(), errors.New("text after the list"))
	}
	if f.Version != bookVersion {
		return nil, livefile.At(data, 0, fmt.Errorf("version %d is unknown; this program reads %d", f.Version, bookVersion))
	}
	for i, r := range f.Invitations {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
	}
	return f.Invitations, nil
}
