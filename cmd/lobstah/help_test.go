package main

import (
	"io"
	"strings"
	"testing"

	"lobstah/internal/cli"
)

// What is said of other programs' commands has to lead somewhere.
func TestCommandsElsewhere(t *testing.T) {
	t.Parallel()
	streams := cli.IO{Out: io.Discard, Err: io.Discard, Env: []string{"LOBSTAH_HOME=" + t.TempDir()}}
	for theirs, ours := range program.Elsewhere {
		command := strings.TrimSuffix(strings.Fields(ours)[0], ",")
		if code := run(t.Context(), []string{command, "--help"}, streams); code != 0 {
			t.Errorf("%s leads to %s, which is no command: exit code %d", theirs, command, code)
		}
		if code := run(t.Context(), []string{theirs, "--help"}, streams); code == 0 {
			t.Errorf("%s is a command of ours", theirs)
		}
	}
}
