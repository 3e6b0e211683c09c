package value

import (
	"strings"
	"unicode/utf8"
)

// JavaScript measures, cuts and orders strings in UTF-16 units. These do the same to WTF-8 text.

// Len16 returns the length of s in UTF-16 units.
func Len16(s string) int {
	n := 0
	for i := range len(s) {
		switch b := s[i]; {
		case b >= 0xF0:
			n += 2
		case b < 0x80 || b >= 0xC0:
			n++
		}
	}
	return n
}

// Cut16 returns the first n UTF-16 units of s.
func Cut16(s string, n int) string { return Slice16(s, 0, n) }

// Slice16 returns the UTF-16 units from (inclusive) to (exclusive) of s; bounds beyond its ends are moved to them. A pair that
// is cut in two leaves a lone surrogate.
func Slice16(s string, from, to int) string {
	if from <= 0 && len(s) <= to {
		return s
	}
	if from = max(from, 0); to <= from {
		return ""
	}
	start, whole := offset16(s, from)
	size, wholeToo := offset16(s[start:], to-from)
	if whole && wholeToo {
		return s[start : start+size]
	}
	return FromUnits(clip(Units(s), from, to))
}

// offset16 is where the first n units of s end, as a byte offset; whole is false if that is in the middle of a pair.
func offset16(s string, n int) (at int, whole bool) {
	for ; at < len(s); at++ {
		switch b := s[at]; {
		case b >= 0x80 && b < 0xC0:
			continue // within a character
		case n <= 0:
			return at, n == 0
		case b >= 0xF0:
			n -= 2
		default:
			n--
		}
	}
	return at, n >= 0
}

func clip(units []uint16, from, to int) []uint16 {
	from = min(max(from, 0), len(units))
	return units[from:max(from, min(to, len(units)))]
}

// Units returns s as UTF-16 units.
func Units(s string) []uint16 {
	units := make([]uint16, 0, len(s))
	for len(s) > 0 {
		r, n := decodeRune(s)
		s = s[n:]
		if r >= 0x10000 {
			r -= 0x10000
			units = append(units, uint16(0xD800+r>>10), uint16(0xDC00+r&0x3FF))
			continue
		}
		units = append(units, uint16(r))
	}
	return units
}

// FromUnits is the reverse of [Units].
func FromUnits(units []uint16) string {
	dst := make([]byte, 0, len(units))
	for _, u := range units {
		dst = appendUnit(dst, u)
	}
	return string(dst)
}

// appendUnit writes one UTF-16 unit; a low surrogate right after a high one completes the pair.
func appendUnit(dst []byte, u uint16) []byte {
	if u < 0xD800 || u > 0xDFFF {
		return utf8.AppendRune(dst, rune(u))
	}
	if n := len(dst) - 3; u >= 0xDC00 && n >= 0 {
		if high, ok := surrogate(string(dst[n:])); ok && high < 0xDC00 {
			return utf8.AppendRune(dst[:n], 0x10000+(high-0xD800)<<10+rune(u-0xDC00))
		}
	}
	return append(dst, 0xE0|byte(u>>12), 0x80|byte(u>>6&0x3F), 0x80|byte(u&0x3F))
}

// surrogate returns the lone surrogate that the three bytes at the start of s are.
func surrogate(s string) (rune, bool) {
	if len(s) < 3 || s[0] != 0xED || s[1] < 0xA0 || s[1] > 0xBF || s[2]&0xC0 != 0x80 {
		return 0, false
	}
	return 0xD000 | rune(s[1]&0x3F)<<6 | rune(s[2]&0x3F), true
}

// joined reads the surrogate that s starts with: n is 3 for a lone one, 6 for two that make the character r, and 0 for none.
func joined(s string) (r rune, n int) {
	high, ok := surrogate(s)
	if !ok {
		return 0, 0
	}
	if low, ok := surrogate(s[3:]); ok && high < 0xDC00 && low >= 0xDC00 {
		return 0x10000 + (high-0xD800)<<10 + (low - 0xDC00), 6
	}
	return high, 3
}

// UTF8 is s as JavaScript writes it out: two surrogates that meet are one character, and a lone one becomes U+FFFD.
func UTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		switch r, n := joined(s); n {
		case 6:
			b.WriteRune(r)
			s = s[n:]
		case 3:
			b.WriteRune(utf8.RuneError)
			s = s[n:]
		default:
			r, n := utf8.DecodeRuneInString(s)
			b.WriteRune(r)
			s = s[n:]
		}
	}
	return b.String()
}

// decodeRune is utf8.DecodeRuneInString for WTF-8.
func decodeRune(s string) (rune, int) {
	r, n := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && n == 1 {
		if sur, ok := surrogate(s); ok {
			return sur, 3
		}
	}
	return r, n
}

// Compare16 orders a and b by UTF-16 units: -1, 0 or 1. It differs from the order of the bytes only where a character beyond
// U+FFFF meets one from U+E000 to U+FFFF.
func Compare16(a, b string) int {
	for len(a) > 0 && len(b) > 0 {
		x, n := decodeRune(a)
		y, m := decodeRune(b)
		if x != y {
			return compareRunes(x, y)
		}
		a, b = a[n:], b[m:]
	}
	return compareInts(len(a), len(b))
}

func compareRunes(x, y rune) int {
	lead := func(r rune) int {
		if r >= 0x10000 {
			return int(0xD800 + (r-0x10000)>>10)
		}
		return int(r)
	}
	if c := compareInts(lead(x), lead(y)); c != 0 {
		return c
	}
	return compareInts(int(x), int(y))
}

func compareInts(a, b int) int { return min(max(a-b, -1), 1) }

// Clean replaces every ill-formed sequence of s, lone surrogates included, by U+FFFD, as the WHATWG decoder does.
func Clean(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			n = illFormed(s)
		}
		b.WriteRune(r)
		s = s[n:]
	}
	return b.String()
}

// illFormed returns the length of the maximal ill-formed subpart that s starts with: the bytes that one U+FFFD stands for.
func illFormed(s string) int {
	low, high, more := byte(0x80), byte(0xBF), 0
	switch b := s[0]; {
	case b >= 0xC2 && b <= 0xDF:
		more = 1
	case b >= 0xE0 && b <= 0xEF:
		more = 2
	case b >= 0xF0 && b <= 0xF4:
		more = 3
	}
	switch s[0] {
	case 0xE0:
		low = 0xA0
	case 0xED:
		high = 0x9F
	case 0xF0:
		low = 0x90
	case 0xF4:
		high = 0x8F
	}
	n := 1
	for n <= more && n < len(s) && s[n] >= low && s[n] <= high {
		low, high = 0x80, 0xBF
		n++
	}
	return n
}

// IsSpace reports whether r is white space to JavaScript's trim and \s.
func IsSpace(r rune) bool {
	switch r {
	case '\t', '\n', '\v', '\f', '\r', ' ', 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF:
		return true
	}
	return r >= 0x2000 && r <= 0x200A
}

// Trim is JavaScript's trim.
func Trim(s string) string { return strings.TrimFunc(s, IsSpace) }
