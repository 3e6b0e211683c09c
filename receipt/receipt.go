// Package receipt is the signed statement of one job: who asked whom for which
// model, how many tokens it took, and when. The worker signs it; both sides
// keep it in their ledgers.
//
// A worker fills a [Receipt] and calls [Sign]; everybody else calls [Open] on
// the bytes that came, then [Expectation.Check] before believing anything.
// [Request] is the other half: the requester's signature over what it asked,
// which a receipt carries so that the debt has two signatures.
//
// It may import key and internal/canonical; ledger, grid and cmd import it. It
// does no I/O and keeps no state. Envelopes come from peers and are hostile:
// they are at most [MaxBytes], parsed strictly, and believed only in the
// members that are named here. The wire form, byte for byte, is in
// docs/protocol.md.
package receipt

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"lobstah/internal/canonical"
	"lobstah/key"
)

const (
	// MaxBytes caps an envelope's JSON.
	MaxBytes = 4 << 10
	// Window is how far a receipt or a request may lie from now, either way.
	Window = 300 * time.Second
	// Anonymous is the requester of unsigned requests.
	Anonymous = "anonymous"

	maxModelBytes = 512
	maxTokens     = 1 << 40 // far above any job, far below overflow when summed
)

// A TokenSource says where the token counts come from.
type TokenSource string

// The token sources, best first.
const (
	FromEngine  TokenSource = "engine"  // the engine's usage member
	FromTimings TokenSource = "timings" // llama-server's timings member
	Counted     TokenSource = "counted" // the worker counted stream events
	NoCount     TokenSource = "none"    // nothing told; counts are 0
)

// A Receipt states one job. The first ten members are the original's version
// 1; the others are ours, left out when empty, and ignored by its programs.
type Receipt struct {
	JobID        string // UUID
	Nonce        string // 32 lower-case hex digits, unique for each receipt
	Requester    string // an ID's text, or Anonymous
	Worker       key.ID
	Model        string // the model text of the request
	InputTokens  int64
	OutputTokens int64
	StartedAt    time.Time // millisecond precision on the wire
	CompletedAt  time.Time

	RequestHash      string // hex SHA-256 of the body as sent to the worker
	RequestPath      string // such as /v1/chat/completions
	RequestSignature string // the x-lobstah-signature header of the request
	ResponseHash     string // see [StreamHash]
	ModelDigest      string // "sha256:" and hex, where the engine tells one
	FinishReason     string
	TokenSource      TokenSource
}

// Total is what the job costs: input plus output tokens.
func (r *Receipt) Total() int64 { return r.InputTokens + r.OutputTokens }

// Bound reports whether the receipt names the bytes that were exchanged.
func (r *Receipt) Bound() bool { return r.RequestHash != "" && r.ResponseHash != "" }

// SelfServed reports whether worker and requester are one machine, so that
// nothing is owed.
func (r *Receipt) SelfServed() bool { return r.Requester == r.Worker.String() }

// A Signed is a receipt with the worker's signature and the exact bytes that
// it covers. Get one from [Sign] or [Open].
type Signed struct {
	Receipt
	statement []byte // canonical text of the receipt value, unknown members included
	signature [64]byte
}

// Sign makes the worker's statement. It fails when r is not one that [Open]
// would accept, or does not belong to the pair.
func Sign(pair key.Pair, r Receipt) (*Signed, error) {
	if r.Worker != pair.ID() {
		return nil, fmt.Errorf("sign a receipt: it names worker %s, the key is %s", r.Worker, pair.ID())
	}
	statement := canonical.Append(nil, r.tree())
	// Reading it back gives the receipt as others will see it (milliseconds).
	tree, err := canonical.Parse(statement)
	if err != nil {
		return nil, fmt.Errorf("sign a receipt: %w", err)
	}
	s := &Signed{statement: statement}
	if s.Receipt, err = parseFields(tree); err != nil {
		return nil, fmt.Errorf("sign a receipt: %w", err)
	}
	s.signature = [64]byte(pair.Sign(statement))
	if len(s.Envelope()) > MaxBytes {
		return nil, fmt.Errorf("sign a receipt: the envelope is larger than %d bytes", MaxBytes)
	}
	return s, nil
}

// Errors of [Open].
var (
	ErrMalformed = errors.New("malformed receipt")
	ErrSignature = errors.New("bad signature")
)

// Open reads an envelope, checks the worker's signature over the receipt as
// received, and then its fields. The error wraps [ErrMalformed] or
// [ErrSignature].
func Open(envelope []byte) (*Signed, error) {
	if len(envelope) > MaxBytes {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrMalformed, MaxBytes)
	}
	tree, err := canonical.Parse(envelope)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	body, signature, err := parts(tree)
	if err != nil {
		return nil, err
	}
	s := &Signed{statement: canonical.Append(nil, body), signature: signature}
	worker, err := workerOf(body)
	if err != nil {
		return nil, err
	}
	if !worker.Verify(s.statement, s.signature[:]) {
		return nil, fmt.Errorf("%w: not made by %s over this receipt", ErrSignature, worker)
	}
	s.Receipt, err = parseFields(body)
	return s, err
}

// Envelope returns the canonical JSON {"receipt":{…},"signature":"…"}. It is
// the same for every form in which the envelope may have come.
func (s *Signed) Envelope() []byte {
	out := make([]byte, 0, len(s.statement)+2*len(s.signature)+32)
	out = append(out, `{"receipt":`...)
	out = append(out, s.statement...)
	out = append(out, `,"signature":"`...)
	out = hex.AppendEncode(out, s.signature[:])
	return append(out, `"}`...)
}

// Countersigned reports whether the receipt carries a valid signature of its
// requester over the request that it answers. The error says why not.
func (s *Signed) Countersigned() error {
	if s.RequestSignature == "" {
		return errors.New("the requester did not sign the request")
	}
	requester, err := key.ParseID(s.Requester)
	if err != nil {
		return fmt.Errorf("the requester is no key: %w", err)
	}
	proof, err := ParseProof(s.RequestSignature)
	if err != nil {
		return err
	}
	hash, err := hex.DecodeString(s.RequestHash)
	if err != nil || len(hash) != 32 {
		return errors.New("the receipt has no request hash")
	}
	return Request{"POST", s.RequestPath, s.Worker, requester, [32]byte(hash)}.Verify(proof)
}
