package workflow

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"lobstah/flow/value"
)

var (
	coreInt   = regexp.MustCompile(`^[-+]?[0-9]+$`)
	coreOctal = regexp.MustCompile(`^0o[0-7]+$`)
	coreHex   = regexp.MustCompile(`^0x[0-9a-fA-F]+$`)
	coreFloat = regexp.MustCompile(`^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$`)
	coreInf   = regexp.MustCompile(`^[-+]?\.(?:inf|Inf|INF)$`)
)

// resolvePlain gives an unquoted scalar its value by YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema): 012 is twelve,
// 0o14 is octal, yes and on are text, and so are dates and 1_000.
func resolvePlain(text string) value.Value {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return value.Null
	case "true", "True", "TRUE":
		return value.True
	case "false", "False", "FALSE":
		return value.False
	case ".nan", ".NaN", ".NAN":
		return value.Number(math.NaN())
	}
	if f, ok := resolveNumber(text); ok {
		return value.Number(f)
	}
	return value.String(value.Clean(text))
}

func resolveNumber(text string) (float64, bool) {
	if c := text[0]; c != '-' && c != '+' && c != '.' && (c < '0' || c > '9') {
		return 0, false
	}
	switch {
	case coreOctal.MatchString(text):
		return radix(text[2:], 8), true
	case coreHex.MatchString(text):
		return radix(text[2:], 16), true
	case coreInt.MatchString(text), coreFloat.MatchString(text):
		f, _ := strconv.ParseFloat(text, 64) // out of range gives an infinity, as in JavaScript
		return f, true
	case coreInf.MatchString(text):
		sign := 1
		if strings.HasPrefix(text, "-") {
			sign = -1
		}
		return math.Inf(sign), true
	}
	return 0, false
}

func radix(digits string, base int) float64 {
	var f float64
	for _, c := range strings.ToLower(digits) {
		d := int(c - '0')
		if c >= 'a' {
			d = int(c-'a') + 10
		}
		f = f*float64(base) + float64(d)
	}
	return f
}
