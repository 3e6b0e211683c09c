// Package ledger keeps receipts for good: who served whom, what is owed, and
// a Merkle tree with signed checkpoints over it, so that anybody can be shown
// that an entry is in the ledger and that the ledger only ever grew.
//
// [Ledger] is what a backend offers; ledger/sqlite is the one to start from
// (sqlite.Open). This package holds what every backend shares: the words
// ([Entry], [Account], [Summary]), how a receipt changes accounts ([Post]), the
// tree ([Tree], [SignCheckpoint], [Inclusion], [Consistency]), reading the
// original's JSON Lines ([Import]) and the check of everything ([Audit]).
// ledger/ledgertest is the suite that every backend passes.
//
// It may import receipt and key; grid packages declare the small part that
// they use as their own interface, and cmd opens the backend. Receipts come in
// opened and verified ([receipt.Open]); the text given to Import, checkpoints
// and proofs given to Verify methods are hostile input. docs/ledger.md tells
// how to check a checkpoint or a proof with other software.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"lobstah/key"
	"lobstah/receipt"
)

// Allowance is the number of tokens that a stranger may owe; see Available.
const Allowance = 10_000

// Errors of every backend. They are wrapped with what was being done.
var (
	ErrDuplicate = errors.New("this receipt is already in the ledger")
	ErrNotOurs   = errors.New("this side of the receipt is not ours")
	ErrDamaged   = errors.New("the ledger is damaged")
	ErrFull      = errors.New("the disk is full")
	ErrBusy      = errors.New("another program is writing to the ledger")
	ErrReadOnly  = errors.New("the ledger was opened for reading only")
	ErrClosed    = errors.New("the ledger is closed")
	ErrNewer     = errors.New("the ledger was made by a newer program")
	ErrNoEntry   = errors.New("there is no such entry")
	ErrNotSigned = errors.New("no signed checkpoint covers this yet")
)

// A Side is our part in a receipt. An entry is unique by side and nonce.
type Side uint8

// The sides. Other is only for imports: receipts between other people.
const (
	Worker    Side = iota + 1 // we served, we earn
	Requester                 // we asked, we owe
	Other
)

// String returns the side's name in lower case.
func (s Side) String() string {
	switch s {
	case Worker:
		return "worker"
	case Requester:
		return "requester"
	case Other:
		return "other"
	}
	return fmt.Sprintf("side %d", uint8(s))
}

// MarshalText implements [encoding.TextMarshaler].
func (s Side) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Side) UnmarshalText(text []byte) error {
	for _, side := range []Side{Worker, Requester, Other} {
		if string(text) == side.String() {
			*s = side
			return nil
		}
	}
	return fmt.Errorf("%.20q is no side: want worker, requester or other", text)
}

// SideOf returns owner's side of a receipt; a self-served one is the worker's.
func SideOf(owner key.ID, r *receipt.Receipt) Side {
	switch {
	case r.Worker == owner:
		return Worker
	case r.Requester == owner.String():
		return Requester
	}
	return Other
}

// CheckSide refuses to append a receipt on a side that is not owner's.
func CheckSide(owner key.ID, side Side, r *receipt.Receipt) error {
	switch {
	case side == Worker && r.Worker == owner, side == Requester && r.Requester == owner.String():
		return nil
	}
	return fmt.Errorf("%w: the ledger belongs to %s, the %s side to another", ErrNotOurs, owner, side)
}

// An Entry is one receipt as the ledger holds it.
type Entry struct {
	Seq      int64 // from 1 without gaps, so the newest's is their number; leaf Seq-1 of the tree
	Side     Side
	Signed   *receipt.Signed
	Imported bool      // came in by Import, so it gives no credit
	At       time.Time // when we kept it, millisecond precision
}

// A Filter chooses entries for List. The zero Filter means the newest ones.
type Filter struct {
	Peer          string    // an ID's text or [receipt.Anonymous]; either part in the receipt
	Side          Side      // 0 for every side
	Model         string    // exact
	After, Before time.Time // by time of completion; After is included, Before is not
	AfterSeq      int64     // only entries with a larger Seq
	BeforeSeq     int64     // only entries with a smaller Seq, when positive
	Limit         int       // at most this many; 0 means 50, and 10,000 is the most
	Ascending     bool      // oldest first instead of newest first
}

const (
	defaultLimit = 50
	maxLimit     = 10_000
)

// Clamp returns the number of entries that a limit stands for.
func Clamp(limit int) int {
	if limit <= 0 {
		return defaultLimit
	}
	return min(limit, maxLimit)
}

// A Ledger is the book of one identity. Every method is safe for concurrent
// use, also from several processes on one file.
type Ledger interface {
	// Owner is the identity whose book it is.
	Owner() key.ID

	// Append keeps a receipt that was accepted and returns once it is durable.
	// When ctx ends first, the entry may or may not be there.
	Append(ctx context.Context, side Side, s *receipt.Signed) error

	// Balances, Owed, Available and Bound take constant time in the number of
	// receipts. Imported entries never count in the last three.
	Balances(ctx context.Context) (Summary, error)
	// Owed is what peer owes us in tokens; negative when we owe it.
	Owed(ctx context.Context, peer key.ID) (int64, error)
	// Available is Allowance + earned - spent of the requester.
	Available(ctx context.Context, requester key.ID) (int64, error)
	// Bound reports whether worker ever gave us a bound receipt.
	Bound(ctx context.Context, worker key.ID) (bool, error)

	// Recent, List and Since leave out entries whose text was altered since
	// they were kept: a gap in Seq. Verify names them.

	// Recent returns the newest entries, newest first.
	Recent(ctx context.Context, limit int) ([]Entry, error)
	List(ctx context.Context, f Filter) ([]Entry, error)
	// Since returns what we served requester after afterSeq, oldest first.
	Since(ctx context.Context, requester key.ID, afterSeq int64, limit int) ([]Entry, error)

	// Import reads JSON Lines; each, unless nil, is called for every line.
	Import(ctx context.Context, r io.Reader, each func(Line)) (Imported, error)
	// Export writes JSON Lines, oldest first, and skips what is unreadable.
	Export(ctx context.Context, w io.Writer) (Exported, error)

	// Verify checks every entry, the accounts, the tree and its checkpoints.
	// The error is for a check that could not be made; see Report.OK.
	Verify(ctx context.Context) (Report, error)
	// Checkpoint returns a signed note over the whole tree as it is now.
	Checkpoint(ctx context.Context) ([]byte, error)
	// Inclusion proves that entry seq is under the newest checkpoint.
	Inclusion(ctx context.Context, seq int64) (Inclusion, error)
	// InclusionOf does so for the entry with this side and nonce.
	InclusionOf(ctx context.Context, side Side, nonce string) (Inclusion, error)
	// Consistency proves that the tree of old entries is the beginning of the
	// one under the newest checkpoint.
	Consistency(ctx context.Context, old int64) (Consistency, error)

	// Close waits until everything that was accepted is durable.
	Close() error
}
