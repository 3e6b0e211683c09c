package workflow_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// killFile has two gates; each step with an effect leaves a line in a file, and a third effect comes before any gate.
const killFile = `
steps:
  - id: before
    run: echo before >> "$W/effects"
  - id: one
    approval: First?
  - id: first
    run: echo first >> "$W/effects"
  - id: two
    approval: Second?
  - id: second
    run: echo second >> "$W/effects"
`

// killGates has a gate right after a gate, so that nothing uses the first pause up but the second one.
const killGates = `
steps:
  - id: before
    run: echo before >> "$W/effects"
  - id: one
    approval: First?
  - id: two
    approval: Second?
  - id: first
    run: echo first >> "$W/effects"
  - id: second
    run: echo second >> "$W/effects"
`

// TestKillAtEachStep starts real processes, kills them after ever longer times, and resumes whatever waits until nothing does. However
// the run was torn, what was approved must have happened at most once, and nothing that was not approved at all.
func TestKillAtEachStep(t *testing.T) {
	if testing.Short() {
		t.Skip("starts some hundred processes")
	}
	t.Parallel()
	span := measure(t)
	const cuts = 30
	stats := map[string]int{}
	for i := range cuts {
		after := span * time.Duration(i) / (cuts - 10)
		if i == cuts-1 {
			after = time.Hour // however much slower the machine has become
		}
		for _, text := range []string{killFile, killGates} {
			w := newWorld(t)
			file := w.write("flow.lobster", text)
			w.tornRun(file, after, stats)
			w.check(t, stats)
		}
	}
	t.Logf("a whole chain takes about %v; %v", span, stats)
	if stats["killed"] == 0 || stats["completed"] == 0 {
		t.Errorf("the times were badly chosen: %v", stats)
	}
}

// measure times a chain that nobody kills, for one of its three processes.
func measure(t *testing.T) time.Duration {
	w := newWorld(t)
	file := w.write("flow.lobster", killFile)
	began := time.Now()
	stats := map[string]int{}
	w.tornRun(file, time.Hour, stats)
	if stats["completed"] != 1 {
		t.Fatalf("an undisturbed chain ended as %v", stats)
	}
	return time.Since(began) / 3
}

// tornRun goes through the chain. Each process is killed after the same time; then whoever waits is approved again.
func (w *world) tornRun(file string, after time.Duration, stats map[string]int) {
	reply := w.process(after, stats, "run", file)
	for range 10 {
		token := reply.Request.ResumeToken
		if token == "" {
			token = w.waitingToken()
		}
		if token == "" {
			break
		}
		reply = w.process(after, stats, "resume", token, "yes")
		if reply.Status == "" { // killed, or refused: from now on nobody is killed, so that the chain ends
			after = time.Hour
		}
	}
	if reply.Status == "ok" {
		stats["completed"]++
	}
}

type reply struct {
	Status  string `json:"status"`
	Request struct {
		ResumeToken string `json:"resumeToken"`
	} `json:"request"`
}

// process runs the test binary as a workflow runner and kills it, with SIGKILL, after a while.
func (w *world) process(after time.Duration, stats map[string]int, args ...string) reply {
	w.t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	for k, v := range w.vars {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Env = append(cmd.Env, "WORKFLOW_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0") // the race detector would sleep at the end
	cmd.Dir = w.dir
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	killer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // it may have ended
	err := cmd.Wait()
	if !killer.Stop() && err != nil {
		stats["killed"]++
	}
	var r reply
	if json.Unmarshal(out.Bytes(), &r) != nil {
		return reply{}
	}
	return r
}

// waitingToken finds a run that waits, as `lobster approvals` does.
func (w *world) waitingToken() string {
	waiting, err := w.options().Pauses.Waiting(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if len(waiting) == 0 {
		return ""
	}
	return waiting[len(waiting)-1].Token
}

// check counts the effects. A shell that outlives its killed parent may still write, so the file is read once it has settled.
func (w *world) check(t *testing.T, stats map[string]int) {
	t.Helper()
	effects, err := os.ReadFile(filepath.Join(w.dir, "effects"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	lines := strings.Fields(string(effects))
	count := map[string]int{}
	for _, l := range lines {
		count[l]++
	}
	if count["first"] > 1 || count["second"] > 1 || count["before"] > 1 {
		t.Errorf("an effect happened twice: %v", lines)
	}
	if order := strings.Join(lines, " "); !strings.HasPrefix("before first second", order) && order != "" {
		t.Errorf("effects out of order, so one was not approved: %v", lines)
	}
	stats[fmt.Sprintf("%d effects", len(lines))]++
}

// TestUnapprovedNeverHappens kills the process that runs into the gate, at ever later times, and never approves.
func TestUnapprovedNeverHappens(t *testing.T) {
	if testing.Short() {
		t.Skip("starts some processes")
	}
	t.Parallel()
	span := measure(t)
	for i := range 12 {
		w := newWorld(t)
		file := w.write("flow.lobster", killFile)
		stats := map[string]int{}
		w.process(span*time.Duration(i)/8, stats, "run", file)
		if token := w.waitingToken(); token != "" {
			w.process(time.Hour, stats, "resume", token, "no")
			if again := w.process(time.Hour, stats, "resume", token, "yes"); again.Status != "" {
				t.Errorf("a rejected run was resumed: %s", again.Status)
			}
		}
		effects, err := os.ReadFile(filepath.Join(w.dir, "effects"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if strings.Contains(string(effects), "first") || strings.Contains(string(effects), "second") {
			t.Errorf("an unapproved effect happened: %q", effects)
		}
	}
}

// TestKilledWithinAnApprovedStep dies exactly between an effect and the end of its step.
func TestKilledWithinAnApprovedStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := w.write("flow.lobster", "steps:\n  - id: g\n    approval: ok?\n  - id: a\n    run: echo first >> \"$W/effects\"; kill -9 $PPID; sleep 1\n  - id: b\n    run: echo second >> \"$W/effects\"\n")
	stats := map[string]int{}
	paused := w.process(time.Hour, stats, "run", file)
	if paused.Status != "needs_approval" {
		t.Fatalf("the run ended as %+v", paused)
	}
	for range 3 {
		if r := w.process(time.Hour, stats, "resume", paused.Request.ResumeToken, "yes"); r.Status != "" {
			t.Errorf("a torn run was resumed as %s", r.Status)
		}
	}
	if got, err := os.ReadFile(filepath.Join(w.dir, "effects")); string(got) != "first\n" || err != nil {
		t.Errorf("effects %q, %v, want one", got, err)
	}
	if w.waitingToken() != "" {
		t.Error("a torn run still waits")
	}
}
