package ledger

import (
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"lobstah/key"
	"lobstah/receipt"
)

// ErrProof says that a proof does not show what it claims.
var ErrProof = errors.New("bad proof")

// maxProof is above the length of any proof: two hashes for each level.
const maxProof = 128

// An Inclusion shows that an entry is in the tree under a checkpoint.
type Inclusion struct {
	Index      int64            `json:"index"`      // of the leaf, from 0
	Entry      json.RawMessage  `json:"entry"`      // the envelope, in any JSON form
	Proof      tlog.RecordProof `json:"proof"`      // RFC 6962 section 2.1.1, base64 hashes
	Checkpoint string           `json:"checkpoint"` // signed note
}

// ProveInclusion makes the proof that envelope is leaf index under the note.
func ProveInclusion(owner key.ID, index int64, envelope, signed []byte, read ReadTile) (Inclusion, error) {
	c, err := OpenCheckpoint(owner, signed)
	if err != nil {
		return Inclusion{}, err
	}
	proof, err := tlog.ProveRecord(c.Size, index, read)
	if err != nil {
		return Inclusion{}, fmt.Errorf("prove entry %d: %w", index+1, err)
	}
	return Inclusion{index, envelope, proof, string(signed)}, nil
}

// Verify checks the whole chain: owner signed the checkpoint, the entry is a
// genuine receipt and the leaf at Index under it.
func (p Inclusion) Verify(owner key.ID) (*receipt.Signed, error) {
	c, err := OpenCheckpoint(owner, []byte(p.Checkpoint))
	if err != nil {
		return nil, err
	}
	s, err := receipt.Open(p.Entry)
	if err != nil {
		return nil, err
	}
	if p.Index < 0 || p.Index >= c.Size || len(p.Proof) > maxProof {
		return nil, fmt.Errorf("%w: leaf %d of %d with %d hashes", ErrProof, p.Index, c.Size, len(p.Proof))
	}
	if err := tlog.CheckRecord(p.Proof, c.Size, c.Root, p.Index, tlog.RecordHash(s.Envelope())); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	return s, nil
}

// A Consistency shows that the tree of the first OldSize entries, with root
// OldRoot, is the beginning of the tree under a checkpoint.
type Consistency struct {
	OldSize    int64          `json:"oldSize"`
	OldRoot    tlog.Hash      `json:"oldRoot"`
	Proof      tlog.TreeProof `json:"proof"` // RFC 6962 section 2.1.2
	Checkpoint string         `json:"checkpoint"`
}

// ProveConsistency makes the proof for the first old entries, old from 1.
func ProveConsistency(owner key.ID, old int64, signed []byte, read ReadTile) (Consistency, error) {
	c, err := OpenCheckpoint(owner, signed)
	if err != nil {
		return Consistency{}, err
	}
	if old < 1 || old > c.Size {
		return Consistency{}, fmt.Errorf("%w: the tree has %d entries, asked for the first %d", ErrNoEntry, c.Size, old)
	}
	proof, err := tlog.ProveTree(c.Size, old, read)
	if err != nil {
		return Consistency{}, fmt.Errorf("prove the first %d entries: %w", old, err)
	}
	root, err := tlog.TreeHash(old, read)
	if err != nil {
		return Consistency{}, fmt.Errorf("prove the first %d entries: %w", old, err)
	}
	return Consistency{old, root, proof, string(signed)}, nil
}

// Verify checks that owner signed the checkpoint and that it continues the
// older tree, whose size and root the caller knows from an older checkpoint.
func (p Consistency) Verify(owner key.ID, older Checkpoint) error {
	c, err := OpenCheckpoint(owner, []byte(p.Checkpoint))
	if err != nil {
		return err
	}
	if older.Size != p.OldSize || older.Root != p.OldRoot {
		return fmt.Errorf("%w: it begins with another tree of %d entries", ErrProof, p.OldSize)
	}
	if p.OldSize < 1 || p.OldSize > c.Size || len(p.Proof) > maxProof {
		return fmt.Errorf("%w: %d of %d entries with %d hashes", ErrProof, p.OldSize, c.Size, len(p.Proof))
	}
	if err := tlog.CheckTree(p.Proof, c.Size, c.Root, p.OldSize, p.OldRoot); err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	return nil
}
