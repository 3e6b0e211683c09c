package value

import (
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Append writes v as JSON.stringify(v) does: compact, undefined fields dropped, undefined items and non-finite numbers as null.
// An undefined v itself writes nothing.
func Append(dst []byte, v Value) []byte {
	e := encoder{dst: dst}
	e.value(v, "")
	return e.dst
}

// AppendIndent writes v as JSON.stringify(v, null, 2) does. Every line after the first starts with prefix.
func AppendIndent(dst []byte, v Value, prefix string) []byte {
	e := encoder{dst: dst, pretty: true}
	e.value(v, prefix)
	return e.dst
}

// WriteIndent writes v to w as [AppendIndent] does, a piece at a time.
func WriteIndent(w io.Writer, v Value, prefix string) error {
	e := encoder{pretty: true, w: w}
	e.value(v, prefix)
	e.flush()
	return e.err
}

// JSON returns v as compact JSON text; "" if v is undefined.
func (v Value) JSON() string { return string(Append(nil, v)) }

// Pretty returns v as JSON with two blanks of indentation; "" if v is undefined.
func (v Value) Pretty() string { return string(AppendIndent(nil, v, "")) }

// Plain returns a string as it is and everything else as compact JSON; "" if v is undefined.
func (v Value) Plain() string {
	if s, ok := v.AsString(); ok {
		return s
	}
	return v.JSON()
}

// Canonical returns v as compact JSON with the keys of every object sorted by UTF-16 units: the text that is hashed and compared.
// Keys that are array indices stay first, as they do in the original.
func Canonical(v Value) string { return string(Append(nil, sorted(v))) }

func sorted(v Value) Value {
	switch v.Kind() {
	case KindList:
		items, _ := v.AsList()
		out := make([]Value, len(items))
		for i, item := range items {
			out[i] = sorted(item)
		}
		return List(out...)
	case KindObject:
		o, _ := v.AsObject()
		var b Builder
		for _, k := range slices.SortedFunc(slices.Values(o.Keys()), Compare16) {
			f, _ := o.Get(k)
			b.Set(k, sorted(f))
		}
		return b.Value()
	}
	return v
}

type encoder struct {
	dst    []byte
	pretty bool
	w      io.Writer // where dst goes when it is long; nil keeps it
	err    error     // of w
}

// pieceSize is how much text is gathered before it is written.
const pieceSize = 32 << 10

func (e *encoder) flush() {
	if e.err == nil {
		_, e.err = e.w.Write(e.dst)
	}
	e.dst = e.dst[:0]
}

// value writes v; prefix is what a new line at this depth starts with.
func (e *encoder) value(v Value, prefix string) {
	switch v.Kind() {
	case KindNull:
		e.dst = append(e.dst, "null"...)
	case KindBool:
		e.dst = append(e.dst, Text(v)...)
	case KindNumber:
		e.number(math.Float64frombits(v.num))
	case KindString:
		s, _ := v.AsString()
		e.dst = AppendQuoted(e.dst, s)
	case KindList:
		items, _ := v.AsList()
		e.list(items, prefix)
	case KindObject:
		o, _ := v.AsObject()
		e.object(o, prefix)
	}
}

func (e *encoder) number(f float64) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		e.dst = append(e.dst, "null"...)
		return
	}
	e.dst = appendNumber(e.dst, f)
}

func (e *encoder) list(items []Value, prefix string) {
	inner := e.inner(prefix)
	e.dst = append(e.dst, '[')
	for i, item := range items {
		e.separate(i, inner)
		if item.IsUndefined() {
			item = Null
		}
		e.value(item, inner)
	}
	e.close(len(items), prefix, ']')
}

func (e *encoder) object(o *Object, prefix string) {
	inner := e.inner(prefix)
	n := 0
	e.dst = append(e.dst, '{')
	for k, v := range o.All() {
		if v.IsUndefined() {
			continue
		}
		e.separate(n, inner)
		e.dst = append(AppendQuoted(e.dst, k), ':')
		if e.pretty {
			e.dst = append(e.dst, ' ')
		}
		e.value(v, inner)
		n++
	}
	e.close(n, prefix, '}')
}

func (e *encoder) inner(prefix string) string {
	if e.pretty {
		return prefix + "  "
	}
	return ""
}

func (e *encoder) separate(n int, inner string) {
	if e.w != nil && len(e.dst) >= pieceSize {
		e.flush()
	}
	if n > 0 {
		e.dst = append(e.dst, ',')
	}
	if e.pretty {
		e.dst = append(append(e.dst, '\n'), inner...)
	}
}

func (e *encoder) close(n int, prefix string, bracket byte) {
	if e.pretty && n > 0 {
		e.dst = append(append(e.dst, '\n'), prefix...)
	}
	e.dst = append(e.dst, bracket)
}

const hex = "0123456789abcdef"

// AppendQuoted writes s as a JSON string the way JSON.stringify does: only quotes, backslashes, control characters and lone
// surrogates are escaped. Two of those that make a pair, because texts were joined between them, are one character.
func AppendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c != 0xED {
			continue
		}
		if c == 0xED {
			r, n := joined(s[i:])
			if n == 0 {
				continue
			}
			if dst = append(dst, s[start:i]...); n == 6 {
				dst = utf8.AppendRune(dst, r)
			} else {
				dst = append(dst, '\\', 'u', hex[r>>12], hex[r>>8&15], hex[r>>4&15], hex[r&15])
			}
			i += n - 1
		} else {
			dst = appendEscape(append(dst, s[start:i]...), c)
		}
		start = i + 1
	}
	return append(append(dst, s[start:]...), '"')
}

func appendEscape(dst []byte, c byte) []byte {
	if i := strings.IndexByte("\b\t\n\f\r\"\\", c); i >= 0 {
		return append(dst, '\\', `btnfr"\`[i])
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
