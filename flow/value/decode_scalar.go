package value

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// text reads a string.
func (d *Decoder) text() (string, error) {
	b, err := d.token()
	return string(b), err
}

// token reads a string; the bytes are valid until the next read.
func (d *Decoder) token() ([]byte, error) {
	d.pos++
	for i, c := range d.buf[d.pos:] {
		if c == '"' {
			b := d.buf[d.pos : d.pos+i]
			if !utf8.Valid(b) {
				b = []byte(Clean(string(b)))
			}
			d.pos += i + 1
			return b, nil
		}
		if c == '\\' || c < 0x20 {
			break
		}
	}
	return d.longToken()
}

// longToken reads a string that has escapes or crosses the end of the buffer. Bytes are mended before the next escape is
// added to them: only escapes may make lone surrogates.
func (d *Decoder) longToken() ([]byte, error) {
	d.scratch = d.scratch[:0]
	raw := 0 // where the bytes since the last escape begin
	for {
		if d.atEnd() {
			return nil, d.fault("Unterminated string in JSON")
		}
		c := d.buf[d.pos]
		switch {
		case c == '"':
			d.pos++
			d.cleanScratch(raw)
			return d.scratch, nil
		case c == '\\':
			d.pos++
			d.cleanScratch(raw)
			if err := d.escape(); err != nil {
				return nil, err
			}
			raw = len(d.scratch)
		case c < 0x20:
			return nil, d.fault("Bad control character in string literal in JSON")
		default:
			d.pos++
			d.scratch = append(d.scratch, c)
		}
	}
}

// cleanScratch mends ill-formed UTF-8 from an offset on.
func (d *Decoder) cleanScratch(from int) {
	if b := d.scratch[from:]; !utf8.Valid(b) {
		d.scratch = append(d.scratch[:from], Clean(string(b))...)
	}
}

func (d *Decoder) escape() error {
	if d.atEnd() {
		return d.fault("Unterminated string in JSON")
	}
	c := d.buf[d.pos]
	if c == 'u' {
		d.pos++
		return d.unicodeEscape()
	}
	i := strings.IndexByte(`btnfr"\/`, c)
	if i < 0 {
		return d.fault("Bad escaped character in JSON")
	}
	d.pos++
	d.scratch = append(d.scratch, "\b\t\n\f\r\"\\/"[i])
	return nil
}

func (d *Decoder) unicodeEscape() error {
	var u uint16
	for range 4 {
		if d.atEnd() {
			return d.fault("Unterminated string in JSON")
		}
		n, err := strconv.ParseUint(string(d.buf[d.pos]), 16, 8)
		if err != nil {
			return d.fault("Bad Unicode escape in JSON")
		}
		d.pos++
		u = u<<4 | uint16(n)
	}
	d.scratch = appendUnit(d.scratch, u)
	return nil
}

// number reads a number: -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?
func (d *Decoder) number() (Value, error) {
	d.scratch = d.scratch[:0]
	d.accept("-")
	if d.accept("0") == 0 && d.digits() == 0 {
		return Undefined, d.unexpected()
	}
	if d.accept(".") > 0 && d.digits() == 0 {
		return Undefined, d.unexpected()
	}
	if d.accept("eE") > 0 {
		d.accept("+-")
		if d.digits() == 0 {
			return Undefined, d.unexpected()
		}
	}
	if f, ok := smallInt(d.scratch); ok {
		return Number(f), nil
	}
	f, _ := strconv.ParseFloat(string(d.scratch), 64) // out of range is infinity, as in JavaScript
	return Number(f), nil
}

func (d *Decoder) accept(set string) int {
	if d.atEnd() || strings.IndexByte(set, d.buf[d.pos]) < 0 {
		return 0
	}
	d.scratch = append(d.scratch, d.buf[d.pos])
	d.pos++
	return 1
}

func (d *Decoder) digits() int {
	n := 0
	for d.fill() && d.buf[d.pos] >= '0' && d.buf[d.pos] <= '9' {
		d.scratch = append(d.scratch, d.buf[d.pos])
		d.pos++
		n++
	}
	return n
}

func smallInt(b []byte) (float64, bool) {
	if len(b) > 15 || b[0] == '-' {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return float64(n), true
}
