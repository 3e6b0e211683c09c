// Package announce is how a worker says that it is there: a signed offer that
// lives for some minutes, and the signed withdrawal that ends it.
//
// A worker fills an [Offer] and calls [Sign]; everybody else calls [Open] on the
// bytes that came, from a tracker, a relay or the LAN alike. Open takes the time,
// so that no path can forget to ask whether an offer is still good. [Withdraw]
// and [OpenWithdrawal] are the same for the end.
//
// It may import grid, key and internal/canonical; the other rooms of the grid
// and cmd import it. It does no I/O and keeps no state: that an older offer never
// takes the place of a newer one is for those to see to who keep offers.
// Envelopes come from strangers and are hostile: they are at most [MaxBytes],
// parsed strictly, and believed only in the members that are named here. Texts
// in them are free of control characters, and still strangers' texts.
package announce

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"lobstah/grid"
	"lobstah/internal/canonical"
	"lobstah/key"
)

// Limits on what an offer may say.
const (
	MaxBytes  = 16 << 10 // an envelope's JSON
	MaxModels = 256

	// Window is how far ahead of us an offer's clock may be, and how far from
	// us a withdrawal's, either way.
	Window = 300 * time.Second
	// MinTTL and MaxTTL bound how long an offer lives, whatever it asks for: a
	// shorter life would end between two heartbeats of the original's programs
	// (30 s at the least), a longer one would list machines that are long gone.
	MinTTL = time.Minute
	MaxTTL = time.Hour
)

// An Offer is what a worker announces. The first members are the original's
// version 1; the others are ours, left out when empty, and ignored by its
// programs.
type Offer struct {
	ID          key.ID
	URL         string // http or https
	Label       string
	Models      []string
	Tier        grid.Tier // an offer that names none is best-effort
	TTL         time.Duration
	AnnouncedAt time.Time // millisecond precision on the wire

	ModelFacts  []grid.Model // of some of Models; volatile members are not carried
	Price       *Price       // nil when it asks for nothing but the grid's credit
	Concurrency int          // answers at a time; 0 for unknown
	Running     int          // answers when it announced
	QueueDepth  int          // requests that waited then
	Through     []string     // other ways to reach it, as URLs such as mesh://lob1…
}

// Lifetime is how long the offer counts: its TTL within [MinTTL] and [MaxTTL].
func (o *Offer) Lifetime() time.Duration { return min(max(o.TTL, MinTTL), MaxTTL) }

// Expires is the last moment at which the offer counts.
func (o *Offer) Expires() time.Time { return o.AnnouncedAt.Add(o.Lifetime()) }

// Peer is the worker as a router knows it.
func (o *Offer) Peer(from grid.Origin) grid.Peer {
	return grid.Peer{ID: o.ID, URL: o.URL, Label: o.Label, Origin: from}
}

// A Status judges an offer's age.
type Status string

// The statuses.
const (
	OK     Status = "ok"
	Stale  Status = "stale"
	Future Status = "future"
)

// Status judges the offer at a moment; both bounds are still good.
func (o *Offer) Status(now time.Time) Status {
	switch {
	case o.AnnouncedAt.Sub(now) > Window:
		return Future
	case now.After(o.Expires()):
		return Stale
	}
	return OK
}

// A Signed is an offer with the signature of its worker and the exact text
// that it covers. Get one from [Sign] or [Open].
type Signed struct {
	Offer           // its texts are mostly parts of the envelope
	envelope string // canonical, unknown members included
}

// The parts of an envelope's text.
const (
	head      = `{"announcement":`
	between   = `,"signature":"`
	end       = `"}`
	tailBytes = len(between) + 2*64 + len(end)
)

// statement is what is signed: the canonical text of the announcement value.
func (s *Signed) statement() string { return s.envelope[len(head) : len(s.envelope)-tailBytes] }

// seal writes an envelope around a statement.
func seal(statement string, signature [64]byte) string {
	return head + statement + between + hex.EncodeToString(signature[:]) + end
}

// Sign makes the worker's announcement. It fails when o is not one that [Open]
// would accept at the time it names, or does not belong to the pair.
func Sign(pair key.Pair, o Offer) (*Signed, error) {
	if o.ID != pair.ID() {
		return nil, fmt.Errorf("sign an announcement: it names %s, the key is %s", o.ID, pair.ID())
	}
	// Reading it back gives the offer as others will see it (milliseconds).
	s := &Signed{}
	var fault error
	statement, err := canonical.Read(canonical.Append(nil, o.tree()), func(r *canonical.Reader) { s.Offer, fault = parseFields(r) })
	if err = cmp.Or(err, fault); err != nil {
		return nil, fmt.Errorf("sign an announcement: %w", err)
	}
	s.envelope = seal(statement, [64]byte(pair.Sign([]byte(statement))))
	if n := len(s.envelope); n > MaxBytes {
		return nil, fmt.Errorf("sign an announcement: the envelope takes %d bytes, %d at most are allowed; announce fewer models or facts", n, MaxBytes)
	}
	return s, nil
}

// Errors of [Open] and [OpenWithdrawal].
var (
	ErrJSON      = errors.New("not the JSON of a signed statement")
	ErrSignature = errors.New("bad signature")
	ErrMalformed = errors.New("malformed announcement")
	ErrStale     = errors.New("stale")
	ErrFuture    = errors.New("too far in the future")
)

// Open reads an envelope, checks the worker's signature over the announcement
// as received, then its fields, and whether it is good now. The error wraps
// [ErrJSON], [ErrSignature], [ErrMalformed], [ErrStale] or [ErrFuture].
func Open(envelope []byte, now time.Time) (*Signed, error) {
	if len(envelope) > MaxBytes {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrJSON, MaxBytes)
	}
	var c claim
	text, err := canonical.Read(envelope, func(r *canonical.Reader) { c = readClaim(r) })
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJSON, err)
	}
	s, err := c.prove(text, envelope)
	if err != nil {
		return nil, err
	}
	switch s.Status(now) {
	case Future:
		return nil, fmt.Errorf("%w: announced %s from now", ErrFuture, s.AnnouncedAt.Sub(now).Round(time.Second))
	case Stale:
		return nil, fmt.Errorf("%w: it ended %s ago", ErrStale, now.Sub(s.Expires()).Round(time.Second))
	}
	return s, nil
}

// Envelope returns the canonical JSON {"announcement":{…},"signature":"…"}. It
// is the same for every form in which the envelope may have come.
func (s *Signed) Envelope() []byte { return []byte(s.envelope) }

// String returns the envelope without a copy.
func (s *Signed) String() string { return s.envelope }

// A claim is what an envelope says while nobody knows who says it.
type claim struct {
	statement string // empty if there is no announcement object
	digits    string // of the signature
	offer     Offer
	fault     error // of the offer
}

func readClaim(r *canonical.Reader) (c claim) {
	for name := range r.Members() {
		switch {
		case name == "announcement" && r.IsObject():
			start := r.Offset()
			c.offer, c.fault = parseFields(r)
			c.statement = r.Since(start)
		case name == "signature":
			c.digits, _ = r.Text()
		}
	}
	return c
}

// prove checks the signature of a claim. came is the envelope as it came, text
// is the same in canonical form.
func (c *claim) prove(text string, came []byte) (*Signed, error) {
	if c.statement == "" {
		return nil, fmt.Errorf("%w: there is no announcement object", ErrSignature)
	}
	signature, err := parseSignature(c.digits)
	if err != nil {
		return nil, err
	}
	s := &Signed{c.offer, c.sealed(text, signature)}
	if len(s.envelope) > MaxBytes { // numbers such as 1e20 grow
		return nil, fmt.Errorf("%w: its canonical form is larger than %d bytes", ErrJSON, MaxBytes)
	}
	if errors.Is(c.fault, ErrSignature) {
		return nil, c.fault
	}
	// What else is wrong with it is only told to those who signed it.
	if !s.ID.Verify(s.signedIn(came), signature[:]) {
		return nil, fmt.Errorf("%w: not made by %s over this announcement", ErrSignature, s.ID)
	}
	return s, c.fault
}

// sealed is what [seal] would write. A text of that length, in which the
// signature is written the same, is that already: nothing else fits in.
func (c *claim) sealed(text string, signature [64]byte) string {
	var digits [2 * len(signature)]byte
	hex.Encode(digits[:], signature[:])
	if len(text) == len(head)+len(c.statement)+tailBytes && c.digits == string(digits[:]) {
		return text
	}
	return seal(c.statement, signature)
}

// signedIn is the statement as bytes. What came in the form that is kept is
// checked where it is, without a copy.
func (s *Signed) signedIn(came []byte) []byte {
	if string(came) == s.envelope {
		return came[len(head) : len(came)-tailBytes]
	}
	return []byte(s.statement())
}

func parseSignature(digits string) (signature [64]byte, err error) {
	if len(digits) != 2*len(signature) {
		return signature, fmt.Errorf("%w: it is not 128 hex digits", ErrSignature)
	}
	if _, err := hex.Decode(signature[:], []byte(digits)); err != nil {
		return signature, fmt.Errorf("%w: it is not 128 hex digits", ErrSignature)
	}
	return signature, nil
}

// parseID reads who is said to have signed. Without a key no signature can hold.
func parseID(text string) (key.ID, error) {
	id, err := key.ParseID(text)
	if err != nil {
		return id, fmt.Errorf("%w: pubkey: %w", ErrSignature, err)
	}
	return id, nil
}
