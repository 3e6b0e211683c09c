package canonical

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

type vector struct{ Name, JSON, Canonical string }

// vectors were recorded from the original program's canonicaliser.
func vectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []vector
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			got, err := Transform([]byte(v.JSON))
			if v.Name == "duplicate keys: last wins" {
				if !errors.Is(err, ErrDuplicate) {
					t.Fatalf("a duplicate member gave %q, %v; we refuse it on purpose", got, err)
				}
				return
			}
			if err != nil || string(got) != v.Canonical {
				t.Errorf("Transform(%s)\n got %q, %v\nwant %q", v.JSON, got, err, v.Canonical)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	for _, src := range []string{
		``, ` `, `{`, `[`, `[1,]`, `{"a":1,}`, `{a:1}`, `01`, `[-01]`, `-`, `1.`, `.5`, `1e`, `1e400`, `+1`, `0x10`, `1_000`,
		`"`, `"\x"`, `"\u12"`, `"\ud83e\u12"`, "\"\n\"", "\"\xff\"", "\"\xed\xa0\x80\"", `nul`, `truex`, `1 2`, `NaN`, `Infinity`, "\ufeff1",
	} {
		if got, err := Transform([]byte(src)); err == nil {
			t.Errorf("Transform(%q) = %q; want an error", src, got)
		}
	}
}

func TestLimits(t *testing.T) {
	if _, err := Parse(bytes.Repeat([]byte(" "), MaxBytes+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("oversized input: %v; want ErrTooLarge", err)
	}
	deep := strings.Repeat("[", MaxDepth+2) + strings.Repeat("]", MaxDepth+2)
	if _, err := Parse([]byte(deep)); !errors.Is(err, ErrTooDeep) {
		t.Errorf("deep input: %v; want ErrTooDeep", err)
	}
	fits := strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)
	if _, err := Parse([]byte(fits)); err != nil {
		t.Errorf("input at the depth limit: %v", err)
	}
}

func TestSurrogatesInNames(t *testing.T) {
	got, err := Transform([]byte(`{"\ufb01":1,"\ud83e\udd9e":2,"\ud83e":3,"\ud83ez":4,"\ue000":5}`))
	want := `{"\ud83e":3,"\ud83ez":4,"🦞":2,"` + "\ue000" + `":5,"ﬁ":1}`
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// The order of names is that of their code units, whatever shortcut finds it.
func TestOrderOfNames(t *testing.T) {
	parts := []string{"", "a", "b", "\x7f", "é", "퟿", "\ue000", "ﬁ", "🦞", "🦟", "\xed\xa0\xbe", "\xed\xb6\x9e"}
	for _, a := range parts {
		for _, b := range parts {
			for _, c := range parts {
				for _, d := range parts {
					one, other := a+b, c+d
					if got, want := compareUTF16(one, other), slices.Compare(units(one), units(other)); got != want {
						t.Fatalf("%q against %q: %d; want %d", one, other, got, want)
					}
				}
			}
		}
	}
}

// Whatever stands where, eight characters at a time or alone, the run ends at
// the first that is not plain.
func TestPlainRun(t *testing.T) {
	for c := range 256 {
		plain := c >= ' ' && c < 0x80 && c != '"' && c != '\\'
		for at := range 19 {
			for _, after := range []byte{'a', 0, '"', 0xff} {
				s := []byte(strings.Repeat("~", at) + string([]byte{byte(c), after}) + " ~!#[]")
				want := at
				if plain {
					if want++; after == 'a' {
						want = len(s)
					}
				}
				if got, text := plainRun(s), plainRun(string(s)); got != want || text != want {
					t.Fatalf("the run of %q is %d, %d; want %d", s, got, text, want)
				}
			}
		}
	}
}

func FuzzTransform(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.JSON))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		once, err := Transform(src)
		if err != nil {
			return
		}
		if !json.Valid(src) || !json.Valid(once) {
			t.Fatalf("accepted what encoding/json calls invalid: %q -> %q", src, once)
		}
		twice, err := Transform(once)
		// Escapes can make the canonical text longer than its source.
		if errors.Is(err, ErrTooLarge) {
			return
		}
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("not stable: %q -> %q -> %q, %v", src, once, twice, err)
		}
	})
}

func BenchmarkTransform(b *testing.B) {
	src := []byte(`{"version":1,"jobId":"3f1c0a52-0000-4000-8000-000000000001","nonce":"000102030405060708090a0b0c0d0e0f","requesterPubkey":"lob1a09a","workerPubkey":"lob1d04a","model":"llama3.1:8b","inputTokens":7,"outputTokens":2,"startedAt":1790000000000,"completedAt":1790000001234}`)
	for b.Loop() {
		if _, err := Transform(src); err != nil {
			b.Fatal(err)
		}
	}
}
