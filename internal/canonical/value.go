package canonical

import (
	"iter"
	"strconv"
	"strings"
)

// A Value is a JSON value that is read from its canonical text, without a tree.
// Get one from [Read]. The zero Value is none at all: a member that is missing.
type Value struct{ text string }

// Read returns the one JSON value in src. It accepts what [Parse] does. Text
// that is canonical already, as all that programs of ours write, is only looked
// through once; other text is parsed and written anew.
func Read(src []byte) (Value, error) {
	if len(src) > MaxBytes {
		return Value{}, ErrTooLarge
	}
	if text := string(src); isCanonical(text) {
		return Value{text}, nil
	}
	text, err := Transform(src)
	return Value{string(text)}, err
}

// String returns the canonical text.
func (v Value) String() string { return v.text }

// IsObject reports whether v is an object.
func (v Value) IsObject() bool { return strings.HasPrefix(v.text, "{") }

// IsArray reports whether v is a list.
func (v Value) IsArray() bool { return strings.HasPrefix(v.text, "[") }

// Text returns what v says if it is a string, which may have lone surrogates as
// [Parse] describes. It shares the memory of the whole text, mostly.
func (v Value) Text() (string, bool) {
	if !strings.HasPrefix(v.text, `"`) {
		return "", false
	}
	text, err := unquote(v.text)
	return text, err == nil
}

// Number returns v if it is a number.
func (v Value) Number() (float64, bool) {
	if v.text == "" || v.text[0] != '-' && (v.text[0] < '0' || v.text[0] > '9') {
		return 0, false
	}
	f, err := strconv.ParseFloat(v.text, 64)
	return f, err == nil
}

// Members yields the members of an object in the order of their names. A name
// comes as it stands between its quotes: those of printable ASCII, without
// quotes and backslashes, stand for themselves.
func (v Value) Members() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if !v.IsObject() {
			return
		}
		for i := 1; v.text[i] == '"'; {
			colon := quotedEnd(v.text, i)
			end := valueEnd(v.text, colon+1)
			if !yield(v.text[i+1:colon-1], Value{v.text[colon+1 : end]}) || v.text[end] != ',' {
				return
			}
			i = end + 1
		}
	}
}

// Elements yields the elements of a list.
func (v Value) Elements() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if !v.IsArray() || v.text[1] == ']' {
			return
		}
		for i := 1; ; {
			end := valueEnd(v.text, i)
			if !yield(Value{v.text[i:end]}) || v.text[end] != ',' {
				return
			}
			i = end + 1
		}
	}
}

// Len counts the elements of a list.
func (v Value) Len() int {
	n := 0
	for range v.Elements() {
		n++
	}
	return n
}

// valueEnd returns where the value that begins at i ends, in canonical text.
func valueEnd(text string, i int) int {
	for depth := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			if i = quotedEnd(text, i) - 1; depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth <= 0 { // below 0 it ends what the number is in
				return i + 1 + depth
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(text)
}

// quotedEnd returns where the string that begins at start ends, and 0 when it
// does not.
func quotedEnd(text string, start int) int {
	for i := start + 1; ; {
		n := strings.IndexByte(text[i:], '"')
		if n < 0 {
			return 0
		}
		i += n + 1
		slashes := i - 2
		for text[slashes] == '\\' {
			slashes--
		}
		if (i-slashes)%2 == 0 { // else the quote is escaped
			return i
		}
	}
}

// unquote reads a JSON string with its quotes.
func unquote(quoted string) (string, error) {
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	p := parser{src: []byte(quoted), copy: quoted}
	return p.text()
}
