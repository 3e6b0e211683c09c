package value

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// FormatNumber is JavaScript's String(f): the shortest text that reads back as f.
func FormatNumber(f float64) string { return string(appendNumber(nil, f)) }

func appendNumber(dst []byte, f float64) []byte {
	switch {
	case f == 0:
		return append(dst, '0') // -0 too
	case f != f:
		return append(dst, "NaN"...)
	case math.IsInf(f, 0):
		return append(dst, map[bool]string{true: "Infinity", false: "-Infinity"}[f > 0]...)
	case f == math.Trunc(f) && math.Abs(f) < 1e15:
		return strconv.AppendInt(dst, int64(f), 10)
	}
	if abs := math.Abs(f); abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	return appendExponent(dst, strconv.FormatFloat(f, 'e', -1, 64))
}

// appendExponent writes Go's 1e-07 as JavaScript's 1e-7.
func appendExponent(dst []byte, s string) []byte {
	mantissa, exp, _ := strings.Cut(s, "e")
	dst = append(dst, mantissa...)
	dst = append(dst, 'e', exp[0])
	return append(dst, strings.TrimLeft(exp[1:], "0")...)
}

// ParseNumber is JavaScript's Number(s): NaN if s is not a number, 0 if it is blank.
func ParseNumber(s string) float64 {
	s = Trim(s)
	switch s {
	case "":
		return 0
	case "Infinity", "+Infinity":
		return math.Inf(1)
	case "-Infinity":
		return math.Inf(-1)
	}
	if len(s) > 2 && s[0] == '0' {
		if base := radix(s[1]); base != 0 {
			return parseRadix(s[2:], base)
		}
	}
	if n := decimalPrefix(s); n == 0 || n != len(s) {
		return math.NaN()
	}
	f, _ := strconv.ParseFloat(s, 64) // a range error still gives the infinity that JavaScript gives
	return f
}

func radix(c byte) int {
	switch c {
	case 'x', 'X':
		return 16
	case 'o', 'O':
		return 8
	case 'b', 'B':
		return 2
	}
	return 0
}

func parseRadix(digits string, base int) float64 {
	if strings.ContainsAny(digits, "+-_") {
		return math.NaN()
	}
	n, ok := new(big.Int).SetString(digits, base)
	if !ok {
		return math.NaN()
	}
	f, _ := new(big.Float).SetInt(n).Float64()
	return f
}

// decimalPrefix returns the length of the decimal literal that s starts with: sign, digits with an optional point, exponent.
func decimalPrefix(s string) int {
	i := 0
	if i < len(s) && (s[i] == '+' || s[i] == '-') {
		i++
	}
	whole := digitRun(s[i:])
	i += whole
	fraction := 0
	if i < len(s) && s[i] == '.' {
		fraction = digitRun(s[i+1:])
		if whole+fraction == 0 {
			return 0
		}
		i += 1 + fraction
	}
	if whole+fraction == 0 {
		return 0
	}
	return i + exponentRun(s[i:])
}

func digitRun(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

func exponentRun(s string) int {
	if s == "" || s[0]|0x20 != 'e' {
		return 0
	}
	sign := 0
	if len(s) > 1 && (s[1] == '+' || s[1] == '-') {
		sign = 1
	}
	if n := digitRun(s[1+sign:]); n > 0 {
		return 1 + sign + n
	}
	return 0
}

// ParseInt is JavaScript's parseInt(s, 10): the number that s starts with, or NaN.
func ParseInt(s string) float64 {
	s = strings.TrimLeftFunc(s, IsSpace)
	i := 0
	if s != "" && (s[0] == '+' || s[0] == '-') {
		i = 1
	}
	n := digitRun(s[i:])
	if n == 0 {
		return math.NaN()
	}
	f, _ := strconv.ParseFloat(s[:i+n], 64)
	return f
}

// Fixed is JavaScript's f.toFixed(digits): a tie goes away from zero.
func Fixed(f float64, digits int) string {
	switch {
	case f != f || math.Abs(f) >= 1e21:
		return FormatNumber(f)
	case f == 0:
		f = 0 // -0 has no sign here
	}
	if long := strconv.FormatFloat(f, 'f', digits+1, 64); strings.HasSuffix(long, "5") && isExact(f, long) {
		return roundUp(strings.TrimSuffix(long, "5"))
	}
	return strconv.FormatFloat(f, 'f', digits, 64)
}

// roundUp adds one to the last digit of a decimal, away from zero. A point at its end is dropped.
func roundUp(text string) string {
	text = strings.TrimSuffix(text, ".")
	digits := []byte(text)
	for i := len(digits) - 1; i >= 0; i-- {
		switch c := digits[i]; {
		case c >= '0' && c < '9':
			digits[i]++
			return string(digits)
		case c == '9':
			digits[i] = '0'
		case c == '-':
			return "-1" + string(digits[1:])
		}
	}
	return "1" + string(digits)
}

func isExact(f float64, text string) bool {
	r, ok := new(big.Rat).SetString(text)
	return ok && r.Cmp(new(big.Rat).SetFloat64(f)) == 0
}
