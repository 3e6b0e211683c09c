package ledger_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/ledger/ledgertest"
	"lobstah/receipt"
)

var pair = key.FromSeed([32]byte{7})

func TestCheckpoint(t *testing.T) {
	t.Parallel()
	var tree ledger.Tree
	tree.Append([]byte("one"))
	signed, err := ledger.SignCheckpoint(pair, 1, tree.Root())
	if err != nil {
		t.Fatal(err)
	}
	if prefix := "lobstah-ledger-v1/" + pair.ID().String() + "\n1\n"; !strings.HasPrefix(string(signed), prefix) {
		t.Errorf("the note is %q, want it to begin with %q", signed, prefix)
	}
	c, err := ledger.OpenCheckpoint(pair.ID(), signed)
	if err != nil || c.Size != 1 || c.Root != tree.Root() || c.Owner != pair.ID() {
		t.Errorf("OpenCheckpoint = %+v, %v", c, err)
	}
	if _, err := ledger.OpenCheckpoint(key.Generate().ID(), signed); !errors.Is(err, ledger.ErrCheckpoint) {
		t.Errorf("another key opened it: %v", err)
	}
	for i := range signed {
		bad := bytes.Clone(signed)
		bad[i] ^= 1
		if c, err := ledger.OpenCheckpoint(pair.ID(), bad); err == nil {
			t.Errorf("byte %d changed, but it opened as %+v", i, c)
		}
	}
}

// TestCheckpointByHand checks a note as docs/ledger.md tells others to, with
// nothing but Ed25519 and base64.
func TestCheckpointByHand(t *testing.T) {
	t.Parallel()
	signed, err := ledger.SignCheckpoint(pair, 5, new(ledger.Tree).Root())
	if err != nil {
		t.Fatal(err)
	}
	text, signature, ok := strings.Cut(string(signed), "\n\n")
	if !ok {
		t.Fatalf("no blank line in %q", signed)
	}
	words := strings.Fields(signature) // dash, name, base64
	if len(words) != 3 || words[1] != strings.Split(text, "\n")[0] {
		t.Fatalf("the signature line is %q", signature)
	}
	raw, err := base64.StdEncoding.DecodeString(words[2])
	id := pair.ID()
	if err != nil || len(raw) != 4+ed25519.SignatureSize || !ed25519.Verify(id[:], []byte(text+"\n"), raw[4:]) {
		t.Errorf("the signature does not hold: %d bytes, %v", len(raw), err)
	}
	text, err = ledger.VerifierKey(pair.ID())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(signed, note.VerifierList(verifier)); err != nil {
		t.Errorf("note.Open with the published key: %v", err)
	}
}

// TestCheckpointText gives texts that we never write, well signed.
func TestCheckpointText(t *testing.T) {
	t.Parallel()
	name := "lobstah-ledger-v1/" + pair.ID().String()
	root := "\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
	for text, good := range map[string]bool{
		name + "\n3" + root:                   true,
		name + "\n3" + root + "more\nlines\n": true, // for later versions
		name + "\n-1" + root:                  false,
		name + "\n03" + root:                  false,
		name + "\nx" + root:                   false,
		name + "\n3\nabc=\n":                  false,
		name + "\n3\n":                        false,
		name + "\n":                           false,
		"other" + "\n3" + root:                false,
	} {
		_, err := ledger.OpenCheckpoint(pair.ID(), signNote(t, name, text))
		if good != (err == nil) {
			t.Errorf("%q: %v, want good %t", text, err, good)
		}
	}
}

// signNote signs any text with the pair's key under name.
func signNote(t *testing.T, name, text string) []byte {
	t.Helper()
	vkey, err := ledger.VerifierKey(pair.ID())
	if err != nil {
		t.Fatal(err)
	}
	seed := pair.Seed()
	hash := strings.Split(strings.TrimPrefix(vkey, name+"+"), "+")[0]
	s, err := note.NewSigner("PRIVATE+KEY+" + name + "+" + hash + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...)))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(&note.Note{Text: text}, s)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestCheckpointDue(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_790_000_000, 0)
	for _, test := range []struct {
		size, signed int64
		after        time.Duration
		want         bool
	}{
		{0, 0, time.Hour, false},
		{1023, 0, 0, false}, {1024, 0, 0, true},
		{5000, 4000, time.Minute, false}, {5024, 4000, 0, true},
		{5000, 5000, time.Hour, false}, {5001, 5000, 10 * time.Minute, true},
	} {
		if got := ledger.CheckpointDue(test.size, test.signed, at.Add(test.after), at); got != test.want {
			t.Errorf("CheckpointDue(%d, %d, +%s) = %t", test.size, test.signed, test.after, got)
		}
	}
}

// proven makes a small ledger's proofs: of entry 2 of 5, and of growth from 3.
func proven(t testing.TB) (ledger.Inclusion, ledger.Consistency, ledger.Checkpoint) {
	t.Helper()
	var tree ledger.Tree
	tiles := store{}
	var envelopes [][]byte
	var older ledger.Checkpoint
	for range 5 {
		s := ledgertest.Receipt(t, pair, receipt.Anonymous, 1, 1, nil)
		envelopes = append(envelopes, s.Envelope())
		tree.Append(s.Envelope())
		if tree.Size() == 3 {
			older = ledger.Checkpoint{Owner: pair.ID(), Size: 3, Root: tree.Root()}
		}
	}
	tiles.save(tree.Changed())
	signed, err := ledger.SignCheckpoint(pair, tree.Size(), tree.Root())
	if err != nil {
		t.Fatal(err)
	}
	in, err := ledger.ProveInclusion(pair.ID(), 2, envelopes[2], signed, tiles.read)
	if err != nil {
		t.Fatal(err)
	}
	growth, err := ledger.ProveConsistency(pair.ID(), 3, signed, tiles.read)
	if err != nil {
		t.Fatal(err)
	}
	return in, growth, older
}

func TestInclusion(t *testing.T) {
	t.Parallel()
	good, _, _ := proven(t)
	text, err := json.MarshalIndent(good, "", "  ") // the way a file travels
	if err != nil {
		t.Fatal(err)
	}
	var read ledger.Inclusion
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if _, err := read.Verify(pair.ID()); err != nil {
		t.Errorf("a proof read from JSON: %v", err)
	}
	for name, change := range map[string]func(*ledger.Inclusion){
		"index":     func(p *ledger.Inclusion) { p.Index = 1 },
		"far index": func(p *ledger.Inclusion) { p.Index = 1 << 40 },
		"negative":  func(p *ledger.Inclusion) { p.Index = -1 },
		"hash":      func(p *ledger.Inclusion) { p.Proof[0][0] ^= 1 },
		"short":     func(p *ledger.Inclusion) { p.Proof = p.Proof[1:] },
		"entry": func(p *ledger.Inclusion) {
			p.Entry = ledgertest.Receipt(t, pair, receipt.Anonymous, 1, 1, nil).Envelope()
		},
		"no entry":   func(p *ledger.Inclusion) { p.Entry = nil },
		"checkpoint": func(p *ledger.Inclusion) { p.Checkpoint = "" },
	} {
		var bad ledger.Inclusion
		if err := json.Unmarshal(text, &bad); err != nil {
			t.Fatal(err)
		}
		change(&bad)
		if _, err := bad.Verify(pair.ID()); err == nil {
			t.Errorf("%s: a false proof holds", name)
		}
	}
	if _, err := good.Verify(key.Generate().ID()); err == nil {
		t.Error("the proof holds for another ledger's owner")
	}
}

func TestConsistency(t *testing.T) {
	t.Parallel()
	_, good, older := proven(t)
	if err := good.Verify(pair.ID(), older); err != nil {
		t.Errorf("Verify: %v", err)
	}
	other := older
	other.Root[0] ^= 1
	if err := good.Verify(pair.ID(), other); !errors.Is(err, ledger.ErrProof) {
		t.Errorf("it continues another tree: %v", err)
	}
	for name, change := range map[string]func(*ledger.Consistency, *ledger.Checkpoint){
		"root":  func(p *ledger.Consistency, c *ledger.Checkpoint) { p.OldRoot[1] ^= 1; c.Root = p.OldRoot },
		"size":  func(p *ledger.Consistency, c *ledger.Checkpoint) { p.OldSize, c.Size = 2, 2 },
		"zero":  func(p *ledger.Consistency, c *ledger.Checkpoint) { p.OldSize, c.Size = 0, 0 },
		"large": func(p *ledger.Consistency, c *ledger.Checkpoint) { p.OldSize, c.Size = 6, 6 },
		"hash":  func(p *ledger.Consistency, _ *ledger.Checkpoint) { p.Proof[0][3] ^= 1 },
	} {
		_, bad, c := proven(t)
		change(&bad, &c)
		if err := bad.Verify(pair.ID(), c); err == nil {
			t.Errorf("%s: a false proof holds", name)
		}
	}
}

func FuzzOpenCheckpoint(f *testing.F) {
	in, _, _ := proven(f)
	f.Add([]byte(in.Checkpoint))
	f.Add([]byte("lobstah-ledger-v1/x\n1\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ledger.OpenCheckpoint(pair.ID(), text)
		if err == nil && c.Size < 0 {
			t.Errorf("size %d", c.Size)
		}
	})
}

func FuzzInclusion(f *testing.F) {
	in, _, _ := proven(f)
	text, err := json.Marshal(in)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		var p ledger.Inclusion
		if json.Unmarshal(text, &p) != nil {
			return
		}
		if s, err := p.Verify(pair.ID()); err == nil && s.Nonce == "" {
			t.Error("a proof of nothing holds")
		}
	})
}
