package ledger_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/receipt"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

// vectors is the published file: a ledger of three entries, its checkpoint,
// and a proof of each kind.
type vectors struct {
	About       string             `json:"about"`
	Seed        string             `json:"seed"`
	Owner       key.ID             `json:"owner"`
	VerifierKey string             `json:"verifierKey"`
	Envelopes   []json.RawMessage  `json:"envelopes"`
	Older       string             `json:"olderCheckpoint"`
	Checkpoint  string             `json:"checkpoint"`
	Inclusion   ledger.Inclusion   `json:"inclusion"`
	Consistency ledger.Consistency `json:"consistency"`
}

// TestVectors makes the published vectors again; all of it is deterministic.
func TestVectors(t *testing.T) {
	t.Parallel()
	made, err := json.MarshalIndent(makeVectors(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	made = append(made, '\n')
	if *update {
		if err := os.WriteFile("testdata/vectors.json", made, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	published, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(made, published) {
		t.Errorf("we now make\n%s\nwhich is not what was published; others rely on it", made)
	}
	var v vectors
	if err := json.Unmarshal(published, &v); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Inclusion.Verify(v.Owner); err != nil {
		t.Errorf("inclusion: %v", err)
	}
	older, err := ledger.OpenCheckpoint(v.Owner, []byte(v.Older))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Consistency.Verify(v.Owner, older); err != nil {
		t.Errorf("consistency: %v", err)
	}
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	owner := key.FromSeed([32]byte(bytes.Repeat([]byte{0x11}, 32)))
	v := vectors{
		About: "A ledger of three entries; see docs/ledger.md. seed is the owner's secret in hex.",
		Seed:  fmt.Sprintf("%x", owner.Seed()), Owner: owner.ID(),
	}
	var err error
	if v.VerifierKey, err = ledger.VerifierKey(owner.ID()); err != nil {
		t.Fatal(err)
	}
	var tree ledger.Tree
	tiles := store{}
	checkpoint := func() string {
		tiles.save(tree.Changed())
		note, err := ledger.SignCheckpoint(owner, tree.Size(), tree.Root())
		if err != nil {
			t.Fatal(err)
		}
		return string(note)
	}
	for n := range 3 {
		at := time.UnixMilli(1_790_000_000_000 + int64(n)*1000)
		s, err := receipt.Sign(owner, receipt.Receipt{
			JobID: "3f1c0a52-0000-4000-8000-000000000001", Nonce: fmt.Sprintf("%032x", n+1), Requester: receipt.Anonymous,
			Worker: owner.ID(), Model: "llama3.1:8b", InputTokens: 7, OutputTokens: int64(n), StartedAt: at, CompletedAt: at,
		})
		if err != nil {
			t.Fatal(err)
		}
		v.Envelopes = append(v.Envelopes, s.Envelope())
		tree.Append(s.Envelope())
		if n == 1 {
			v.Older = checkpoint()
		}
	}
	v.Checkpoint = checkpoint()
	if v.Inclusion, err = ledger.ProveInclusion(owner.ID(), 1, v.Envelopes[1], []byte(v.Checkpoint), tiles.read); err != nil {
		t.Fatal(err)
	}
	if v.Consistency, err = ledger.ProveConsistency(owner.ID(), 2, []byte(v.Checkpoint), tiles.read); err != nil {
		t.Fatal(err)
	}
	return v
}
