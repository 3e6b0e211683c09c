package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid/batch"
	"lobstah/internal/cli"
)

// Without a router the command runs one itself. Interrupted, and then killed, it
// goes on where it was, and asks nothing twice but what was in flight when it
// was killed.
func TestBatchRunGoesOn(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("sends an interrupt to another process")
	}
	const lines = 120
	engine := newPacedEngine(t, 20*time.Millisecond)
	w := newMachine(t, "worker", "start", "--engine", engine.URL, "--port", "0", "--concurrency", "2")
	key := w.command("id")
	user := newMachine(t)
	w.command("allow", user.command("id"), "user")
	w.start()
	user.command("peers", "add", key, w.base)

	dir := t.TempDir()
	input, output := filepath.Join(dir, "requests.jsonl"), filepath.Join(dir, "results.jsonl")
	var text strings.Builder
	for i := range lines {
		fmt.Fprintf(&text, `{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"%d"}]}}`+"\n", i, i)
	}
	write := func(text string) {
		if err := os.WriteFile(input, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text.String())
	run := func() (*exec.Cmd, *bytes.Buffer) {
		cmd := typed(t, user, "batch", "run", input, "-o", output, "--json")
		out := new(bytes.Buffer)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, out
	}
	kept := func() (n int) {
		paths, _ := filepath.Glob(filepath.Join(user.dir, "batches", "batches", "*.output"))
		for _, path := range paths {
			text, _ := os.ReadFile(path) // it may just have been moved
			n += bytes.Count(text, []byte("\n"))
		}
		return n
	}
	for i, end := range []os.Signal{os.Interrupt, os.Kill} {
		engine.turns.limit(lines / 4 * (i + 1))
		cmd, out := run()
		user.await("lines are kept", func() bool { return kept() >= lines/4*(i+1) })
		if said := user.command("status"); !strings.Contains(said, fmt.Sprint(" of ", lines, " done, 0 failed")) {
			t.Errorf("status says\n%s", said)
		}
		if err := cmd.Process.Signal(end); err != nil {
			t.Fatal(err)
		}
		if end == os.Interrupt {
			user.await("it only finishes what it asks", func() bool { return strings.Contains(user.command("status", "--json"), `"draining": true`) })
			engine.turns.limit(0)
		}
		err := cmd.Wait()
		if end == os.Interrupt && (cmd.ProcessState.ExitCode() != 1 || !strings.Contains(out.String(), "the same command goes on")) {
			t.Errorf("interrupted it ends with %v and\n%s", err, out)
		}
		if !exists(output + ".batch") {
			t.Fatalf("nothing says how to go on:\n%s", out)
		}
	}
	engine.turns.limit(0)
	write(text.String() + "\n")
	if cmd, out := run(); cmd.Wait() == nil || !strings.Contains(out.String(), "has changed since its batch was begun") {
		t.Errorf("with other requests it says\n%s", out)
	}
	write(text.String())
	elsewhere := typed(t, newMachine(t), "batch", "run", input, "-o", output)
	if text, err := elsewhere.CombinedOutput(); err == nil || !strings.Contains(string(text), "was begun with the router of "+user.dir) {
		t.Errorf("from another home it says\n%s", text)
	}
	cmd, out := run()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("the third time: %v\n%s", err, out)
	}
	var summary struct{ Total, Completed, Failed int }
	if at := bytes.IndexByte(out.Bytes(), '{'); at < 0 || json.Unmarshal(out.Bytes()[at:], &summary) != nil || summary.Completed != lines {
		t.Errorf("at the end it says\n%s", out)
	}
	got, err := os.ReadFile(output)
	if err != nil || bytes.Count(got, []byte("\n")) != lines || exists(output+".batch") {
		t.Errorf("%d lines of results, %v", bytes.Count(got, []byte("\n")), err)
	}
	answers := 0
	engine.mu.Lock()
	defer engine.mu.Unlock()
	for _, n := range engine.told {
		answers += n
	}
	if len(engine.told) != lines || answers > lines+2*2 {
		t.Errorf("%d answers to %d lines; at most 4 were in flight when it was killed", answers, len(engine.told))
	}
}

func TestBatchProgress(t *testing.T) {
	t.Parallel()
	at := func(completed, failed int, tokens int64, waiting string) batch.Batch {
		return batch.Batch{
			RequestCounts: batch.Counts{Total: 2000, Completed: completed, Failed: failed},
			Usage:         batch.Usage{TotalTokens: tokens}, Now: &batch.Now{Waiting: waiting},
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var plain, bar bytes.Buffer
		onFile, onTerminal := &progressBar{out: &plain}, &progressBar{out: &bar, terminal: true}
		for _, b := range []batch.Batch{at(0, 0, 0, ""), at(490, 10, 50_000, ""), at(1490, 10, 150_000, "no peer\x1b[2J"), at(1990, 10, 200_000, "")} {
			for _, p := range []*progressBar{onFile, onTerminal} {
				p.show(b, time.Now())
			}
			time.Sleep(10 * time.Second) // virtual
		}
		onTerminal.clear()
		want := "490 of 2,000 done, 10 failed, 50,000 tokens, 5,000/s, 30 s left\n" +
			"1,490 of 2,000 done, 10 failed, 150,000 tokens, 7,500/s, 7.0 s left; waiting: no peer[2J\n" +
			"1,990 of 2,000 done, 10 failed, 200,000 tokens, 6,666/s\n"
		if got := plain.String(); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		lines := strings.Split(bar.String(), "\r\x1b[K")
		if len(lines) != 6 || !strings.HasPrefix(lines[2], noWrap+strings.Repeat("█", 6)+strings.Repeat("░", 18)+" 490 of") || lines[5] != "" {
			t.Errorf("on a terminal %q", lines)
		}
	})
}

func TestBatchMisuse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for want, args := range map[string][]string{
		"2 -o":                        {"batch", "run", "x.jsonl"},
		"2 batch":                     {"batch", "nothing"},
		"1 no such file":              {"batch", "run", filepath.Join(dir, "none.jsonl"), "-o", filepath.Join(dir, "o.jsonl")},
		"1 there are no peers to ask": {"batch", "run", "batch_run_test.go", "-o", filepath.Join(dir, "o.jsonl")},
		"1 no router answers":         {"batch", "status", "batch_X", "--router", "http://127.0.0.1:1"},
		"2 want a URL":                {"batch", "list", "--router", "nowhere"},
		"0 goes on where it was":      {"batch", "run", "--help"},
		"0 what is not answered then": {"batch", "run", "--help"},
		"0 answers so far are kept":   {"batch", "--help"},
	} {
		var out bytes.Buffer
		home := filepath.Join(t.TempDir(), "home")
		code := run(t.Context(), args, cli.IO{Out: &out, Err: &out, Env: []string{"LOBSTAH_HOME=" + home}})
		text := strings.Join(strings.Fields(out.String()), " ")
		if got := fmt.Sprint(code); got != want[:1] || !strings.Contains(text, strings.TrimSpace(want[2:])) {
			t.Errorf("lobstah %v ends with %s and\n%s\nwant %s", args, got, out.String(), want)
		}
	}
}

// Each API key sees its own batches, whichever header it comes in.
func TestBatchKeys(t *testing.T) {
	t.Parallel()
	if ownerOf(nil) != nil {
		t.Error("without keys somebody owns something")
	}
	m := newMachine(t, "router", "start", "--port", "0", "--api-key", "ann", "--api-key", "ben")
	m.start()
	dir := t.TempDir()
	input := filepath.Join(dir, "wrong.jsonl")
	if err := os.WriteFile(input, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	elsewhere := newMachine(t)
	for _, step := range []struct {
		want string
		args []string
	}{
		{"wrong.jsonl:1: This line is not a JSON object", []string{"batch", "run", input, "-o", filepath.Join(dir, "out.jsonl"), "--api-key", "ann"}},
		{"  failed  ", []string{"batch", "list", "--api-key", "ann"}},
		{"There are no batches", []string{"batch", "list", "--api-key", "ben"}},
		{"(status 401)", []string{"batch", "list", "--api-key", "eve"}},
		{"there is no batch", []string{"batch", "status", "batch_X", "--api-key", "ben"}},
		{"there is no batch", []string{"batch", "cancel", "batch_X", "--api-key", "ben"}},
	} {
		out, _ := typed(t, elsewhere, append(step.args, "--router", m.base)...).CombinedOutput() // what it says counts
		if !strings.Contains(string(out), step.want) {
			t.Errorf("lobstah %v prints\n%s\nwant %q", step.args, out, step.want)
		}
	}
}
