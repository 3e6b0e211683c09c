package value

import (
	"fmt"
	"strconv"
	"strings"
)

// Visible returns s as it may be shown to a person who decides by what they see: characters that move the cursor, colour or hide text, or turn
// its direction are spelled as escapes such as \u001b. Line ends, tabs and the joiners that scripts and emoji need stay.
func Visible(s string) string {
	if strings.IndexFunc(s, isHidden) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\r' && strings.HasPrefix(s[i:], "\r\n"), !isHidden(r):
			b.WriteRune(r)
		case r > 0xFFFF:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func isHidden(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	switch r {
	case '\n', '\t', nonJoiner, joiner, '\u00a0', '\u202f', '\u3000':
		return false
	}
	return !strconv.IsPrint(r)
}

// VisibleLine is [Visible] for a place that has one line.
func VisibleLine(s string) string {
	return strings.NewReplacer("\r\n", " ", "\n", " ", "\t", " ").Replace(Visible(s))
}
