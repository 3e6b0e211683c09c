package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lobstah/internal/cli"
)

// Every line that the documents tell people to type is one that the program
// takes.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../docs/clawmatrix*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	count := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if rest, ok := strings.CutPrefix(line, "clawmatrix "); ok {
				count++
				checkCommand(t, filepath.Base(file), rest)
			}
		}
	}
	if count < 15 {
		t.Errorf("found %d commands: the documents look different from what this test reads", count)
	}
}

func checkCommand(t *testing.T, file, line string) {
	t.Helper()
	helped := false
	parser, err := program.New(new(commands), cli.IO{Out: io.Discard, Err: io.Discard}, &helped)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ = strings.Cut(line, "  #")
	line, _, _ = strings.Cut(line, " > ") // to a file
	if _, err := parser.Parse(words(line)); err != nil && !helped {
		t.Errorf("%s: clawmatrix %s: %v", file, line, err)
	}
}

// words splits a line as a shell does that only knows quotes.
func words(line string) (list []string) {
	word, quote, open := "", rune(0), false
	for _, r := range line + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, open = r, true
		case quote == 0 && r == ' ':
			if word != "" || open {
				list = append(list, word)
			}
			word, open = "", false
		default:
			word += string(r)
		}
	}
	return list
}
