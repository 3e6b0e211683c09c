package receipt

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"lobstah/key"
)

// Headers of the exchange between a router and a worker.
const (
	RequesterHeader = "X-Lobstah-Requester"
	SignatureHeader = "X-Lobstah-Signature"
	Header          = "X-Lobstah-Receipt"
)

// ErrProof says that a request's signature does not hold.
var ErrProof = errors.New("bad request signature")

// A Request is what a requester signs: these bytes, to this worker, on this
// path. So it can be neither passed on to be billed elsewhere nor made in
// another's name; time and nonce of the [Proof] stop replays.
type Request struct {
	Method    string
	Path      string
	Worker    key.ID
	Requester key.ID
	BodyHash  [32]byte // SHA-256 of the body as sent to the worker
}

// A Proof is a requester's signature over a [Request]. Its text form is the
// value of [SignatureHeader]: v1;MS;NONCE;SIG.
type Proof struct {
	Time      time.Time // millisecond precision
	Nonce     string    // 32 lower-case hex digits
	Signature []byte
}

// Sign makes the proof that pair sends r at the time now.
func (r Request) Sign(pair key.Pair, now time.Time) Proof {
	p := Proof{Time: time.UnixMilli(now.UnixMilli()), Nonce: NewNonce()}
	p.Signature = pair.Sign(r.statement(p))
	return p
}

// Verify checks that r's requester made p. Whether p is fresh and new is the
// worker's to decide.
func (r Request) Verify(p Proof) error {
	if !r.Requester.Verify(r.statement(p), p.Signature) {
		return fmt.Errorf("%w: not made by %s for this request to this worker", ErrProof, r.Requester.Short())
	}
	return nil
}

// statement is the signed text: a domain line, then one line for each part.
func (r Request) statement(p Proof) []byte {
	lines := []string{
		"lobstah-request-v1", r.Method, r.Path, r.Worker.String(), r.Requester.String(),
		strconv.FormatInt(p.Time.UnixMilli(), 10), p.Nonce, hex.EncodeToString(r.BodyHash[:]),
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}

// String returns the header form.
func (p Proof) String() string {
	return "v1;" + strconv.FormatInt(p.Time.UnixMilli(), 10) + ";" + p.Nonce + ";" + hex.EncodeToString(p.Signature)
}

// ParseProof reads the header form. It checks nothing but the form.
func ParseProof(header string) (Proof, error) {
	parts := strings.Split(header, ";")
	if len(header) > 256 || len(parts) != 4 || parts[0] != "v1" {
		return Proof{}, fmt.Errorf("%w: want v1;MILLISECONDS;NONCE;SIGNATURE", ErrProof)
	}
	ms, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || ms < 0 || strconv.FormatInt(ms, 10) != parts[1] {
		return Proof{}, fmt.Errorf("%w: the time is not in decimal milliseconds", ErrProof)
	}
	nonce, err := hex.DecodeString(parts[2])
	if err != nil || len(nonce) != 16 || strings.ToLower(parts[2]) != parts[2] {
		return Proof{}, fmt.Errorf("%w: the nonce is not 32 lower-case hex digits", ErrProof)
	}
	signature, err := hex.DecodeString(parts[3])
	if err != nil || len(signature) != 64 {
		return Proof{}, fmt.Errorf("%w: the signature is not 128 hex digits", ErrProof)
	}
	return Proof{time.UnixMilli(ms), parts[2], signature}, nil
}

// NewNonce returns 16 random bytes in hex.
func NewNonce() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	return hex.EncodeToString(b[:])
}

// NewJobID returns a random UUID (RFC 9562, version 4).
func NewJobID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0F | 0x40
	b[8] = b[8]&0x3F | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
