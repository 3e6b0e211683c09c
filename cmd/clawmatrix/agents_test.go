package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lobstah/mesh/config"
)

// An agent whose program or folder is not there is told of at the start, and not
// first by whoever hands it a task.
func TestAgentProblems(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	got := agentProblems([]config.Agent{
		{ID: "well", Command: []string{self}, Dir: dir},
		{ID: "gateway"},
		{ID: "below", Command: []string{filepath.Join("bin", "run")}, Dir: dir},
		{ID: "typo", Command: []string{"no-such-program-here"}},
		{ID: "moved", Command: []string{filepath.Join(dir, "gone")}},
		{ID: "lost", Command: []string{self}, Dir: filepath.Join(dir, "gone")},
	})
	if len(got) != 3 || !strings.HasPrefix(got[0], "the agent typo cannot work: ") || !strings.HasPrefix(got[1], "the agent moved cannot work: ") ||
		got[2] != "the agent lost cannot work: its dir "+filepath.Join(dir, "gone")+" is no folder" {
		t.Errorf("the problems are %q; want those of typo, moved and lost", got)
	}
}
