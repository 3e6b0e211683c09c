package canonical

import (
	"strconv"
)

// isCanonical reports whether [Transform] would accept text and leave it as it
// is. It goes over it once and allocates only for what is rare: strings and
// numbers that need a second look.
func isCanonical(text string) bool {
	c := checker{text: text}
	return c.value(0) && c.pos == len(text)
}

// a checker takes canonical parts off the front of what is left of text. Its
// methods return false at the first byte that is not canonical.
type checker struct {
	text string
	pos  int
}

// next is the byte at the position, 0 at the end.
func (c *checker) next() byte {
	if c.pos < len(c.text) {
		return c.text[c.pos]
	}
	return 0
}

func (c *checker) value(depth int) bool {
	if depth > MaxDepth {
		return false
	}
	switch b := c.next(); {
	case b == '"':
		return c.quoted()
	case b == '{':
		return c.object(depth)
	case b == '[':
		return c.array(depth)
	case b == '-' || b >= '0' && b <= '9':
		return c.number()
	}
	return c.word("true") || c.word("false") || c.word("null")
}

func (c *checker) word(w string) bool {
	if len(c.text)-c.pos < len(w) || c.text[c.pos:c.pos+len(w)] != w {
		return false
	}
	c.pos += len(w)
	return true
}

func (c *checker) array(depth int) bool {
	if c.pos++; c.word("]") {
		return true
	}
	for c.value(depth + 1) {
		if !c.word(",") {
			return c.word("]")
		}
	}
	return false
}

func (c *checker) object(depth int) bool {
	if c.pos++; c.word("}") {
		return true
	}
	for last := ""; ; {
		start := c.pos
		if c.next() != '"' || !c.quoted() {
			return false
		}
		name := c.text[start:c.pos]
		if last != "" && !ordered(last, name) {
			return false
		}
		last = name
		if !c.word(":") || !c.value(depth+1) {
			return false
		}
		if !c.word(",") {
			return c.word("}")
		}
	}
}

// ordered reports whether a member called a stands before one called b; both
// are canonical strings with their quotes.
func ordered(a, b string) bool {
	a, errA := unquote(a)
	b, errB := unquote(b)
	return errA == nil && errB == nil && compareUTF16(a, b) < 0
}

// quoted takes a string. Most are printable ASCII and stand for themselves; of
// the others the parser and the writer know best.
func (c *checker) quoted() bool {
	start := c.pos
	c.pos += 1 + plainRun(c.text[c.pos+1:])
	if c.next() == '"' {
		c.pos++
		return true
	}
	if c.pos = quotedEnd(c.text, start); c.pos == 0 {
		return false
	}
	quoted := c.text[start:c.pos]
	p := parser{src: []byte(quoted), copy: quoted}
	text, err := p.text()
	return err == nil && string(AppendString(make([]byte, 0, len(quoted)), text)) == quoted
}

// number takes a number. Whole ones of 15 digits are doubles without loss, and
// written as they are.
func (c *checker) number() bool {
	start := c.pos
	for c.next() >= '0' && c.next() <= '9' {
		c.pos++
	}
	whole := c.text[start:c.pos]
	for c.pos < len(c.text) && inNumber(c.text[c.pos]) {
		c.pos++
	}
	number := c.text[start:c.pos]
	if number == whole && len(whole) <= 15 && (whole[0] != '0' || len(whole) == 1) {
		return true
	}
	f, err := strconv.ParseFloat(number, 64)
	var written [32]byte
	return err == nil && string(AppendNumber(written[:0], f)) == number
}

func inNumber(b byte) bool {
	return b >= '0' && b <= '9' || b == '.' || b == '-' || b == '+' || b == 'e' || b == 'E'
}
