package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite what the documents say that commands print")

// TestDocs runs every console block of the user's documents: lines after "$ " are given to a shell, the lines below are what it must
// print, where "..." stands for anything. A block with a file name after its language is written as that file first.
func TestDocs(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the documents show a POSIX shell")
	}
	for _, name := range []string{"lobster.md", "lobster-recipes.md"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runDocument(t, filepath.Join("..", "..", "docs", name))
		})
	}
}

// fence matches one fenced block: its language, file name and lines.
var fence = regexp.MustCompile("(?ms)^```([a-z]+)(?: (\\S+))?\n(.*?)^```$")

func runDocument(t *testing.T, path string) {
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w := newDocWorld(t)
	commands := 0
	rewritten := fence.ReplaceAllStringFunc(string(source), func(block string) string {
		m := fence.FindStringSubmatch(block)
		switch {
		case m[2] != "":
			if err := os.WriteFile(filepath.Join(w.dir, m[2]), []byte(m[3]), 0o644); err != nil {
				t.Fatal(err)
			}
		case m[1] == "console":
			var b strings.Builder
			for _, session := range sessions(m[3]) {
				commands++
				got := w.run(session.command)
				if !matchesLines(session.want, got) {
					t.Errorf("%s\n$ %s\ngot:\n%swant:\n%s", path, session.command, got, session.want)
					session.want = got
				}
				fmt.Fprintf(&b, "$ %s\n%s", session.command, session.want)
			}
			return "```console\n" + b.String() + "```"
		}
		return block
	})
	if commands == 0 {
		t.Error("the document shows no command")
	}
	if *update && t.Failed() {
		if err := os.WriteFile(path, []byte(rewritten), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

type docSession struct{ command, want string }

func sessions(block string) []docSession {
	var out []docSession
	for line := range strings.Lines(block) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			out = append(out, docSession{command: strings.TrimSuffix(command, "\n")})
			continue
		}
		out[len(out)-1].want += line
	}
	return out
}

var blanksAtEnd = regexp.MustCompile(`(?m) +$`)

// matchesLines compares line by line, without blanks at their ends; "..." in a wanted line stands for anything.
func matchesLines(want, got string) bool {
	got = blanksAtEnd.ReplaceAllString(got, "")
	pattern := strings.ReplaceAll(regexp.QuoteMeta(want), `\.\.\.`, `[^\n]*`)
	return regexp.MustCompile(`^` + pattern + `$`).MatchString(got)
}

// docWorld is the directory in which a document's commands run.
type docWorld struct {
	t   *testing.T
	dir string
	env []string
}

func newDocWorld(t *testing.T) *docWorld {
	dir := t.TempDir()
	bin := filepath.Dir(executable(t, "lobster"))
	gh := "#!/bin/sh\nexec cat prs.json\n"
	if err := os.WriteFile(filepath.Join(bin, "gh"), []byte(gh), 0o755); err != nil {
		t.Fatal(err)
	}
	return &docWorld{t: t, dir: dir, env: []string{"PATH=" + bin + ":/usr/local/bin:/usr/bin:/bin", "HOME=" + dir, "LC_ALL=C.UTF-8", "TZ=UTC"}}
}

// run returns what a command line prints on both streams; its exit code may be any.
func (w *docWorld) run(command string) string {
	cmd := exec.CommandContext(w.t.Context(), "/bin/sh", "-c", command)
	cmd.Dir, cmd.Env = w.dir, w.env
	out, _ := cmd.CombinedOutput() // the text says how it went
	return string(out)
}
