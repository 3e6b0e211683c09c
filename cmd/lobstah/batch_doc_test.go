package main

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lobstah/internal/home"
)

// docStep is a command that a page shows, and what it is shown to print.
type docStep struct{ command, want string }

// docSteps reads what a page's indented blocks show: lines after "$ ", with what
// follows up to the end of a here-document, are typed; the others are printed,
// where "…" stands for anything.
func docSteps(page string) []docStep {
	var steps []docStep
	typing := false
	for line := range strings.Lines(page) {
		line, indented := strings.CutPrefix(line, "    ")
		command, prompt := strings.CutPrefix(line, "$ ")
		switch {
		case !indented:
			typing = false
		case prompt:
			steps = append(steps, docStep{command: command})
			typing = strings.Contains(command, "<<END")
		case typing:
			steps[len(steps)-1].command += line
			typing = line != "END\n"
		case len(steps) > 0:
			steps[len(steps)-1].want += line
		}
	}
	return steps
}

func (s docStep) matches(got string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(s.want), "…", ".*")
	return regexp.MustCompile("^(?s:" + strings.TrimSpace(pattern) + `)\s*$`).MatchString(got)
}

// Everything that docs/batches.md shows is typed here, in one shell.
func TestBatchesPage(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"bash", "curl", "grep", "wc"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	page, err := os.ReadFile("../../docs/batches.md")
	if err != nil {
		t.Fatal(err)
	}
	steps := docSteps(string(page))
	if len(steps) < 10 {
		t.Fatalf("the page shows %d commands", len(steps))
	}
	m := newMachine(t, "up", "--engine", "demo", "--port", "0", "--worker-port", "0")
	m.start()
	var h home.Holder
	m.await("the router is there", func() bool {
		h, _, err = home.Home{Dir: m.dir}.Holder()
		return err == nil && h.Router != ""
	})
	at, err := url.Parse(h.Router)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// Each command sees the functions of those before it.
	functions := ""
	for _, step := range steps {
		command := strings.ReplaceAll(step.command, "127.0.0.1:17475", at.Host)
		file := filepath.Join(dir, "step.sh")
		if err := os.WriteFile(file, []byte(functions+command), 0o600); err != nil {
			t.Fatal(err)
		}
		shell := exec.CommandContext(t.Context(), "bash", "step.sh")
		shell.Env, shell.Dir = append(m.env(), "no_proxy=*", "NO_PROXY=*"), dir // curl would go to a proxy even for this machine
		out, err := shell.CombinedOutput()
		if !step.matches(string(out)) {
			t.Errorf("$ %s\nprints\n%s(%v)\nwant\n%s", step.command, out, err, step.want)
		}
		if strings.HasPrefix(command, "id()") {
			functions += command
		}
	}
}
