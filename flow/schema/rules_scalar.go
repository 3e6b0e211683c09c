package schema

import (
	"math"
	"unicode/utf8"

	"lobstah/flow/value"
)

// The rules for numbers and strings.

func (n *node) compare(k value.Value, sign string, ok func(v, limit float64) bool) bool {
	return ok(value.ToNumber(n.v), value.ToNumber(k)) || n.extra(n.c, "must be %s %s", sign, value.Text(k))
}

func maximum(n *node, k value.Value) bool {
	return n.compare(k, "<=", func(v, l float64) bool { return v <= l })
}

func minimum(n *node, k value.Value) bool {
	return n.compare(k, ">=", func(v, l float64) bool { return v >= l })
}

func exclusiveMaximum(n *node, k value.Value) bool {
	return n.compare(k, "<", func(v, l float64) bool { return v < l })
}

func exclusiveMinimum(n *node, k value.Value) bool {
	return n.compare(k, ">", func(v, l float64) bool { return v > l })
}

func multipleOf(n *node, k value.Value) bool {
	q := value.ToNumber(n.v) / value.ToNumber(k)
	return q == math.Trunc(q) && !math.IsInf(q, 0) || n.extra(n.c, "must be multiple of %s", value.Text(k))
}

func (n *node) atMost(size int, k value.Value, what string) bool {
	return float64(size) <= value.ToNumber(k) || n.extra(n.c, "must NOT have more than %s %s", value.Text(k), what)
}

func (n *node) atLeast(size int, k value.Value, what string) bool {
	return float64(size) >= value.ToNumber(k) || n.extra(n.c, "must NOT have fewer than %s %s", value.Text(k), what)
}

func maxLength(n *node, k value.Value) bool {
	return n.atMost(utf8.RuneCountInString(value.Text(n.v)), k, "characters")
}

func minLength(n *node, k value.Value) bool {
	return n.atLeast(utf8.RuneCountInString(value.Text(n.v)), k, "characters")
}

func matches(n *node, k value.Value) bool {
	return n.run.schema.patterns[value.Text(k)].MatchString(value.Text(n.v)) || n.extra(n.c, `must match pattern "%s"`, value.Text(k))
}
