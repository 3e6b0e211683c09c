package tinygguf_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"lobstah/internal/tinygguf"
)

// The files are the same on every machine (F16 rounds away what processors'
// floating point differs in), so their digests stand here. A change of a model is
// a change of this table, made knowingly.
var digests = map[string]string{
	"bpe":    "527c31afc754a34a350c387568ec3af47e617412de88c62fb2f23666dc92fdf1",
	"demo":   "fbd3e54089a33516f439d9ac5af1d5053ad716b3f4926efc6c35949b65eb1a23",
	"embed":  "d85e502a3c24aab5d098765c0ba150d60e7650752233e0d73cfc31ecd50616ed",
	"random": "cf6f51b7de75e32b339ea00215834cf20317aa8887302d123381e0a9b22f99b8",
	"slow":   "3864dc5f1a81bdd5283858b604354713f17a7ce0832bff13970795d8961af6f6",
	"think":  "71da3e0cb91b97a04e49788126f019ce5cf0cfc49b60d0551783db2db6bc16cd",
	"tool":   "c99ab487e05331ef6f3a687d2e7da2953126949f0a317cdc38a0c25a2799a706",
	"words":  "9794faeef0bf5ac0806a372a1e87d8756db872a192d075eb7349487f3815bdbf",
}

func TestModelsAreReproducible(t *testing.T) {
	t.Parallel()
	for name, spec := range tinygguf.Named {
		file, err := spec().Build()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sum := sha256.Sum256(file)
		if got := hex.EncodeToString(sum[:]); got != digests[name] {
			t.Errorf("%s: digest %s, want %s", name, got, digests[name])
		}
	}
}

func TestTypesChangeOnlyTheWeights(t *testing.T) {
	t.Parallel()
	sizes := map[tinygguf.Type]int{}
	for _, typ := range []tinygguf.Type{tinygguf.F32, tinygguf.F16, tinygguf.Q8_0} {
		spec := tinygguf.Random(1)
		spec.Type = typ
		file, err := spec.Build()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(file, []byte("GGUF\x03\x00\x00\x00")) {
			t.Errorf("type %d begins with %q, want GGUF's magic and version 3", typ, file[:8])
		}
		sizes[typ] = len(file)
	}
	if !(sizes[tinygguf.F32] > sizes[tinygguf.F16] && sizes[tinygguf.F16] > sizes[tinygguf.Q8_0]) {
		t.Errorf("sizes by type are %v, want F32 > F16 > Q8_0", sizes)
	}
}

func TestImpossibleSpecsAreRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*tinygguf.Spec){
		"Markov":         func(s *tinygguf.Spec) { s.PreTokenizer = "gpt-2" },
		"output matrix":  func(s *tinygguf.Spec) { s.Tied = true },
		"share 3 key":    func(s *tinygguf.Spec) { s.KVHeads = 3 },
		"multiple of 32": func(s *tinygguf.Spec) { s.Type, s.FeedForward = tinygguf.Q8_0, 40 },
	}
	for want, change := range tests {
		spec := tinygguf.Words()
		change(&spec)
		if _, err := spec.Build(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Build() error is %v, want one that says %q", err, want)
		}
	}
}
