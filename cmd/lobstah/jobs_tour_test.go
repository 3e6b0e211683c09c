package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func lastOutput(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: output VAR")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

// Each command that docs/jobs.md shows is run by the script; ids differ.
func TestJobsTour(t *testing.T) {
	t.Parallel()
	tour, err := os.ReadFile(filepath.Join("..", "..", "docs", "jobs.md"))
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join("testdata", "script", "job.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for line := range strings.Lines(string(tour)) {
		command, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "    lobstah job ")
		if !ok {
			continue
		}
		shown++
		command = strings.ReplaceAll(command, "JOB", "$JOB")
		if !strings.Contains(string(script), "exec lobstah job "+command+"\n") {
			t.Errorf("docs/jobs.md shows what no script runs: lobstah job %s", command)
		}
	}
	if shown < 6 {
		t.Errorf("%d commands found in docs/jobs.md", shown)
	}
}
