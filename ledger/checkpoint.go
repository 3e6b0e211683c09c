package ledger

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"lobstah/key"
)

// A backend signs a checkpoint with the append that reaches either bound, when
// it is closed, and whenever one is asked for: one signature for a thousand
// entries, and no timer.
const (
	CheckpointEvery = 1024             // entries since the last one
	CheckpointAfter = 10 * time.Minute // since the last one, at the next append
)

// CheckpointDue tells whether a tree of size entries needs a checkpoint now,
// when the last one covered signed entries and was made at at.
func CheckpointDue(size, signed int64, now, at time.Time) bool {
	return size-signed >= CheckpointEvery || size > signed && now.Sub(at) >= CheckpointAfter
}

// A Checkpoint states that the tree had this root when it had Size entries.
type Checkpoint struct {
	Owner key.ID
	Size  int64
	Root  tlog.Hash
}

// originPrefix is the domain of the statement; the owner's key follows. The
// whole line is the note's key name too.
const originPrefix = "lobstah-ledger-v1/"

// ErrCheckpoint says that a checkpoint does not hold.
var ErrCheckpoint = errors.New("bad checkpoint")

// SignCheckpoint returns the signed note (golang.org/x/mod/sumdb/note; the text
// is a C2SP tlog-checkpoint): origin line, size, root in base64, a blank line
// and the signature line.
func SignCheckpoint(pair key.Pair, size int64, root tlog.Hash) ([]byte, error) {
	verifier, err := verifierOf(pair.ID())
	if err != nil {
		return nil, fmt.Errorf("sign a checkpoint: %w", err)
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", verifier.Name(), size, root)
	signed, err := note.Sign(&note.Note{Text: text}, signer{verifier, pair})
	if err != nil {
		return nil, fmt.Errorf("sign a checkpoint: %w", err)
	}
	return signed, nil
}

// OpenCheckpoint checks that owner signed the note and reads it. The error
// wraps [ErrCheckpoint].
func OpenCheckpoint(owner key.ID, signed []byte) (Checkpoint, error) {
	c := Checkpoint{Owner: owner}
	verifier, err := verifierOf(owner)
	if err != nil {
		return c, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	n, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return c, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return c, fmt.Errorf("%w: the first line is not %s", ErrCheckpoint, verifier.Name())
	}
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Size < 0 || lines[1] != strconv.FormatInt(c.Size, 10) {
		return c, fmt.Errorf("%w: %.30q is no size", ErrCheckpoint, lines[1])
	}
	if c.Root, err = tlog.ParseHash(lines[2]); err != nil {
		return c, fmt.Errorf("%w: %.60q is no root hash", ErrCheckpoint, lines[2])
	}
	return c, nil
}

// VerifierKey returns the text with which note.NewVerifier and other tools
// check owner's checkpoints.
func VerifierKey(owner key.ID) (string, error) {
	return note.NewEd25519VerifierKey(originPrefix+owner.String(), owner[:])
}

func verifierOf(owner key.ID) (note.Verifier, error) {
	text, err := VerifierKey(owner)
	if err != nil {
		return nil, err
	}
	return note.NewVerifier(text)
}

// signer is the identity as a [note.Signer]; name and hash are the verifier's.
type signer struct {
	note.Verifier
	pair key.Pair
}

func (s signer) Sign(message []byte) ([]byte, error) { return s.pair.Sign(message), nil }
