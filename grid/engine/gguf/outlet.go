package gguf

import (
	"strings"
	"unicode/utf8"
)

// outlet turns the bytes of tokens into text that may be sent: whole characters
// only, and nothing of a stop text, even when it begins in one token and ends in
// another.
type outlet struct {
	stops   []string
	bytes   []byte // of a character that is not yet whole
	held    string // text that may be the beginning of a stop
	stopped bool
}

// push adds a token's bytes and returns the text that may be sent now.
func (o *outlet) push(bytes string) string {
	o.bytes = append(o.bytes, bytes...)
	return o.release(o.whole())
}

// end returns what was held back, when no more tokens come. A character that is not
// whole by then is dropped.
func (o *outlet) end() string {
	text := o.held
	o.held, o.bytes = "", nil
	return text
}

// whole takes the whole characters out of the bytes. Bytes that can become none
// are shown as U+FFFD.
func (o *outlet) whole() string {
	var text strings.Builder
	for len(o.bytes) > 0 && utf8.FullRune(o.bytes) {
		r, size := utf8.DecodeRune(o.bytes)
		text.WriteRune(r)
		o.bytes = o.bytes[size:]
	}
	return text.String()
}

// release returns the part of the held text and of more that no stop can reach.
func (o *outlet) release(more string) string {
	if o.stopped {
		return ""
	}
	text := o.held + more
	first := -1
	for _, stop := range o.stops {
		if i := strings.Index(text, stop); i >= 0 && (first < 0 || i < first) {
			first = i
		}
	}
	if first >= 0 {
		o.stopped, o.held = true, ""
		return text[:first]
	}
	keep := 0
	for _, stop := range o.stops {
		keep = max(keep, overlap(text, stop))
	}
	o.held = text[len(text)-keep:]
	return text[:len(text)-keep]
}

// overlap is the length of the longest end of text with which stop begins.
func overlap(text, stop string) int {
	for n := min(len(text), len(stop)-1); n > 0; n-- {
		if strings.HasSuffix(text, stop[:n]) {
			return n
		}
	}
	return 0
}
