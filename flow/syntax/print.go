package syntax

import (
	"strings"

	"lobstah/flow/value"
)

// String writes the pipeline in one line: flags after the positional words, words quoted only where they must be. It parses to
// an equal pipeline.
func (p Pipeline) String() string {
	stages := make([]string, len(p.Stages))
	for i, s := range p.Stages {
		stages[i] = s.String()
	}
	return strings.Join(stages, " | ")
}

// String writes the stage.
func (s Stage) String() string {
	var b strings.Builder
	b.WriteString(Quote(s.Name))
	for _, w := range s.Args.Positional {
		b.WriteString(" " + Quote(w))
	}
	for name, v := range s.Args.Flags().All() {
		b.WriteString(" " + printFlag(name, v))
	}
	return b.String()
}

func printFlag(name string, v value.Value) string {
	text, isText := v.AsString()
	if !isText {
		return Quote("--" + name)
	}
	return Quote("--"+name+"=") + quoteRest(text)
}

func quoteRest(text string) string {
	if text == "" {
		return ""
	}
	return Quote(text)
}

// Quote writes a word so that it parses to itself: as it is if it holds only harmless characters, else in quotes.
func Quote(w string) string {
	if w == "" {
		return `""`
	}
	if !strings.ContainsFunc(w, mustQuote) {
		return w
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(w) {
		if w[i] == '"' || w[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(w[i])
	}
	b.WriteByte('"')
	return b.String()
}

func mustQuote(r rune) bool {
	return value.IsSpace(r) || strings.ContainsRune(`"'|\`, r)
}

// Redacted writes the stage without what its --token and --api-key flags say, for people and journals.
func (s Stage) Redacted() string {
	hidden := s
	flags := s.Args.Flags()
	for name := range flags.All() {
		if isSecret(name) {
			flags = flags.With(name, value.String("***"))
		}
	}
	hidden.Args.flags = flags
	return hidden.String()
}

// Secrets are the texts that [Stage.Redacted] hides.
func (s Stage) Secrets() []string {
	var out []string
	for name, v := range s.Args.Flags().All() {
		if text, ok := v.AsString(); ok && isSecret(name) {
			out = append(out, text)
		}
	}
	return out
}

// isSecret reports whether the value of a flag is one: --token, --api-key, but not --max-output-tokens.
func isSecret(flag string) bool {
	low := strings.ToLower(flag)
	return strings.Contains(low, "token") && !strings.Contains(low, "tokens") || strings.Contains(low, "key") && strings.Contains(low, "api")
}
