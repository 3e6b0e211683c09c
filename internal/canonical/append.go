package canonical

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// The UTF-16 surrogate blocks: high from surrogateHigh, low from surrogateLow.
const (
	surrogateHigh = 0xD800
	surrogateLow  = 0xDC00
	surrogateEnd  = 0xE000
)

// Append appends the canonical text of v, a tree as [Parse] makes it, to dst.
// It panics on any other type, which is a programmer's mistake.
func Append(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case bool:
		return strconv.AppendBool(dst, v)
	case float64:
		return AppendNumber(dst, v)
	case string:
		return AppendString(dst, v)
	case []any:
		return appendArray(dst, v)
	case Object:
		return appendObject(dst, v)
	}
	panic(fmt.Sprintf("canonical: no JSON form for %T", v))
}

func appendArray(dst []byte, list []any) []byte {
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = Append(dst, v)
	}
	return append(dst, ']')
}

func appendObject(dst []byte, obj Object) []byte {
	dst = append(dst, '{')
	for i, m := range obj {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, m.Name), ':')
		dst = Append(dst, m.Value)
	}
	return append(dst, '}')
}

// AppendNumber appends f as ECMAScript's Number::toString prints it (RFC 8785
// section 3.2.2.3): -0 is 0, exponents appear from 1e21 and below 1e-6.
func AppendNumber(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0')
	}
	if abs := math.Abs(f); abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// Go pads the exponent to two digits, ECMAScript does not.
	if n := len(dst); dst[n-2] == '0' && (dst[n-3] == '-' || dst[n-3] == '+') {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

// AppendString appends s as a JSON string with the fewest escapes.
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		if n := plainRun(s[i:]); n > 0 {
			dst = append(dst, s[i:i+n]...)
			i += n
			continue
		}
		r, n := decodeWTF8(s[i:])
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ':
			dst = appendControl(dst, byte(r))
		case r >= surrogateHigh && r < surrogateEnd:
			dst = append(dst, '\\', 'u', 'd', hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return append(dst, '"')
}

func appendControl(dst []byte, c byte) []byte {
	switch c {
	case '\b':
		return append(dst, `\b`...)
	case '\t':
		return append(dst, `\t`...)
	case '\n':
		return append(dst, `\n`...)
	case '\f':
		return append(dst, `\f`...)
	case '\r':
		return append(dst, `\r`...)
	}
	return fmt.Appendf(dst, `\u%04x`, c)
}

// appendWTF8 appends r in UTF-8, a surrogate as its generalised form.
func appendWTF8(dst []byte, r rune) []byte {
	if r >= surrogateHigh && r < surrogateEnd {
		return append(dst, 0xE0|byte(r>>12), 0x80|byte(r>>6&0x3F), 0x80|byte(r&0x3F))
	}
	return utf8.AppendRune(dst, r)
}

// decodeWTF8 decodes the first character of s, a surrogate included.
func decodeWTF8(s string) (rune, int) {
	if len(s) >= 3 && s[0] == 0xED && s[1] >= 0xA0 {
		return 0xD000 | rune(s[1]&0x3F)<<6 | rune(s[2]&0x3F), 3
	}
	return utf8.DecodeRuneInString(s)
}

// compareUTF16 orders names by UTF-16 code units, as RFC 8785 demands; that
// differs from byte order only where surrogates meet U+E000 and above, whose
// first bytes are all 0xED or more.
func compareUTF16(a, b string) int {
	shorter, i := min(len(a), len(b)), 0
	for i < shorter && a[i] == b[i] {
		i++
	}
	switch {
	case i == shorter:
		return cmp.Compare(len(a), len(b))
	case min(a[i], b[i]) < 0xED:
		return cmp.Compare(a[i], b[i])
	}
	return slices.Compare(units(a), units(b))
}

func units(s string) []uint16 {
	list := make([]uint16, 0, len(s))
	for s != "" {
		r, n := decodeWTF8(s)
		if r >= surrogateHigh && r < surrogateEnd {
			list = append(list, uint16(r))
		} else {
			list = utf16.AppendRune(list, r)
		}
		s = s[n:]
	}
	return list
}
