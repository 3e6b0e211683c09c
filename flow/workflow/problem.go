package workflow

import (
	"fmt"
	"strings"

	"lobstah/flow/value"
)

// SyntaxError says where a text is no YAML or JSON.
type SyntaxError struct {
	Message      string
	Line, Column int
	source       string
}

// Error gives the message, its place, the line and a caret below the place; a fault at the beginning of a line shows the line before, too.
func (e *SyntaxError) Error() string {
	shown := caret(e.source, e.Line, e.Column)
	if e.Line > 1 && strings.Trim(value.Cut16(shown, e.Column-1), " ") == "" {
		before, _, _ := strings.Cut(caret(e.source, e.Line-1, 1), "\n")
		shown = before + "\n" + shown
	}
	return fmt.Sprintf("%s at line %d, column %d:\n\n%s\n", e.Message, e.Line, e.Column, shown)
}

// caret shows a line of source with a caret below a column. Long lines are cut around it.
func caret(source string, line, col int) string {
	text, ok := lineOf(source, line)
	if !ok {
		return ""
	}
	at := col - 1
	if at >= 60 && value.Len16(text) > 80 {
		from := min(at-39, value.Len16(text)-79)
		text, at = "…"+value.Slice16(text, from, value.Len16(text)), at-from+1
	}
	if value.Len16(text) > 80 {
		text = value.Cut16(text, 79) + "…"
	}
	return text + "\n" + blanks(text, at) + "^"
}

// lineOf is a line of a text without its end, counted from 1.
func lineOf(source string, line int) (text string, ok bool) {
	for ; line > 1; line-- {
		if _, source, ok = strings.Cut(source, "\n"); !ok {
			return "", false
		}
	}
	text, _, _ = strings.Cut(source, "\n")
	return strings.TrimRight(text, "\r"), line == 1
}

// blanks is as wide as the first n characters of text; tabs stay tabs.
func blanks(text string, n int) string {
	var b strings.Builder
	for _, r := range value.Cut16(text, n) {
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	for range n - value.Len16(text) {
		b.WriteByte(' ')
	}
	return b.String()
}

// Severity tells errors, which a run would refuse, from warnings.
type Severity string

// The severities, as reports spell them.
const (
	Fault   Severity = "error"
	Warning Severity = "warning"
)

// Problem is one finding in a workflow file.
type Problem struct {
	Severity Severity `json:"severity"`
	Line     int      `json:"line"`   // 1-based
	Column   int      `json:"column"` // 1-based, in characters
	Message  string   `json:"message"`
	Hint     string   `json:"hint,omitempty"`
}

// Report prints a problem as compilers do: place, message, the line with a caret, the hint.
func (p Problem) Report(path, source string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s:%d:%d: %s: %s\n", path, p.Line, p.Column, p.Severity, p.Message)
	for l := range strings.SplitSeq(caret(source, p.Line, p.Column), "\n") {
		out.WriteString("  " + l + "\n")
	}
	if p.Hint != "" {
		out.WriteString("hint: " + p.Hint + "\n")
	}
	return value.Visible(out.String())
}

// InvalidError says that a file is YAML or JSON but no workflow. Its message is that of the first problem.
type InvalidError struct {
	Path     string
	Problems []Problem
	source   string
}

func (e *InvalidError) Error() string { return e.Problems[0].Message }

// Report prints all problems.
func (e *InvalidError) Report() string {
	var b strings.Builder
	for _, p := range e.Problems {
		b.WriteString(p.Report(e.Path, e.source))
	}
	return b.String()
}
