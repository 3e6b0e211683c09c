package stdlib

import (
	"fmt"
	"math"
	"regexp"
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func whereCommand() interp.Command {
	return interp.Command{
		Name:        "where",
		Description: "Keep the items for which a comparison holds",
		Help:        "where 'status=open'\nwhere 'size>=100'\nwhere 'author.name!=bot'\n\nOperators: = == != < <= > >=. Both sides convert as in JavaScript: \"5\" equals 5.",
		Params:      []interp.Param{positional()},
		Required:    []string{"_"},
		Lazy:        true,
		Run:         lazily(where),
	}
}

func where(call *interp.Call) (interp.Seq, error) {
	test, err := parseWhere(call.Args.First())
	if err != nil {
		return nil, err
	}
	return interp.Filter(call.Input, test.holds), nil
}

// comparison is one parsed where expression.
type comparison struct {
	path []string
	op   string
	want value.Value
}

var wherePattern = regexp.MustCompile(`(?s)^([A-Za-z0-9_.]+)[` + blanks + `]*(==|=|!=|<=|>=|<|>)[` + blanks + `]*(.+)$`)

// blanks are the members of JavaScript's \s, for a character class.
const blanks = `\t\n\v\f\r \x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}\x{FEFF}`

func parseWhere(expr string) (comparison, error) {
	if expr == "" {
		return comparison{}, fault("where requires an expression (e.g. field=value)")
	}
	m := wherePattern.FindStringSubmatch(expr)
	if m == nil || strings.ContainsAny(m[3], "\n\r\u2028\u2029") {
		return comparison{}, fmt.Errorf("Invalid where expression: %s", expr)
	}
	return comparison{path: strings.Split(m[1], "."), op: m[2], want: literal(m[3])}, nil
}

// literal reads the right side: a keyword, a number or else the text.
func literal(text string) value.Value {
	switch text {
	case "true":
		return value.True
	case "false":
		return value.False
	case "null":
		return value.Null
	}
	if n := value.ParseNumber(text); !math.IsNaN(n) && value.Trim(text) != "" {
		return value.Number(n)
	}
	return value.String(text)
}

// fieldAt follows a path like lookup, except that a text has neither characters nor a length here.
func fieldAt(v value.Value, path []string) value.Value {
	for _, s := range path {
		if k := v.Kind(); k != value.KindObject && k != value.KindList {
			return value.Undefined
		}
		v = v.Property(s)
	}
	return v
}

func (c comparison) holds(item value.Value) bool {
	got := fieldAt(item, c.path)
	switch c.op {
	case "=", "==":
		return value.LooseEqual(got, c.want)
	case "!=":
		return !value.LooseEqual(got, c.want)
	}
	order, comparable := value.Order(got, c.want)
	switch c.op {
	case "<":
		return comparable && order < 0
	case "<=":
		return comparable && order <= 0
	case ">":
		return comparable && order > 0
	}
	return comparable && order >= 0
}
