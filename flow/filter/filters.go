package filter

import (
	"fmt"
	"math"
	"strings"

	"lobstah/flow/value"
)

// Apply applies one filter call, such as `truncate 40`, to v.
func Apply(v value.Value, call string) (value.Value, error) {
	name, args := "", []string(nil)
	if words := callWords(call); len(words) > 0 {
		name, args = words[0], words[1:]
	}
	f, ok := filters[name]
	if !ok {
		return value.Undefined, fmt.Errorf("Unknown template filter: %s", name)
	}
	if digits := value.ParseInt(arg(args, 0, "0")); name == "round" && !math.IsNaN(value.ToNumber(v)) && (digits < 0 || digits > 100) {
		return value.Undefined, fmt.Errorf("toFixed() digits argument must be between 0 and 100")
	}
	return f(v, args), nil
}

// upperSpecial are the lower-case letters whose capital is more than one letter, which strings.ToUpper leaves as they are.
var upperSpecial = strings.NewReplacer("ß", "SS", "ŉ", "ʼN", "ﬀ", "FF", "ﬁ", "FI", "ﬂ", "FL", "ﬃ", "FFI", "ﬄ", "FFL", "ﬅ", "ST", "ﬆ", "ST")

// filters by name. Each gets the value and the words after its name.
var filters = map[string]func(v value.Value, args []string) value.Value{
	"upper":    text(func(s string, _ []string) string { return upperSpecial.Replace(strings.ToUpper(s)) }),
	"lower":    text(func(s string, _ []string) string { return strings.ToLower(s) }),
	"trim":     text(func(s string, _ []string) string { return value.Trim(s) }),
	"string":   text(func(s string, _ []string) string { return s }),
	"truncate": text(truncate),
	"replace":  text(replace),
	"split":    split,
	"first":    first,
	"last":     last,
	"length":   length,
	"join":     join,
	"json":     pretty,
	"default":  fallback,
	"round":    round,
	"date":     date,
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

func text(f func(s string, args []string) string) func(value.Value, []string) value.Value {
	return func(v value.Value, args []string) value.Value { return value.String(f(textOf(v), args)) }
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
func replace(s string, args []string) string {
	from, to := arg(args, 0, ""), arg(args, 1, "")
	if from == "" {
		return between(s, to)
	}
	var b strings.Builder
	done := 0
	for {
		i := strings.Index(s[done:], from)
		if i < 0 || b.Len() > MaxOutput {
			return b.String() + s[done:]
		}
		at, end := done+i, done+i+len(from)
		b.WriteString(s[done:at] + expand(to, s[:at], from, s[end:]))
		done = end
	}
}

// between inserts to before, after and between all characters.
func between(s, to string) string {
	insert := value.Units(expand(to, "", "", ""))
	out := value.Units(expand(to, "", "", s))
	for _, unit := range value.Units(s) {
		out = append(append(out, unit), insert...)
	}
	return value.FromUnits(out) // halves of a character that stay side by side are one again
}

// expand fills in JavaScript's replacement patterns.
func expand(to, before, found, after string) string {
	if !strings.Contains(to, "$") {
		return to
	}
	return strings.NewReplacer("$$", "$", "$&", found, "$`", before, "$'", after).Replace(to)
}

func split(v value.Value, args []string) value.Value {
	s, sep := textOf(v), arg(args, 0, ",")
	if sep != "" {
		return value.Strings(strings.Split(s, sep))
	}
	units := value.Units(s)
	parts := make([]string, len(units))
	for i := range units {
		parts[i] = value.FromUnits(units[i : i+1])
	}
	return value.Strings(parts)
}

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

func join(v value.Value, args []string) value.Value {
	if v.Kind() == value.KindList {
		return value.String(value.Join(v, arg(args, 0, ", ")))
	}
	return value.String(textOf(v))
}

func pretty(v value.Value, _ []string) value.Value {
	if v.IsUndefined() {
		return v
	}
	return value.String(v.Pretty())
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
