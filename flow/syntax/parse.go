package syntax

import (
	"strings"

	"lobstah/flow/value"
)

// Parse reads a pipeline. The error is an [*Error] whose text is the original program's message.
func Parse(text string) (Pipeline, error) {
	pieces, err := split(text)
	if err != nil {
		return Pipeline{}, err
	}
	if len(pieces) == 0 {
		return Pipeline{}, &Error{Message: "Empty pipeline", Hint: "name a command, such as: exec date", Text: text}
	}
	p := Pipeline{Stages: make([]Stage, len(pieces))}
	for i, piece := range pieces {
		if p.Stages[i], err = parseStage(text, piece); err != nil {
			return Pipeline{}, err
		}
	}
	return p, nil
}

// span is a part of the text.
type span struct{ from, to int }

func (s span) in(text string) string { return text[s.from:s.to] }

// split cuts the text at every bar outside quotes and trims the pieces; a blank last piece is dropped.
func split(text string) ([]span, error) {
	var pieces []span
	start, opened, quote := 0, 0, byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote, opened = c, i
		case c == '|':
			pieces = append(pieces, trim(text, span{start, i}))
			start = i + 1
		}
	}
	if quote != 0 {
		return nil, unclosed(text, opened)
	}
	if last := trim(text, span{start, len(text)}); last.from < last.to {
		pieces = append(pieces, last)
	}
	return pieces, nil
}

func unclosed(text string, at int) error {
	return &Error{Message: "Unclosed quote", Hint: "end the quoted text with another " + text[at:at+1], Text: text, Offset: at}
}

func trim(text string, s span) span {
	piece := s.in(text)
	left := strings.TrimLeftFunc(piece, value.IsSpace)
	s.from += len(piece) - len(left)
	s.to = s.from + len(strings.TrimRightFunc(left, value.IsSpace))
	return s
}

func parseStage(text string, piece span) (Stage, error) {
	words, err := words(text, piece)
	if err != nil {
		return Stage{}, err
	}
	if len(words) == 0 {
		return Stage{}, &Error{Message: "Empty command stage", Hint: "put a command between the bars, or take one away", Text: text, Offset: piece.from}
	}
	return Stage{Name: words[0], Args: arguments(words[0], words[1:]), Raw: piece.in(text), Offset: piece.from}, nil
}

// arguments sorts words into flags and positionals.
func arguments(command string, words []string) Args {
	var a Args
	var flags value.Builder
	for i := 0; i < len(words); i++ {
		flag, isFlag := strings.CutPrefix(words[i], "--")
		name, text, hasText := strings.Cut(flag, "=")
		switch {
		case !isFlag:
			a.Positional = append(a.Positional, words[i])
		case hasText:
			flags.Set(name, value.String(text))
		case i+1 < len(words) && !strings.HasPrefix(words[i+1], "--") && !isSwitch(command, name):
			i++
			flags.Set(name, value.String(words[i]))
		default:
			flags.Set(name, value.True)
		}
	}
	a.flags = flags.Object()
	return a
}

// isSwitch names the one flag that never takes the next word.
func isSwitch(command, flag string) bool { return command == "exec" && flag == "json" }

// words splits a stage into words and takes the quotes off.
func words(text string, piece span) ([]string, error) {
	var out []string
	w := word{}
	for i := piece.from; i < piece.to; i++ {
		switch c := text[i]; c {
		case ' ', '\t', '\n', '\r':
			out = w.end(out)
		case '"', '\'':
			next, ok := w.quoted(text, i, piece.to)
			if !ok {
				return nil, unclosed(text, i)
			}
			i = next
		default:
			w.add(c)
		}
	}
	return w.end(out), nil
}

// word is the word being read; an empty quoted one counts.
type word struct {
	text []byte
	open bool
}

func (w *word) add(c byte) {
	w.text = append(w.text, c)
	w.open = true
}

func (w *word) end(out []string) []string {
	if w.open {
		out = append(out, string(w.text))
	}
	w.text, w.open = w.text[:0], false
	return out
}

// quoted reads the quoted text that opens at i and returns where it closes.
func (w *word) quoted(text string, i, end int) (int, bool) {
	quote := text[i]
	w.open = true
	for i++; i < end; i++ {
		c := text[i]
		switch {
		case c == quote:
			return i, true
		case c == '\\' && i+1 < end && quote == '\'' && text[i+1] == '\'':
			i++
			c = '\''
		case c == '\\' && i+1 < end && quote == '"' && strings.IndexByte("\"\\$`\n", text[i+1]) >= 0:
			i++
			if c = text[i]; c == '\n' {
				continue
			}
		}
		w.text = append(w.text, c)
	}
	return 0, false
}
