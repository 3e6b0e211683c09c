package canonical

import (
	"errors"
	"iter"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Reader takes values off the front of a canonical text, without a tree, and
// checks meanwhile that it is canonical. Get one from [Read].
//
// Text, Number, Members, Elements and Skip take one whole value each, whatever
// it is, and yield nothing of one that is of another kind. From the first byte
// on that is not canonical there are no values any more.
type Reader struct {
	text   string
	pos    int
	depth  int // of the objects and lists around pos
	failed bool
}

// Read lets read take the one JSON value in src, and returns its canonical text.
// It accepts what [Parse] does. Text that is canonical already, as all that
// programs of ours write, is gone through once, by read itself; other text is
// written anew, and read called again: it has to forget what it saw before.
func Read(src []byte, read func(*Reader)) (string, error) {
	if len(src) > MaxBytes {
		return "", ErrTooLarge
	}
	r := &Reader{text: string(src)}
	if read(r); r.done() {
		return r.text, nil
	}
	text, err := Transform(src)
	if err != nil {
		return "", err
	}
	*r = Reader{text: string(text)}
	if read(r); !r.done() {
		return "", errors.New("canonical: the reader was left before the end") // a programmer's mistake
	}
	return r.text, nil
}

// done reports whether all of the text was read, and canonical.
func (r *Reader) done() bool { return !r.failed && r.pos == len(r.text) }

// fail ends the reading. It leaves nothing that anybody could take for a value.
func (r *Reader) fail() { r.failed, r.pos = true, len(r.text) }

// Offset is where in the canonical text the next value begins.
func (r *Reader) Offset() int { return r.pos }

// Since returns the canonical text of what was taken from an offset on.
func (r *Reader) Since(offset int) string { return r.text[offset:r.pos] }

// IsObject reports whether the next value is an object.
func (r *Reader) IsObject() bool { return r.next() == '{' }

// IsArray reports whether the next value is a list.
func (r *Reader) IsArray() bool { return r.next() == '[' }

// next is the byte at the position, 0 at the end.
func (r *Reader) next() byte {
	if r.pos < len(r.text) {
		return r.text[r.pos]
	}
	return 0
}

// Skip takes a value of any kind.
func (r *Reader) Skip() {
	switch b := r.next(); {
	case b == '"':
		r.quoted()
	case b == '{':
		for range r.Members() {
		}
	case b == '[':
		for range r.Elements() {
		}
	case b == '-' || b >= '0' && b <= '9':
		r.number()
	case !r.word("true") && !r.word("false") && !r.word("null"):
		r.fail()
	}
}

func (r *Reader) word(w string) bool {
	if !strings.HasPrefix(r.text[r.pos:], w) {
		return false
	}
	r.pos += len(w)
	return true
}

// Text takes a string, which may have lone surrogates as [Parse] describes. It
// shares the memory of the whole text, mostly.
func (r *Reader) Text() (string, bool) {
	if r.next() != '"' {
		r.Skip()
		return "", false
	}
	return r.quoted(), !r.failed
}

// Number takes a number.
func (r *Reader) Number() (float64, bool) {
	if b := r.next(); b != '-' && (b < '0' || b > '9') {
		r.Skip()
		return 0, false
	}
	return r.number(), !r.failed
}

// Members yields the names of an object's members in their order. The loop takes
// the value of each, or leaves it to be skipped. It must go on to the last one.
func (r *Reader) Members() iter.Seq[string] {
	return func(yield func(string) bool) {
		if !r.enter('{', '}') {
			return
		}
		last := ""
		for first := true; ; first = false {
			if r.next() != '"' {
				r.fail()
				return
			}
			name := r.quoted()
			if !first && compareUTF16(last, name) >= 0 || !r.take(':') {
				r.fail()
				return
			}
			last = name
			start := r.pos
			if !yield(name) {
				r.fail()
			}
			if !r.follows(start, '}') {
				return
			}
		}
	}
}

// Elements yields the indexes of a list's elements, as Members does names.
func (r *Reader) Elements() iter.Seq[int] {
	return func(yield func(int) bool) {
		if !r.enter('[', ']') {
			return
		}
		for i := 0; ; i++ {
			start := r.pos
			if !yield(i) {
				r.fail()
			}
			if !r.follows(start, ']') {
				return
			}
		}
	}
}

// enter goes to the first part of what begins with open, if that is what is
// next and has any.
func (r *Reader) enter(open, end byte) bool {
	if r.next() != open {
		r.Skip()
		return false
	}
	if r.pos++; r.take(end) {
		return false
	}
	if r.depth++; r.depth > MaxDepth {
		r.fail()
	}
	return !r.failed
}

// follows goes to the next part, if there is one, after one whose value began at
// start and may not have been taken.
func (r *Reader) follows(start int, end byte) bool {
	if r.pos == start {
		r.Skip()
	}
	switch {
	case r.take(','):
		return true
	case r.take(end):
		r.depth--
	default:
		r.fail()
	}
	return false
}

func (r *Reader) take(b byte) bool {
	if r.next() != b {
		return false
	}
	r.pos++
	return true
}

// quoted takes a string. Most are printable ASCII and stand for themselves.
func (r *Reader) quoted() string {
	start := r.pos + 1
	end := start + plainRun(r.text[start:])
	if end < len(r.text) && r.text[end] == '"' {
		r.pos = end + 1
		return r.text[start:end]
	}
	return r.escaped()
}

// escaped takes any string. Text in other scripts stands for itself as well; of
// escapes the parser and the writer know best which are canonical.
func (r *Reader) escaped() string {
	end := quotedEnd(r.text, r.pos)
	if end == 0 {
		r.fail()
		return ""
	}
	quoted := r.text[r.pos:end]
	if inner := quoted[1 : len(quoted)-1]; strings.IndexByte(inner, '\\') < 0 && utf8.ValidString(inner) {
		r.pos = end
		return inner
	}
	p := parser{src: []byte(quoted), copy: quoted}
	text, err := p.text()
	if err != nil || string(AppendString(make([]byte, 0, len(quoted)), text)) != quoted {
		r.fail()
		return ""
	}
	r.pos = end
	return text
}

// quotedEnd returns where the string that begins at start ends, and 0 when it
// does not, or has a control character before.
func quotedEnd(text string, start int) int {
	for i := start + 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case c == '"':
			return i + 1
		case c < ' ':
			return 0
		}
	}
	return 0
}

// number takes a number. Whole ones of 15 digits are doubles without loss, and
// written as they are.
func (r *Reader) number() float64 {
	start, whole := r.pos, int64(0)
	for b := r.next(); b >= '0' && b <= '9'; b = r.next() {
		whole = 10*whole + int64(b-'0') // of more digits it means nothing
		r.pos++
	}
	if n := r.pos - start; n > 0 && n <= 15 && (r.text[start] != '0' || n == 1) && !inNumber(r.next()) {
		return float64(whole)
	}
	for inNumber(r.next()) {
		r.pos++
	}
	f, err := strconv.ParseFloat(r.text[start:r.pos], 64)
	var written [32]byte
	if err != nil || string(AppendNumber(written[:0], f)) != r.text[start:r.pos] {
		r.fail()
	}
	return f
}

func inNumber(b byte) bool {
	return b >= '0' && b <= '9' || b == '.' || b == '-' || b == '+' || b == 'e' || b == 'E'
}
