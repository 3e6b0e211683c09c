package filter

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"lobstah/flow/value"
	"lobstah/internal/spelling"
)

// Apply applies one filter call, such as `truncate 40`, to v.
func Apply(v value.Value, call string) (value.Value, error) {
	name, args := "", []string(nil)
	if words := callWords(call); len(words) > 0 {
		name, args = words[0], words[1:]
	}
	f, ok := filters[name]
	if !ok {
		return value.Undefined, UnknownError{name}
	}
	if digits := value.ParseInt(arg(args, 0, "0")); name == "round" && !math.IsNaN(value.ToNumber(v)) && (digits < 0 || digits > 100) {
		return value.Undefined, fmt.Errorf("toFixed() digits argument must be between 0 and 100")
	}
	return f(v, args)
}

// UnknownError is a filter that does not exist.
type UnknownError struct{ Name string }

func (e UnknownError) Error() string { return "Unknown template filter: " + e.Name }

// Hint names the filter that was probably meant, or all.
func (e UnknownError) Hint() string {
	names := slices.Sorted(maps.Keys(filters))
	for _, n := range names {
		if spelling.Distance(value.Cut16(e.Name, 64), n) <= 2 {
			return "did you mean " + n + "?"
		}
	}
	return "filters are " + strings.Join(names, ", ")
}

// Unknown returns the first filter of a template that does not exist; ok is false if all do.
func Unknown(text string) (e UnknownError, ok bool) {
	for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
		for _, part := range splitBars(m[1])[1:] {
			words := append(callWords(value.Trim(part)), "")
			if filters[words[0]] == nil {
				return UnknownError{words[0]}, true
			}
		}
	}
	return UnknownError{}, false
}

// errTooLarge says that a template, or a value within one of its placeholders, would be larger than MaxOutput.
var errTooLarge = errors.New("template renders to more than 64 MiB")

// filters by name. Each gets the value and the words after its name. Those whose result may be many times as large as what they get, or grow
// with each call in a chain, say errTooLarge before they make it.
var filters = map[string]func(v value.Value, args []string) (value.Value, error){
	"upper":    text(func(s string, _ []string) string { return value.Upper(s) }),
	"lower":    text(func(s string, _ []string) string { return value.Lower(s) }),
	"trim":     text(func(s string, _ []string) string { return value.Trim(s) }),
	"string":   text(func(s string, _ []string) string { return s }),
	"truncate": text(truncate),
	"replace":  replace,
	"split":    split,
	"first":    small(first),
	"last":     small(last),
	"length":   small(length),
	"join":     join,
	"json":     pretty,
	"default":  small(fallback),
	"round":    small(round),
	"date":     small(date),
}

// arg returns the i-th argument, or other if there is none.
func arg(args []string, i int, other string) string {
	if i < len(args) {
		return args[i]
	}
	return other
}

// textOf is String(v), and empty for null and undefined.
func textOf(v value.Value) string {
	if v.IsNullish() {
		return ""
	}
	return value.Text(v)
}

// small makes a filter of a function whose result is no larger than what it gets.
func small(f func(value.Value, []string) value.Value) func(value.Value, []string) (value.Value, error) {
	return func(v value.Value, args []string) (value.Value, error) { return f(v, args), nil }
}

func text(f func(s string, args []string) string) func(value.Value, []string) (value.Value, error) {
	return small(func(v value.Value, args []string) value.Value { return value.String(f(textOf(v), args)) })
}

func truncate(s string, args []string) string {
	n := value.ParseInt(arg(args, 0, ""))
	if math.IsNaN(n) {
		n = 80
	}
	units := value.Units(s)
	if float64(len(units)) <= n {
		return s
	}
	if n < 0 { // slice(0, n) counts from the end
		n = max(0, float64(len(units))+n)
	}
	return value.FromUnits(units[:int(n)]) + "..."
}

// replace replaces every occurrence; in the replacement $$ is a dollar, $& the text found, $` and $' what is before and after it.
func replace(v value.Value, args []string) (value.Value, error) {
	s, from, to := textOf(v), arg(args, 0, ""), arg(args, 1, "")
	if from == "" {
		return between(s, to)
	}
	var b strings.Builder
	done := 0
	for {
		i := strings.Index(s[done:], from)
		if i < 0 {
			b.WriteString(s[done:])
			return value.String(b.String()), nil
		}
		at, end := done+i, done+i+len(from)
		with := replacement{to, s[:at], from, s[end:]}
		if b.Len()+i+with.size() > MaxOutput {
			return value.Undefined, errTooLarge
		}
		b.WriteString(s[done:at] + with.text())
		done = end
	}
}

// between puts to before, after and between all characters.
func between(s, to string) (value.Value, error) {
	units := value.Units(s)
	at := func(int) replacement { return replacement{to: to} }
	if strings.Contains(to, "$`") || strings.Contains(to, "$'") {
		at = func(i int) replacement {
			return replacement{to, value.FromUnits(units[:i]), "", value.FromUnits(units[i:])}
		}
	}
	if len(s)+(len(units)+1)*(replacement{to, s, "", ""}).size() > MaxOutput {
		return value.Undefined, errTooLarge
	}
	var out []uint16
	for i, unit := range units {
		out = append(append(out, value.Units(at(i).text())...), unit)
	}
	out = append(out, value.Units(at(len(units)).text())...)
	return value.String(value.FromUnits(out)), nil // halves of a character that stay side by side are one again
}

// replacement is what a text is replaced by, with JavaScript's patterns still in it, and what they stand for.
type replacement struct{ to, before, found, after string }

// size is at least how long the text is, unless before stands for all that is around.
func (r replacement) size() int {
	around := max(len(r.before), len(r.after))
	return len(r.to) + (strings.Count(r.to, "$`")+strings.Count(r.to, "$'"))*around + strings.Count(r.to, "$&")*len(r.found)
}

func (r replacement) text() string {
	if !strings.Contains(r.to, "$") {
		return r.to
	}
	return strings.NewReplacer("$$", "$", "$&", r.found, "$`", r.before, "$'", r.after).Replace(r.to)
}

func split(v value.Value, args []string) (value.Value, error) {
	const pieceBytes = 32
	s, sep := textOf(v), arg(args, 0, ",")
	if sep != "" {
		if strings.Count(s, sep)*pieceBytes > maxPieces {
			return value.Undefined, errTooLarge
		}
		return value.Strings(strings.Split(s, sep)), nil
	}
	if len(s)*pieceBytes > maxPieces {
		return value.Undefined, errTooLarge
	}
	units := value.Units(s)
	parts := make([]string, len(units))
	for i := range units {
		parts[i] = value.FromUnits(units[i : i+1])
	}
	return value.Strings(parts), nil
}

// maxPieces caps the memory of a list that split makes, beside the text itself.
const maxPieces = 4 * MaxOutput

func first(v value.Value, _ []string) value.Value {
	if v.Kind() == value.KindList {
		return v.Property("0")
	}
	return v
}

func last(v value.Value, _ []string) value.Value {
	items, ok := v.AsList()
	if !ok {
		return v
	}
	if len(items) == 0 {
		return value.Undefined
	}
	return items[len(items)-1]
}

func length(v value.Value, _ []string) value.Value {
	if k := v.Kind(); k == value.KindList || k == value.KindString {
		return v.Property("length")
	}
	return value.Int(0)
}

func join(v value.Value, args []string) (value.Value, error) {
	if v.Kind() != value.KindList {
		return value.String(textOf(v)), nil
	}
	items, _ := v.AsList()
	sep := arg(args, 0, ", ")
	if len(items)*len(sep) > MaxOutput {
		return value.Undefined, errTooLarge
	}
	return value.String(value.Join(v, sep)), nil
}

func pretty(v value.Value, _ []string) (value.Value, error) {
	if v.IsUndefined() {
		return v, nil
	}
	var out capped
	if err := value.WriteIndent(&out, v, ""); err != nil {
		return value.Undefined, err
	}
	return value.String(out.String()), nil
}

// capped is a text that may grow to MaxOutput.
type capped struct{ strings.Builder }

func (c *capped) Write(b []byte) (int, error) {
	if c.Len()+len(b) > MaxOutput {
		return 0, errTooLarge
	}
	return c.Builder.Write(b)
}

func fallback(v value.Value, args []string) value.Value {
	if s, isText := v.AsString(); v.IsNullish() || (isText && s == "") {
		if len(args) == 0 {
			return value.Undefined
		}
		return value.String(args[0])
	}
	return v
}

func round(v value.Value, args []string) value.Value {
	n := value.ToNumber(v)
	digits := value.ParseInt(arg(args, 0, "0"))
	if math.IsNaN(n) {
		return v
	}
	if math.IsNaN(digits) {
		digits = 0
	}
	return value.Number(value.ParseNumber(value.Fixed(n, int(min(max(digits, 0), 100)))))
}
