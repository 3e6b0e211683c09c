// Package key is the Ed25519 identity of a machine: one key pair that names a
// grid peer or a mesh node, signs its statements and is the certificate of its
// TLS connections.
//
// Start from [Generate] or [LoadOrCreate]; an [ID] is the public half and
// travels as "lob1" and 64 lower-case hex digits. [Pair.Certificate] and
// [VerifyPeer] make TLS connections that are pinned to an ID.
//
// Every package may import it; it imports the standard library and internal
// packages only, and starts no goroutine. IDs from peers and identity files
// are hostile input: [ParseID] and [Load] accept exactly the forms they
// document. Values are immutable and safe for concurrent use.
package key

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
)

const (
	prefix   = "lob1"
	textSize = len(prefix) + 2*ed25519.PublicKeySize
)

// An ID is an Ed25519 public key. The zero ID is nobody's.
type ID [ed25519.PublicKeySize]byte

// ParseID reads the text form: "lob1" and exactly 64 lower-case hex digits.
func ParseID(text string) (ID, error) {
	var id ID
	digits, ok := strings.CutPrefix(text, prefix)
	if !ok || len(text) != textSize || strings.ToLower(digits) != digits {
		return ID{}, fmt.Errorf("%.80q is not a public key: want %q and 64 lower-case hex digits", text, prefix)
	}
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil {
		return ID{}, fmt.Errorf("%.80q is not a public key: %w", text, err)
	}
	return id, nil
}

// String returns the text form.
func (id ID) String() string { return prefix + hex.EncodeToString(id[:]) }

// Short returns the first 12 characters of the text form, enough for people to
// tell peers apart and too little to trust.
func (id ID) Short() string { return id.String()[:12] }

// IsZero reports whether id names nobody.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText implements [encoding.TextMarshaler]; the zero ID is empty text.
func (id ID) MarshalText() ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (id *ID) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*id = ID{}
		return nil
	}
	*id, err = ParseID(string(text))
	return err
}

// LogValue shortens the key in logs.
func (id ID) LogValue() slog.Value { return slog.StringValue(id.Short()) }

// Verify reports whether sig is id's Ed25519 signature (RFC 8032, the strict
// rules of crypto/ed25519) over message.
func (id ID) Verify(message, sig []byte) bool {
	return len(sig) == ed25519.SignatureSize && ed25519.Verify(id[:], message, sig)
}

// A Pair is an Ed25519 key pair. Use [Generate] or [FromSeed]; the zero Pair
// cannot sign.
type Pair struct{ private ed25519.PrivateKey }

// Generate makes a random pair.
func Generate() Pair {
	var seed [ed25519.SeedSize]byte
	rand.Read(seed[:]) // never fails: crypto/rand aborts the program instead
	return FromSeed(seed)
}

// FromSeed makes the pair of a 32-byte secret seed.
func FromSeed(seed [ed25519.SeedSize]byte) Pair {
	return Pair{ed25519.NewKeyFromSeed(seed[:])}
}

// IsZero reports whether p is no pair at all.
func (p Pair) IsZero() bool { return p.private == nil }

// ID returns the public half.
func (p Pair) ID() ID { return ID(p.private.Public().(ed25519.PublicKey)) }

// Seed returns the secret seed.
func (p Pair) Seed() [ed25519.SeedSize]byte { return [ed25519.SeedSize]byte(p.private.Seed()) }

// Sign returns the 64-byte signature over message.
func (p Pair) Sign(message []byte) []byte { return ed25519.Sign(p.private, message) }

// LogValue keeps the secret out of logs.
func (p Pair) LogValue() slog.Value { return p.ID().LogValue() }

// String names the public half only, so that no format verb shows the secret.
func (p Pair) String() string { return p.ID().String() }

// GoString does for %#v what String does for the others.
func (p Pair) GoString() string { return "key.Pair(" + p.ID().String() + ")" }
