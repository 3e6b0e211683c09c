package canonical

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// tree builds what [Parse] would from v, by its methods alone.
func tree(t *testing.T, v Value) any {
	t.Helper()
	if text, ok := v.Text(); ok {
		return text
	}
	if f, ok := v.Number(); ok {
		return f
	}
	switch {
	case v.IsArray():
		list := make([]any, 0, v.Len())
		for e := range v.Elements() {
			list = append(list, tree(t, e))
		}
		return list
	case v.IsObject():
		o := Object{}
		for name, m := range v.Members() {
			text, err := unquote(`"` + name + `"`)
			if err != nil {
				t.Fatalf("member %q: %v", name, err)
			}
			o = append(o, Member{text, tree(t, m)})
		}
		return o
	}
	return map[string]any{"null": nil, "true": true, "false": false}[v.String()]
}

// sameAsTree checks that reading with and without a tree agree: on what is
// refused, on the canonical text, and on what is in it.
func sameAsTree(t *testing.T, src []byte) {
	t.Helper()
	want, wantErr := Transform(src)
	if quick := len(src) <= MaxBytes && isCanonical(string(src)); quick != (wantErr == nil && bytes.Equal(src, want)) {
		t.Fatalf("isCanonical(%q) is %t; Transform gives %q, %v", src, quick, want, wantErr)
	}
	v, err := Read(src)
	if (err == nil) != (wantErr == nil) || v.String() != string(want) {
		t.Fatalf("Read(%q) = %q, %v; Transform gives %q, %v", src, v, err, want, wantErr)
	}
	if err != nil {
		return
	}
	if again := Append(nil, tree(t, v)); !bytes.Equal(again, want) {
		t.Fatalf("%q was read as %q", want, again)
	}
}

func TestReadAgreesWithTheTree(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, src := range []string{
		``, `{}`, `[]`, `""`, `"a"`, `0`, `-0`, `-`, `-1`, `00`, `1.0`, `1.5`, `1e3`, `1e+21`, `1e21`, `1E21`, `1e400`, `.5`, `+1`, `5e-324`,
		`123456789012345`, `1234567890123456`, `9007199254740993`, `12345678901234567890`, `0.1`, `1e-7`, `1-1`, `true`, `truex`, `nul`, `null`,
		`{"a":1,"b":2}`, `{"b":1,"a":2}`, `{"a":1,"a":1}`, `{"":1,"a":2}`, `{"a":1,}`, `{"a"}`, `{a:1}`, `{"a":1`, `{"a":`, `{"a`, `{`, `[1,2]`, `[1, 2]`, `[1,]`, `[,1]`, `[1`,
		`[[],{},[{}],{"a":[]}]`, `"\n"`, `"\u000a"`, `"\u001f"`, `"\u001F"`, `"\/"`, `"\\"`, `"\"`, `"\ud800"`, `"\ud800\udc00"`, `"\udc00\ud800"`, `"\u12"`, `"ü"`, "\"\xff\"", "\"\x7f\"",
		`{"\n":1,"a":2}`, `{"\"":1,"a\\":[2]}`, `{"ﬁ":1,"🦞":2}`, `{"🦞":1,"ﬁ":2}`, `{"\ud83e":3,"🦞":2}`, ` 1`, `1 `,
		deep(MaxDepth + 1), deep(MaxDepth + 2), `[` + strings.Repeat(`"\n",`, 9000) + `1]`, strings.Repeat(" ", MaxBytes+1),
	} {
		sameAsTree(t, []byte(src))
	}
	for _, v := range vectors(t) {
		sameAsTree(t, []byte(v.JSON))
		sameAsTree(t, []byte(v.Canonical))
	}
}

// A document that is no object has no members, and so on.
func TestValueOfAnotherKind(t *testing.T) {
	for _, src := range []string{`null`, `true`, `1`, `"a"`, `[1]`, `{"a":1}`} {
		v, err := Read([]byte(src))
		if err != nil {
			t.Fatal(err)
		}
		for name := range v.Members() {
			if src != `{"a":1}` {
				t.Errorf("%s has a member %q", src, name)
			}
		}
		if v.Len() > 0 != (src == `[1]`) {
			t.Errorf("%s has %d elements", src, v.Len())
		}
	}
	var none Value
	_, isText := none.Text()
	_, isNumber := none.Number()
	if isText || isNumber || none.IsObject() || none.IsArray() || none.Len() > 0 || none.String() != "" {
		t.Error("the zero Value is something")
	}
}

// FuzzRead is the differential test of the two ways to read.
func FuzzRead(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.JSON))
		f.Add([]byte(v.Canonical))
	}
	f.Add([]byte(`{"\"":-0.5e-7,"a":[{"\ud83e":3,"🦞":"\u001f"},12345678901234567890]}`))
	f.Fuzz(func(t *testing.T, src []byte) {
		sameAsTree(t, src)
		// What is canonical is rarely met by chance.
		if once, err := Transform(src); err == nil {
			sameAsTree(t, once)
		} else if errors.Is(err, ErrDuplicate) && isCanonical(string(src)) {
			t.Fatalf("%q has a member twice and passes", src)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	src, err := Transform([]byte(`{"version":1,"jobId":"3f1c0a52-0000-4000-8000-000000000001","nonce":"000102030405060708090a0b0c0d0e0f","requesterPubkey":"lob1a09a","workerPubkey":"lob1d04a","model":"llama3.1:8b","inputTokens":7,"outputTokens":2,"startedAt":1790000000000,"completedAt":1790000001234}`))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(src); err != nil {
			b.Fatal(err)
		}
	}
}
