package syntax

import (
	"fmt"
	"strings"

	"lobstah/flow/value"
)

// Error is a fault in the text of a pipeline.
type Error struct {
	Message string // the original program's words
	Hint    string // what to do about it
	Text    string // the whole text
	Offset  int    // where in it, in bytes
}

// Error returns the message alone, which is what callers of the original compare with.
func (e *Error) Error() string { return e.Message }

// Position returns the 1-based line and column (in characters) of the fault.
func (e *Error) Position() (line, column int) {
	before := e.Text[:min(e.Offset, len(e.Text))]
	last := strings.LastIndexByte(before, '\n')
	return strings.Count(before, "\n") + 1, value.Len16(before[last+1:]) + 1
}

// Detail returns the message with its position, the line and a caret under the fault.
func (e *Error) Detail() string {
	line, column := e.Position()
	source := strings.Split(e.Text, "\n")[line-1]
	out := fmt.Sprintf("%d:%d: %s\n  %s\n  %s^", line, column, e.Message, source, pad(source, column-1))
	if e.Hint != "" {
		out += "\nhint: " + e.Hint
	}
	return out
}

// pad returns blanks as wide as the first n characters of source; tabs stay tabs.
func pad(source string, n int) string {
	var b strings.Builder
	for _, r := range value.Cut16(source, n) {
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}
