package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// killed is a directory in which a pipeline with two gates runs; each stage with an effect leaves a line in the file effects.
type killed struct {
	t   *testing.T
	exe string
	dir string
}

const killPipeline = "exec --shell 'echo before >> effects; echo a' | approve --prompt One | exec --shell 'echo one >> effects; echo b' | approve --prompt Two | exec --shell 'echo two >> effects; echo c'"

func (k *killed) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(k.t.Context(), k.exe, args...)
	cmd.Dir = k.dir
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + k.dir, "LOBSTER_STATE_DIR=" + k.dir + "/state"}
	return cmd
}

// envelope runs a command to its end.
func (k *killed) envelope(args ...string) (status, token string) {
	k.t.Helper()
	out, _ := k.command(args...).Output() // the envelope says how it went
	var e struct {
		Status           string
		RequiresApproval *struct{ ResumeToken string }
	}
	if err := json.Unmarshal(out, &e); err != nil {
		k.t.Fatalf("%v: %v in %q", args, err, out)
	}
	if e.RequiresApproval != nil {
		token = e.RequiresApproval.ResumeToken
	}
	return e.Status, token
}

// shoot starts a command and kills it, itself alone, after a while. The children that it started live on, as they would.
func (k *killed) shoot(after time.Duration, args ...string) {
	k.t.Helper()
	cmd := k.command(args...)
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	time.Sleep(after) // the moment of the kill is what the test varies
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed, or just done
}

// effects counts the lines once the shells of a killed run are through.
func (k *killed) effects() map[string]int {
	doc, err := os.ReadFile(filepath.Join(k.dir, "effects"))
	if err != nil {
		k.t.Fatal(err)
	}
	n := map[string]int{}
	for line := range strings.Lines(string(doc)) {
		n[strings.TrimSpace(line)]++
	}
	return n
}

// TestKilledResume kills a resume at many moments and resumes again. What was approved happens at most once, exactly once when a resume
// says that it went well, and what was not approved never.
func TestKilledResume(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a POSIX shell")
	}
	exe := executable(t, "lobster")
	for i := range 12 {
		k := &killed{t: t, exe: exe, dir: t.TempDir()}
		status, first := k.envelope("run", "--mode", "tool", killPipeline)
		if status != "needs_approval" {
			t.Fatalf("got %q, want a gate", status)
		}
		k.shoot(time.Duration(2*i)*time.Millisecond, "resume", "--token", first, "--approve", "yes")
		status, second := k.envelope("resume", "--token", first, "--approve", "yes")
		if n := k.effects(); n["before"] != 1 || n["one"] > 1 || n["two"] != 0 || (status == "needs_approval" && n["one"] != 1) {
			t.Fatalf("killed after %d ms: status %q and effects %v", 2*i, status, n)
		}
		if status != "needs_approval" {
			continue
		}
		k.shoot(time.Duration(2*i)*time.Millisecond, "resume", "--token", second, "--approve", "yes")
		status, _ = k.envelope("resume", "--token", second, "--approve", "yes")
		if n := k.effects(); n["one"] != 1 || n["two"] > 1 || (status == "ok" && n["two"] != 1) {
			t.Fatalf("killed after %d ms in the second gate: status %q and effects %v", 2*i, status, n)
		}
		if status, _ = k.envelope("resume", "--token", first, "--approve", "yes"); status != "" {
			t.Errorf("the first token still works: %q", status)
		}
	}
}

// TestConcurrentResumes lets many processes approve the same gate at once: one of them goes on.
func TestConcurrentResumes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a POSIX shell")
	}
	k := &killed{t: t, exe: executable(t, "lobster"), dir: t.TempDir()}
	_, token := k.envelope("run", "--mode", "tool", killPipeline)
	done := make(chan error, 8)
	for range cap(done) {
		go func() { done <- k.command("resume", "--token", token, "--approve", "yes").Run() }()
	}
	won := 0
	for range cap(done) {
		if err := <-done; err == nil {
			won++
		}
	}
	if n := k.effects(); won != 1 || n["one"] != 1 || n["two"] != 0 {
		t.Errorf("%d resumes went on, effects %v, want one of each", won, n)
	}
}
