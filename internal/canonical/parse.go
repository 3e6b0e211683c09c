package canonical

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"
)

// Parse reads the one JSON value in src. The tree is made of nil, bool,
// float64, string, []any and [Object]. A lone surrogate stands in a string as
// its three-byte generalised UTF-8 form (WTF-8), which ordinary UTF-8 text
// never contains.
func Parse(src []byte) (any, error) {
	if len(src) > MaxBytes {
		return nil, ErrTooLarge
	}
	p := parser{src: src, copy: string(src), scratch: scratches.Get().(*scratch)}
	defer p.scratch.done()
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.pos != len(src) {
		return nil, p.errorf("unexpected text after the JSON value")
	}
	return v, nil
}

type parser struct {
	src  []byte
	copy string // of src; most texts of the tree are parts of it
	pos  int
	*scratch
}

// scratch holds what was read of objects and lists that are not at their end,
// the inner ones behind the outer ones, so that each gets memory of just its
// size.
type scratch struct {
	members []Member
	values  []any
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

const maxKept = 1024 // members or values; room for more is not kept

// done makes s ready for the next text.
func (s *scratch) done() {
	if cap(s.members) > maxKept || cap(s.values) > maxKept {
		return
	}
	clear(s.members) // what is left after an error
	clear(s.values)
	s.members, s.values = s.members[:0], s.values[:0]
	scratches.Put(s)
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("byte %d: %s", p.pos, fmt.Sprintf(format, args...))
}

func (p *parser) space() {
	for p.pos < len(p.src) {
		switch p.src[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// peek returns the next byte after white space, 0 at the end.
func (p *parser) peek() byte {
	if p.space(); p.pos < len(p.src) {
		return p.src[p.pos]
	}
	return 0
}

func (p *parser) value(depth int) (any, error) {
	if depth > MaxDepth {
		return nil, ErrTooDeep
	}
	switch c := p.peek(); {
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		return p.text()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	case c == 't':
		return true, p.word("true")
	case c == 'f':
		return false, p.word("false")
	case c == 'n':
		return nil, p.word("null")
	}
	return nil, p.errorf("expected a JSON value")
}

func (p *parser) word(w string) error {
	if len(p.src)-p.pos < len(w) || string(p.src[p.pos:p.pos+len(w)]) != w {
		return p.errorf("expected %q", w)
	}
	p.pos += len(w)
	return nil
}

func (p *parser) array(depth int) (any, error) {
	p.pos++
	if p.peek() == ']' {
		p.pos++
		return []any{}, nil
	}
	for outer := len(p.values); ; {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		p.values = append(p.values, v)
		switch p.peek() {
		case ',':
			p.pos++
		case ']':
			p.pos++
			list := slices.Clone(p.values[outer:])
			clear(p.values[outer:]) // which would hold the texts
			p.values = p.values[:outer]
			return list, nil
		default:
			return nil, p.errorf("expected ',' or ']'")
		}
	}
}

func (p *parser) object(depth int) (any, error) {
	p.pos++
	if p.peek() == '}' {
		p.pos++
		return Object{}, nil
	}
	for outer := len(p.members); ; {
		m, err := p.member(depth)
		if err != nil {
			return nil, err
		}
		p.members = append(p.members, m)
		switch p.peek() {
		case ',':
			p.pos++
		case '}':
			p.pos++
			obj := Object(slices.Clone(p.members[outer:]))
			clear(p.members[outer:])
			p.members = p.members[:outer]
			return sorted(obj)
		default:
			return nil, p.errorf("expected ',' or '}'")
		}
	}
}

func (p *parser) member(depth int) (Member, error) {
	if p.peek() != '"' {
		return Member{}, p.errorf("expected a member name")
	}
	name, err := p.text()
	if err != nil {
		return Member{}, err
	}
	if p.peek() != ':' {
		return Member{}, p.errorf("expected ':'")
	}
	p.pos++
	v, err := p.value(depth + 1)
	return Member{name, v}, err
}

func sorted(obj Object) (Object, error) {
	if ascending(obj) {
		return obj, nil // as it always is in what one of ours wrote
	}
	slices.SortFunc(obj, func(a, b Member) int { return compareUTF16(a.Name, b.Name) })
	for i := 1; i < len(obj); i++ {
		if obj[i].Name == obj[i-1].Name {
			return nil, fmt.Errorf("%w: %q", ErrDuplicate, obj[i].Name)
		}
	}
	return obj, nil
}

// ascending reports whether obj is sorted and has no member twice.
func ascending(obj Object) bool {
	for i := 1; i < len(obj); i++ {
		if compareUTF16(obj[i-1].Name, obj[i].Name) >= 0 {
			return false
		}
	}
	return true
}

// number reads the JSON grammar's number, as strconv alone would let through
// hex, underscores and infinities.
func (p *parser) number() (any, error) {
	start := p.pos
	if p.src[p.pos] == '-' {
		p.pos++
	}
	switch n := p.digits(); {
	case n == 0:
		return nil, p.errorf("expected a digit")
	case n > 1 && p.src[p.pos-n] == '0':
		return nil, p.errorf("a number must not begin with 0")
	}
	if p.pos < len(p.src) && p.src[p.pos] == '.' {
		p.pos++
		if p.digits() == 0 {
			return nil, p.errorf("expected a digit after the point")
		}
	}
	if p.pos < len(p.src) && (p.src[p.pos] == 'e' || p.src[p.pos] == 'E') {
		p.pos++
		if p.pos < len(p.src) && (p.src[p.pos] == '+' || p.src[p.pos] == '-') {
			p.pos++
		}
		if p.digits() == 0 {
			return nil, p.errorf("expected a digit in the exponent")
		}
	}
	f, err := strconv.ParseFloat(p.copy[start:p.pos], 64)
	if err != nil {
		return nil, p.errorf("number does not fit a double")
	}
	return f, nil
}

// digits skips decimal digits and returns how many there were.
func (p *parser) digits() int {
	start := p.pos
	for p.pos < len(p.src) && p.src[p.pos] >= '0' && p.src[p.pos] <= '9' {
		p.pos++
	}
	return p.pos - start
}

// plainRun returns how many characters at the start of s stand for themselves
// in a JSON string and take one byte, which most texts consist of.
func plainRun[T string | []byte](s T) int {
	rest := s
	for ; len(rest) >= 8; rest = rest[8:] {
		eight := uint64(rest[0]) | uint64(rest[1])<<8 | uint64(rest[2])<<16 | uint64(rest[3])<<24 |
			uint64(rest[4])<<32 | uint64(rest[5])<<40 | uint64(rest[6])<<48 | uint64(rest[7])<<56 // one load
		if special := specials(eight); special != 0 {
			return len(s) - len(rest) + bits.TrailingZeros64(special)/8
		}
	}
	for i := range len(rest) {
		if c := rest[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return len(s) - len(rest) + i
		}
	}
	return len(s)
}

// specials looks at eight characters at once, the first one in the lowest byte.
// The lowest byte whose highest bit is set in what it returns is the first that
// is not plain: below it no subtraction has borrowed.
func specials(eight uint64) uint64 {
	const each = 0x0101010101010101
	return (eight | (eight - ' '*each) | ((eight ^ '"'*each) - each) | ((eight ^ '\\'*each) - each)) & (utf8.RuneSelf * each)
}

func (p *parser) text() (string, error) {
	p.pos++
	if n := plainRun(p.src[p.pos:]); p.pos+n < len(p.src) && p.src[p.pos+n] == '"' {
		s := p.copy[p.pos : p.pos+n]
		p.pos += n + 1
		return s, nil
	}
	var out []byte
	for p.pos < len(p.src) {
		switch c := p.src[p.pos]; {
		case c == '"':
			p.pos++
			return string(out), nil
		case c < ' ':
			return "", p.errorf("control character in a string")
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			out = appendWTF8(out, r)
		default:
			r, n := utf8.DecodeRune(p.src[p.pos:])
			if r == utf8.RuneError && n == 1 {
				return "", p.errorf("invalid UTF-8 in a string")
			}
			out = append(out, p.src[p.pos:p.pos+n]...)
			p.pos += n
		}
	}
	return "", p.errorf("string does not end")
}

// escape reads one backslash escape; two escaped surrogates that form a pair
// are one character.
func (p *parser) escape() (rune, error) {
	if p.pos+1 >= len(p.src) {
		return 0, p.errorf("string does not end")
	}
	c := p.src[p.pos+1]
	if c == 'u' {
		return p.unicodeEscape()
	}
	p.pos += 2
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	}
	return 0, p.errorf("unknown escape in a string")
}

func (p *parser) unicodeEscape() (rune, error) {
	high, err := p.hex4()
	if err != nil || high < surrogateHigh || high >= surrogateLow {
		return high, err
	}
	mark := p.pos
	if p.pos+1 < len(p.src) && p.src[p.pos] == '\\' && p.src[p.pos+1] == 'u' {
		low, err := p.hex4()
		if err != nil {
			return 0, err
		}
		if low >= surrogateLow && low < surrogateEnd {
			return 0x10000 + (high-surrogateHigh)<<10 + (low - surrogateLow), nil
		}
		p.pos = mark
	}
	return high, nil
}

func (p *parser) hex4() (rune, error) {
	if p.pos+6 > len(p.src) {
		return 0, p.errorf("string does not end")
	}
	n, err := strconv.ParseUint(string(p.src[p.pos+2:p.pos+6]), 16, 16)
	if err != nil {
		return 0, p.errorf("\\u needs four hex digits")
	}
	p.pos += 6
	return rune(n), nil
}
