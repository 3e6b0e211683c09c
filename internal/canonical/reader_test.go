package canonical

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// tree builds what [Parse] would from the next value, by the reader's methods
// alone.
func tree(r *Reader) any {
	switch b := r.next(); {
	case b == '"':
		text, _ := r.Text()
		return text
	case r.IsArray():
		list := []any{}
		for range r.Elements() {
			list = append(list, tree(r))
		}
		return list
	case r.IsObject():
		o := Object{}
		for name := range r.Members() {
			o = append(o, Member{name, tree(r)})
		}
		return o
	case b == 't' || b == 'f' || b == 'n':
		start := r.Offset()
		r.Skip()
		return map[string]any{"true": true, "false": false}[r.Since(start)]
	}
	number, _ := r.Number()
	return number
}

// sameAsTree checks that reading with and without a tree agree: on what is
// refused, on the canonical text, and on what is in it.
func sameAsTree(t *testing.T, src []byte) {
	t.Helper()
	want, wantErr := Transform(src)
	if quick := len(src) <= MaxBytes && isCanonical(string(src)); quick != (wantErr == nil && bytes.Equal(src, want)) {
		t.Fatalf("isCanonical(%q) is %t; Transform gives %q, %v", src, quick, want, wantErr)
	}
	var value any
	got, err := Read(src, func(r *Reader) { value = tree(r) })
	if (err == nil) != (wantErr == nil) || got != string(want) {
		t.Fatalf("Read(%q) = %q, %v; Transform gives %q, %v", src, got, err, want, wantErr)
	}
	if err != nil {
		return
	}
	if again := Append(nil, value); !bytes.Equal(again, want) {
		t.Fatalf("%q was read as %q", want, again)
	}
}

// isCanonical reports whether a reader takes text to its end without a look at
// anything in it.
func isCanonical(text string) bool {
	r := Reader{text: text}
	r.Skip()
	return r.done()
}

func TestReadAgreesWithTheTree(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, src := range []string{
		``, `{}`, `[]`, `""`, `"a"`, `0`, `-0`, `-`, `-1`, `00`, `1.0`, `1.5`, `1e3`, `1e+21`, `1e21`, `1E21`, `1e400`, `.5`, `+1`, `5e-324`,
		`123456789012345`, `1234567890123456`, `9007199254740993`, `12345678901234567890`, `0.1`, `1e-7`, `1-1`, `true`, `truex`, `nul`, `null`,
		`{"a":1,"b":2}`, `{"b":1,"a":2}`, `{"a":1,"a":1}`, `{"":1,"a":2}`, `{"a":1,}`, `{"a"}`, `{a:1}`, `{"a":1`, `{"a":`, `{"a`, `{`, `[1,2]`, `[1, 2]`, `[1,]`, `[,1]`, `[1`,
		`[[],{},[{}],{"a":[]}]`, `"\n"`, `"\u000a"`, `"\u001f"`, `"\u001F"`, `"\/"`, `"\\"`, `"\"`, `"\ud800"`, `"\ud800\udc00"`, `"\udc00\ud800"`, `"\u12"`, `"ü"`, "\"\xff\"", "\"\x7f\"",
		"\"é\x7f\"", "\"é\n\"", `"é\n"`, `"é\u00e9"`, "\"é\xff\"", "\"é\xed\xa0\x80\"", `"é\"`, `"é`, `"é\""`, `{"é":1,"a":2}`, `{"a":1,"é":2}`,
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

// Each method takes a whole value, of whatever kind, and yields nothing of one
// that is not its own.
func TestReaderOfAnotherKind(t *testing.T) {
	for name, test := range map[string]struct {
		own  string
		take func(*Reader) (some bool)
	}{
		"Text":   {`"a"`, func(r *Reader) bool { _, ok := r.Text(); return ok }},
		"Number": {`1`, func(r *Reader) bool { _, ok := r.Number(); return ok }},
		"Members": {`{"a":1}`, func(r *Reader) (some bool) {
			for range r.Members() {
				some = true
			}
			return some
		}},
		"Elements": {`[1]`, func(r *Reader) (some bool) {
			for range r.Elements() {
				some = true
			}
			return some
		}},
	} {
		for _, src := range []string{`null`, `true`, `1`, `"a"`, `[1]`, `{"a":1}`} {
			var some bool
			if _, err := Read([]byte(src), func(r *Reader) { some = test.take(r) }); err != nil || some != (src == test.own) {
				t.Errorf("%s of %s: %t, %v", name, src, some, err)
			}
		}
	}
}

// Whoever leaves a value before its end, or takes too much, gets an error and no
// value that is not there.
func TestReaderOutOfStep(t *testing.T) {
	for name, read := range map[string]func(*Reader){
		"nothing is taken": func(*Reader) {},
		"a loop is left": func(r *Reader) {
			for range r.Members() {
				break
			}
		},
		"too much is taken": func(r *Reader) {
			for range r.Members() {
				r.Skip()
				if text, ok := r.Text(); ok {
					t.Errorf("a value %q too many", text)
				}
			}
		},
	} {
		if text, err := Read([]byte(`{"a":"b","c":"d"}`), read); err == nil {
			t.Errorf("%s: %s", name, text)
		}
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
		if _, err := Read(src, (*Reader).Skip); err != nil {
			b.Fatal(err)
		}
	}
}
