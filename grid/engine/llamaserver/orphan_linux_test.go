package llamaserver

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"lobstah/internal/enginetest"
	"lobstah/internal/tinygguf"
)

const (
	parentModel   = "LOBSTAH_TEST_PARENT_MODEL"
	parentProgram = "LOBSTAH_TEST_PARENT_PROGRAM"
)

// A child does not outlive us, even when we are killed.
func TestChildDiesWithItsParent(t *testing.T) {
	t.Parallel()
	parent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestParent$", "-test.v")
	parent.Env = append(os.Environ(),
		parentModel+"="+enginetest.ModelFile(t, tinygguf.Words()),
		parentProgram+"="+enginetest.LlamaServerProgram(t))
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "child %d", &pid) // other lines are the test's own
	}
	_ = parent.Process.Kill()
	_ = parent.Wait() // it was killed
	if pid == 0 {
		t.Fatal("the parent did not start a child")
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); running(pid); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the child %d runs a minute after its parent was killed", pid)
		}
	}
}

// running reports whether a process is there and no zombie that waits for init.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

// TestParent is the process that TestChildDiesWithItsParent kills, and nothing
// otherwise.
func TestParent(t *testing.T) {
	model := os.Getenv(parentModel)
	if model == "" {
		return
	}
	e := newEngine(t, Config{Model: model, Program: os.Getenv(parentProgram)})
	go func() {
		if e.WaitReady(t.Context()) == nil {
			fmt.Printf("child %d\n", e.live.Load().child.cmd.Process.Pid)
		}
	}()
	t.Error(e.Run(t.Context()))
}
