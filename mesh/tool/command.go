package tool

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A Pattern is a command that may be run: its program and a pattern for each
// argument. As text it is words parted by spaces, as a list its words.
//
// In an argument, * stands for any characters, but an argument that begins with
// - is matched only by a pattern that does; ** at the end stands for any further
// arguments, options included. The program is literal. The pattern "*" alone is
// any command, through a shell too.
type Pattern []string

// UnmarshalJSON reads both forms.
func (p *Pattern) UnmarshalJSON(data []byte) error {
	var words []string
	if err := json.Unmarshal(data, &words); err != nil {
		var text string
		if json.Unmarshal(data, &text) != nil {
			return fmt.Errorf("a command is text or a list of words, not %.40s", data)
		}
		words = strings.Fields(text)
	}
	*p = words
	return p.check()
}

// UnmarshalYAML reads both forms.
func (p *Pattern) UnmarshalYAML(read func(any) error) error {
	var words []string
	if err := read(&words); err != nil {
		var text string
		if err := read(&text); err != nil {
			return err
		}
		words = strings.Fields(text)
	}
	*p = words
	return p.check()
}

// MarshalJSON writes the list, or the text when that says the same.
func (p Pattern) MarshalJSON() ([]byte, error) {
	text := strings.Join(p, " ")
	if slices.Equal(strings.Fields(text), []string(p)) {
		return json.Marshal(text)
	}
	return json.Marshal([]string(p))
}

func (p Pattern) check() error {
	switch {
	case len(p) == 0 || p[0] == "":
		return fmt.Errorf("a command needs a program")
	case len(p) > 1 && strings.Contains(p[0], "*"):
		return fmt.Errorf("the program of the command %q may not be a pattern", strings.Join(p, " "))
	case len(p) == 1 && p[0] != "*" && strings.Contains(p[0], "*"):
		return fmt.Errorf("the program of the command %q may not be a pattern", p[0])
	case slices.Contains(p[:len(p)-1], "**"):
		return fmt.Errorf("in the command %q ** may only be the last word", strings.Join(p, " "))
	}
	return nil
}

// anything reports whether the pattern is every command.
func (p Pattern) anything() bool { return len(p) == 1 && p[0] == "*" }

// matches reports whether argv is a command of the pattern.
func (p Pattern) matches(argv []string) bool {
	if len(argv) == 0 || argv[0] != p[0] {
		return false
	}
	want, got := p[1:], argv[1:]
	if n := len(want); n > 0 && want[n-1] == "**" {
		want = want[:n-1]
		if len(got) < len(want) {
			return false
		}
		got = got[:len(want)]
	}
	return slices.EqualFunc(want, got, wordMatches)
}

// wordMatches matches one argument.
func wordMatches(pattern, word string) bool {
	if strings.HasPrefix(word, "-") && !strings.HasPrefix(pattern, "-") {
		return false
	}
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == word
	}
	word, ok := strings.CutPrefix(word, parts[0])
	if !ok {
		return false
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		_, after, found := strings.Cut(word, part)
		if !found {
			return false
		}
		word = after
	}
	return strings.HasSuffix(word, parts[last])
}

// split takes the words of a command line that needs no shell: quotes and
// backslashes as in a POSIX shell, nothing else. What a shell would do more with
// is an error that names it.
func split(line string) ([]string, error) {
	var s splitter
	for _, c := range line {
		if err := s.take(c); err != nil {
			return nil, err
		}
	}
	if s.quote != 0 || s.escaped {
		return nil, fmt.Errorf("the command ends inside of a quotation")
	}
	s.end()
	return s.words, nil
}

type splitter struct {
	words   []string
	word    strings.Builder
	begun   bool // also by an empty quotation
	quote   rune // which one is open, 0 for none
	escaped bool
}

func (s *splitter) take(c rune) error {
	switch {
	case c == 0:
		return fmt.Errorf("the command holds a zero byte")
	case s.escaped:
		return s.takeEscaped(c)
	case c == '\\' && s.quote != '\'':
		s.escaped = true
	case s.quote != 0 && c == s.quote:
		s.quote = 0
	case s.quote == '\'':
		s.word.WriteRune(c)
	case strings.ContainsRune("$`", c):
		return needsShell(c)
	case s.quote != 0:
		s.word.WriteRune(c)
	case c == '\'' || c == '"':
		s.quote, s.begun = c, true
	case c == ' ' || c == '\t':
		s.end()
	case strings.ContainsRune(";|&<>()\n\r*?[]{}~#!=", c):
		return s.special(c)
	default:
		s.word.WriteRune(c)
	}
	return nil
}

// takeEscaped takes what follows a backslash; in double quotes that keeps its
// own meaning before most characters.
func (s *splitter) takeEscaped(c rune) error {
	s.escaped = false
	if c == '\n' {
		return needsShell(c)
	}
	if s.quote == '"' && !strings.ContainsRune("$`\"\\", c) {
		s.word.WriteRune('\\')
	}
	s.begun = true
	s.word.WriteRune(c)
	return nil
}

// special takes characters that mean something to a shell in some places only:
// ~ and # where a word begins, = in the first words, where it sets a variable.
func (s *splitter) special(c rune) error {
	inside := s.word.Len() > 0 || s.begun
	if (c == '~' || c == '#') && inside || c == '=' && len(s.words) > 0 {
		s.word.WriteRune(c)
		return nil
	}
	return needsShell(c)
}

func (s *splitter) end() {
	if s.begun || s.word.Len() > 0 {
		s.words = append(s.words, s.word.String())
	}
	s.word.Reset()
	s.begun = false
}

func needsShell(c rune) error {
	return fmt.Errorf("%q needs a shell, which is not granted here: quote it, or pass argv", c)
}
