package value

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// MaxDepth is how deep lists and objects may nest in JSON text.
const MaxDepth = 5000

// MaxParsed is how much memory the values of one JSON text may take, as [Value.Size] counts it: a text of nothing but brackets and commas takes
// much more as values.
const MaxParsed = 1 << 30

// SyntaxError is a fault in JSON text.
type SyntaxError struct {
	Message      string
	Line, Column int // 1-based; the column counts bytes
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s at line %d column %d", e.Message, e.Line, e.Column)
}

// Parse reads one JSON text, as JSON.parse does: of two fields with one key the last counts, numbers are doubles, and nothing
// but white space may follow. The error is a [*SyntaxError].
func Parse(text string) (Value, error) {
	d := &Decoder{buf: []byte(text)}
	v, err := d.value(0)
	if err == nil {
		err = d.end(isJSONSpace)
	}
	if err != nil {
		return Undefined, err
	}
	return v, nil
}

// Decoder reads JSON from a stream, keeping no more of it than a token and what the values take.
type Decoder struct {
	// MaxItem caps the text of one item that [Decoder.Items] yields, in bytes; 0 means no cap.
	MaxItem int
	// MaxHeld caps the memory of one item, or of all of a text that is one; 0 means MaxParsed.
	MaxHeld int64

	r       io.Reader
	spent   int   // bytes read since the last item
	held    int64 // what its values take so far
	buf     []byte
	pos     int
	failed  error    // what r ended with
	lines   int      // line ends before buf
	column  int      // bytes before buf on its first line
	shapes  []*shape // by depth: the keys of the last object there
	scratch []byte
}

// NewDecoder returns a decoder over r.
func NewDecoder(r io.Reader) *Decoder {
	return &Decoder{r: r, buf: make([]byte, 0, 64<<10)}
}

// Items yields the items of the stream's one JSON text: those of a list one at a time as they arrive, anything else as one item.
// White space around it is what JavaScript's trim takes off, and a blank text is null. An error of the reader is yielded as it is,
// a fault of the text as a [*SyntaxError]; either ends the sequence.
func (d *Decoder) Items() func(yield func(Value, error) bool) {
	return func(yield func(Value, error) bool) {
		if d.skip(IsSpace); d.atEnd() {
			if d.readError() != nil {
				yield(Undefined, d.failed)
				return
			}
			yield(Null, nil)
			return
		}
		more := true
		var err error
		if d.buf[d.pos] == '[' {
			d.pos++
			err = d.list(0, func(v Value) bool { d.spent, d.held = 0, 0; more = yield(v, nil); return more })
		} else {
			var v Value
			if v, err = d.value(0); err == nil {
				if err = d.end(IsSpace); err == nil {
					yield(v, nil)
					return
				}
			}
		}
		if err == nil && more {
			err = d.end(IsSpace)
		}
		if err != nil && more {
			yield(Undefined, err)
		}
	}
}

// fill reads more input; it reports whether there is a byte at pos now.
func (d *Decoder) fill() bool {
	if d.pos < len(d.buf) {
		return true
	}
	if d.r == nil || d.failed != nil {
		return false
	}
	d.count()
	d.buf, d.pos = d.buf[:0], 0
	if d.spent += cap(d.buf); d.MaxItem > 0 && d.spent > d.MaxItem+cap(d.buf) {
		d.failed = fmt.Errorf("an item of the JSON text exceeds %d bytes", d.MaxItem)
		return false
	}
	for range 100 {
		n, err := d.r.Read(d.buf[:cap(d.buf)])
		d.buf = d.buf[:n]
		d.failed = err
		if n > 0 || err != nil {
			return n > 0
		}
	}
	d.failed = io.ErrNoProgress
	return false
}

// count adds the position of the buffer's end to lines and column.
func (d *Decoder) count() {
	if i := bytes.LastIndexByte(d.buf, '\n'); i >= 0 {
		d.lines += bytes.Count(d.buf, []byte{'\n'})
		d.column = len(d.buf) - i - 1
		return
	}
	d.column += len(d.buf)
}

func (d *Decoder) readError() error {
	if d.failed == nil || errors.Is(d.failed, io.EOF) {
		return nil
	}
	return d.failed
}

// atEnd reports whether the input has ended, for good or by an error.
func (d *Decoder) atEnd() bool { return !d.fill() }

func (d *Decoder) fault(format string, args ...any) error {
	if err := d.readError(); err != nil && d.pos >= len(d.buf) {
		return err
	}
	before := d.buf[:min(d.pos, len(d.buf))]
	line, column := d.lines+1, d.column
	if i := bytes.LastIndexByte(before, '\n'); i >= 0 {
		line, column = line+bytes.Count(before, []byte{'\n'}), 0
		before = before[i+1:]
	}
	return &SyntaxError{fmt.Sprintf(format, args...), line, column + len(before) + 1}
}

func (d *Decoder) unexpected() error {
	if d.atEnd() {
		return d.fault("Unexpected end of JSON input")
	}
	r, _ := utf8.DecodeRune(d.buf[d.pos:])
	return d.fault("Unexpected token %q in JSON", string(r))
}

func isJSONSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' }

// blank skips JSON white space and returns the byte after it, 0 at the end.
func (d *Decoder) blank() byte {
	for {
		for d.pos < len(d.buf) {
			if c := d.buf[d.pos]; c > ' ' || !isJSONSpace(rune(c)) {
				return c
			}
			d.pos++
		}
		if !d.fill() {
			return 0
		}
	}
}

// skip leaves out what space accepts, also beyond ASCII.
func (d *Decoder) skip(space func(rune) bool) {
	for d.fill() {
		d.whole()
		r, n := utf8.DecodeRune(d.buf[d.pos:])
		if !space(r) {
			return
		}
		d.pos += n
	}
}

// whole makes sure that a character which starts at pos is in the buffer as a whole, unless the input ends before.
func (d *Decoder) whole() {
	for d.r != nil && d.failed == nil && !utf8.FullRune(d.buf[d.pos:]) {
		rest := append([]byte(nil), d.buf[d.pos:]...)
		d.buf = d.buf[:d.pos]
		d.count()
		d.buf = append(d.buf[:0], rest...)
		d.pos = 0
		n, err := d.r.Read(d.buf[len(rest):cap(d.buf)])
		d.buf = d.buf[:len(rest)+n]
		d.failed = err
	}
}

func (d *Decoder) end(space func(rune) bool) error {
	if d.skip(space); !d.atEnd() {
		r, _ := utf8.DecodeRune(d.buf[d.pos:])
		return d.fault("Unexpected non-whitespace character %q after JSON", string(r))
	}
	return d.readError()
}

func (d *Decoder) value(depth int) (Value, error) {
	if err := d.hold(valueBytes); err != nil {
		return Undefined, err
	}
	switch c := d.blank(); {
	case c == '"':
		s, err := d.text()
		d.held += int64(len(s))
		return String(s), err
	case c == '{':
		return d.object(depth)
	case c == '[':
		d.pos++
		var items []Value
		err := d.list(depth, func(v Value) bool { items = append(items, v); return true })
		return List(items...), err
	case c == '-' || (c >= '0' && c <= '9'):
		return d.number()
	case c == 't':
		return True, d.word("true")
	case c == 'f':
		return False, d.word("false")
	case c == 'n':
		return Null, d.word("null")
	}
	return Undefined, d.unexpected()
}

// hold counts memory of the values at hand.
func (d *Decoder) hold(n int64) error {
	limit := d.MaxHeld
	if limit == 0 {
		limit = MaxParsed
	}
	if d.held += n; d.held > limit {
		return d.fault("JSON takes more than %d bytes of memory", limit)
	}
	return nil
}

func (d *Decoder) word(w string) error {
	for i := range len(w) {
		if d.atEnd() || d.buf[d.pos] != w[i] {
			return d.unexpected()
		}
		d.pos++
	}
	return nil
}

// list reads the items after an opening bracket; it stops early when add returns false.
func (d *Decoder) list(depth int, add func(Value) bool) error {
	if depth >= MaxDepth {
		return d.fault("JSON nests deeper than %d", MaxDepth)
	}
	if d.blank() == ']' {
		d.pos++
		return nil
	}
	for {
		v, err := d.value(depth + 1)
		if err != nil || !add(v) {
			return err
		}
		switch d.blank() {
		case ',':
			d.pos++
		case ']':
			d.pos++
			return nil
		default:
			return d.unexpected()
		}
	}
}

// object reads an object. Its keys are expected to be those of the last object at this depth; as long as they are, nothing is
// allocated for them and the list of keys is shared.
func (d *Decoder) object(depth int) (Value, error) {
	if depth >= MaxDepth {
		return Undefined, d.fault("JSON nests deeper than %d", MaxDepth)
	}
	d.pos++
	d.held += 2 * valueBytes
	for len(d.shapes) <= depth {
		d.shapes = append(d.shapes, emptyShape)
	}
	guess := d.shapes[depth]
	o := members{guess: guess, vals: make([]Value, 0, len(guess.keys))}
	if d.blank() == '}' {
		d.pos++
		return FromObject(&Object{shape: emptyShape}), nil
	}
	for {
		if err := d.member(&o, depth); err != nil {
			return Undefined, err
		}
		c := d.blank()
		if c != ',' && c != '}' {
			return Undefined, d.unexpected()
		}
		d.pos++
		if c == '}' {
			obj := o.object()
			d.shapes[depth] = obj.shape
			return FromObject(obj), nil
		}
	}
}

func (d *Decoder) member(o *members, depth int) error {
	if d.blank() != '"' {
		return d.unexpected()
	}
	key, err := d.token()
	if err != nil {
		return err
	}
	if isNew := o.key(key); isNew {
		d.held += int64(len(key)) + keyBytes
	}
	if d.blank() != ':' {
		return d.unexpected()
	}
	d.pos++
	v, err := d.value(depth + 1)
	o.value(v)
	return err
}

// members collects the fields of an object that is expected to have the keys of guess.
type members struct {
	guess *shape
	vals  []Value
	slow  *Builder // once a key was not the expected one
	last  string   // the key at hand, for slow
}

// keyBytes is what a key takes beside its text: its header, and its place in an index.
const keyBytes = 48

// key takes the next key, and reports whether it is not the expected one, so that memory is needed for it.
func (m *members) key(k []byte) (isNew bool) {
	if m.slow == nil {
		if i := len(m.vals); i < len(m.guess.keys) && m.guess.keys[i] == string(k) {
			return false
		}
		m.slow = &Builder{}
		for i, v := range m.vals {
			m.slow.Set(m.guess.keys[i], v)
		}
	}
	m.last = string(k)
	return true
}

func (m *members) value(v Value) {
	if m.slow != nil {
		m.slow.Set(m.last, v)
		return
	}
	m.vals = append(m.vals, v)
}

func (m *members) object() *Object {
	switch {
	case m.slow != nil:
		return m.slow.Object()
	case len(m.vals) == len(m.guess.keys):
		return &Object{shape: m.guess, vals: m.vals}
	}
	return &Object{shape: newShape(m.guess.keys[:len(m.vals):len(m.vals)]), vals: m.vals}
}
