package workflow

import (
	"errors"
	"strconv"
	"strings"

	"lobstah/flow/value"
)

// Grammar of conditions, lowest binding first:
//
//	or      = and { "||" and }
//	and     = compare { "&&" compare }
//	compare = unary [ ("==" | "!=" | "<=" | ">=" | "<" | ">") unary ]
//	unary   = { "!" } primary
//	primary = "(" or ")" | "$" id { "." segment } | string | number | "true" | "false" | "null"
//
// A bare word is a string, but only on the right of a comparison. Strings take either quote, with a backslash before any character.

// maxConditionDepth bounds brackets and negations, which nest.
const maxConditionDepth = 200

var errBadCondition = errors.New("bad condition")

// condition is a parsed condition.
type condition interface {
	eval(lookup) (value.Value, error)
}

// lookup finds what a reference stands for; its error ends the evaluation.
type lookup func(ref reference) (value.Value, error)

type (
	literal  struct{ v value.Value }
	negation struct{ of condition }
	logical  struct {
		and         bool
		left, right condition
	}
	comparison struct {
		op          string
		left, right condition
	}
)

func (l literal) eval(lookup) (value.Value, error) { return l.v, nil }

func (r reference) eval(find lookup) (value.Value, error) { return find(r) }

func (n negation) eval(find lookup) (value.Value, error) {
	v, err := n.of.eval(find)
	return value.Bool(!v.Truthy()), err
}

// eval evaluates both sides always, so that a reference to a step that does not exist is never hidden.
func (l logical) eval(find lookup) (value.Value, error) {
	a, err := l.left.eval(find)
	if err != nil {
		return a, err
	}
	b, err := l.right.eval(find)
	if l.and {
		return value.Bool(a.Truthy() && b.Truthy()), err
	}
	return value.Bool(a.Truthy() || b.Truthy()), err
}

func (c comparison) eval(find lookup) (value.Value, error) {
	a, err := c.left.eval(find)
	if err != nil {
		return a, err
	}
	b, err := c.right.eval(find)
	if err != nil {
		return b, err
	}
	switch c.op {
	case "==":
		return value.Bool(value.Same(a, b)), nil
	case "!=":
		return value.Bool(!value.Same(a, b)), nil
	}
	return value.Bool(ordered(c.op, a, b)), nil
}

// ordered compares numbers and numeric strings; anything else is in no order.
func ordered(op string, a, b value.Value) bool {
	x, ok1 := numeric(a)
	y, ok2 := numeric(b)
	if !ok1 || !ok2 {
		return false
	}
	switch op {
	case "<":
		return x < y
	case "<=":
		return x <= y
	case ">":
		return x > y
	}
	return x >= y
}

func numeric(v value.Value) (float64, bool) {
	if f, ok := v.AsNumber(); ok {
		return f, f == f
	}
	s, ok := v.AsString()
	if !ok || value.Trim(s) == "" {
		return 0, false
	}
	f := value.ParseNumber(s)
	return f, f == f
}

// parseCondition reads a condition. The error tells nothing but that there is one; [condFault] says where.
func parseCondition(text string) (condition, error) {
	p := &condParser{src: text}
	c, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.skip(); p.pos < len(p.src) {
		return nil, errBadCondition
	}
	return c, nil
}

type condParser struct {
	src string
	pos int
}

// or reads the lowest level; depth counts brackets and negations around it.
func (p *condParser) or(depth int) (condition, error) {
	left, err := p.and(depth)
	for err == nil && p.take("||") {
		var right condition
		if right, err = p.and(depth); err == nil {
			left = logical{false, left, right}
		}
	}
	return left, err
}

func (p *condParser) and(depth int) (condition, error) {
	left, err := p.compare(depth)
	for err == nil && p.take("&&") {
		var right condition
		if right, err = p.compare(depth); err == nil {
			left = logical{true, left, right}
		}
	}
	return left, err
}

func (p *condParser) compare(depth int) (condition, error) {
	left, err := p.unary(depth, false)
	if err != nil {
		return nil, err
	}
	for _, op := range []string{"==", "!=", "<=", ">=", "<", ">"} {
		if p.take(op) {
			right, err := p.unary(depth, true)
			return comparison{op, left, right}, err
		}
	}
	return left, nil
}

func (p *condParser) unary(depth int, isRight bool) (condition, error) {
	if depth > maxConditionDepth {
		return nil, errBadCondition
	}
	p.skip()
	if p.pos < len(p.src) && p.src[p.pos] == '!' && !strings.HasPrefix(p.src[p.pos:], "!=") {
		p.pos++
		c, err := p.unary(depth+1, isRight)
		return negation{c}, err
	}
	return p.primary(depth, isRight)
}

func (p *condParser) primary(depth int, isRight bool) (condition, error) {
	if p.take("(") {
		c, err := p.or(depth + 1)
		if err == nil && !p.take(")") {
			err = errBadCondition
		}
		return c, err
	}
	if p.pos >= len(p.src) {
		return nil, errBadCondition
	}
	switch c := p.src[p.pos]; {
	case c == '$':
		return p.reference()
	case c == '"' || c == '\'':
		return p.quoted(c)
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	return p.word(isRight)
}

func (p *condParser) reference() (condition, error) {
	m := refPrefix.FindStringSubmatch(p.src[p.pos:])
	if m == nil {
		return nil, errBadCondition
	}
	p.pos += len(m[0])
	return reference{m[1], m[2]}, nil
}

func (p *condParser) quoted(quote byte) (condition, error) {
	var b strings.Builder
	for i := p.pos + 1; i < len(p.src); i++ {
		switch c := p.src[i]; {
		case c == quote:
			p.pos = i + 1
			return literal{value.String(b.String())}, nil
		case c == '\\' && i+1 < len(p.src):
			i++
			b.WriteByte(p.src[i])
		default:
			b.WriteByte(c)
		}
	}
	return nil, errBadCondition
}

func (p *condParser) number() (condition, error) {
	m := condNumber.FindString(p.src[p.pos:])
	f, err := strconv.ParseFloat(m, 64)
	if m == "" || err != nil && !errors.Is(err, strconv.ErrRange) {
		return nil, errBadCondition
	}
	p.pos += len(m)
	return literal{value.Number(f)}, nil
}

func (p *condParser) word(isRight bool) (condition, error) {
	w := condWord.FindString(p.src[p.pos:])
	p.pos += len(w)
	switch {
	case w == "":
		return nil, errBadCondition
	case w == "true":
		return literal{value.True}, nil
	case w == "false":
		return literal{value.False}, nil
	case w == "null":
		return literal{value.Null}, nil
	case isRight:
		return literal{value.String(w)}, nil
	}
	p.pos -= len(w)
	return nil, errBadCondition
}

// skip passes blanks.
func (p *condParser) skip() {
	p.pos = len(p.src) - len(strings.TrimLeftFunc(p.src[p.pos:], value.IsSpace))
}

// take passes token if it comes next.
func (p *condParser) take(token string) bool {
	p.skip()
	if !strings.HasPrefix(p.src[p.pos:], token) {
		return false
	}
	p.pos += len(token)
	return true
}

// condFault is where a condition stops making sense, as a byte offset.
func condFault(text string) int {
	p := &condParser{src: text}
	_, _ = p.or(0) // only how far it got matters
	p.skip()
	return p.pos
}
