package cli

import (
	"io"
	"strings"
	"unicode"
)

// A Style colours text, or leaves it alone: the zero Style is plain.
type Style struct{ on bool }

// Style returns colours when w is a terminal that shows them and nobody
// objected (https://no-color.org, TERM=dumb).
func (s IO) Style(w io.Writer) Style {
	return Style{Terminal(w) && s.Getenv("NO_COLOR") == "" && s.Getenv("TERM") != "dumb" && enableColour(w)}
}

func (s Style) wrap(code, text string) string {
	if !s.on {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Red marks errors.
func (s Style) Red(text string) string { return s.wrap("31", text) }

// Yellow marks warnings.
func (s Style) Yellow(text string) string { return s.wrap("33", text) }

// Green marks what was checked and is well.
func (s Style) Green(text string) string { return s.wrap("32", text) }

// Cyan marks hints.
func (s Style) Cyan(text string) string { return s.wrap("36", text) }

// Bold marks what to look at first.
func (s Style) Bold(text string) string { return s.wrap("1", text) }

// Dim marks what may be skipped.
func (s Style) Dim(text string) string { return s.wrap("2", text) }

// Clean takes out of foreign text what a terminal would obey: control
// characters other than line feed and tab, and the characters that turn the
// direction of writing.
func Clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), r == '\u061C', r >= '\u200E' && r <= '\u200F',
			r >= '\u202A' && r <= '\u202E', r >= '\u2066' && r <= '\u2069':
			return -1
		}
		return r
	}, text)
}

// CleanLine is Clean for text that has to stay on one line.
func CleanLine(text string) string {
	return strings.Join(strings.Fields(Clean(text)), " ")
}
