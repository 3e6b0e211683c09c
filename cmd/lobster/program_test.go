package main

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// place is a directory with files in which the command is called.
type place struct {
	t   *testing.T
	dir string
	env []string
}

func newPlace(t *testing.T, files map[string]string, env ...string) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir()}
	p.env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "TZ=UTC"}, env...)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p *place) call(exe, stdin string, args ...string) (code int, stdout, stderr string) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), exe, args...)
	var out, err bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = p.dir, p.env, strings.NewReader(stdin), &out, &err
	if fault := cmd.Run(); fault != nil {
		if _, failed := errors.AsType[*exec.ExitError](fault); !failed {
			p.t.Fatal(fault)
		}
	}
	return cmd.ProcessState.ExitCode(), out.String(), err.String()
}

const (
	tidyFlow   = "steps:\n  - id: a\n    run: echo a\n"
	messyFlow  = "steps:\n- id:   a\n  run: echo a\n"
	riskyFlow  = "args:\n  x: {default: 1}\nsteps:\n  - id: a\n    run: echo ${x}\n"
	brokenFlow = "steps:\n  - id: a\n    rum: echo\n"
)

func TestCommandLine(t *testing.T) {
	t.Parallel()
	needShell(t)
	exe := executable(t, "lobster")
	files := map[string]string{"tidy.lobster": tidyFlow, "messy.lobster": messyFlow, "risky.lobster": riskyFlow, "broken.lobster": brokenFlow}
	tests := []struct {
		name   string
		args   []string
		stdin  string
		env    []string
		code   int
		stdout string // patterns
		stderr string
	}{
		{name: "no words", stdout: `(?s)^lobster runs pipelines.*Commands of pipelines.*  where `},
		{name: "version", args: []string{"version", "more"}, stdout: `^\d[^\n]*\n$`},
		{name: "help of an addition", args: []string{"help", "jq"}, stdout: `(?s)^jq: .*Usage:.*--slurp`},
		{name: "help of nothing", args: []string{"help", "graph"}, code: 2, stderr: `^Unknown command: graph\n$`},
		{name: "check tidy", args: []string{"check", "tidy.lobster"}, stdout: `^$`},
		{name: "check risky", args: []string{"check", "risky.lobster"}, stdout: `^risky.lobster:5:15: warning: `},
		{name: "check strictly", args: []string{"check", "--strict", "risky.lobster"}, code: 1, stdout: `warning`},
		{name: "check broken", args: []string{"check", "broken.lobster", "tidy.lobster"}, code: 1, stdout: `(?s)broken.lobster:\d+:\d+: error: `},
		{name: "check as JSON", args: []string{"check", "--json", "risky.lobster"}, stdout: `^\{"file":"risky.lobster","severity":"warning","line":5,"column":15,"message":`},
		{name: "check nothing", args: []string{"check"}, code: 2, stderr: `^error: check needs a workflow file\nhint: usage: lobster check`},
		{name: "check a missing file", args: []string{"check", "none.lobster"}, code: 1, stderr: `^error: ENOENT`},
		{name: "format", args: []string{"fmt", "messy.lobster"}, stdout: "^" + regexp.QuoteMeta(tidyFlow) + "$"},
		{name: "compare format", args: []string{"fmt", "--check", "messy.lobster", "tidy.lobster"}, code: 1, stdout: `^messy.lobster\n$`},
		{name: "format help", args: []string{"fmt", "--help"}, stdout: `^Usage: lobster fmt`},
		{name: "no approvals", args: []string{"approvals"}, stdout: `^Nothing waits for a person.\n$`},
		{name: "unknown approval", args: []string{"approvals", "00000000"}, code: 1, stderr: `^error: no run waits under "00000000"\nhint: `},
		{name: "unknown run", args: []string{"log", "feed"}, code: 1, stderr: `^error: the journal has no run "feed"`},
		{name: "log misused", args: []string{"log", "--limit", "x"}, code: 2, stderr: `^error: --limit must be`},
		{name: "schema", args: []string{"schema"}, stdout: `(?s)^\{.*"\$schema"`},
		{name: "graph help", args: []string{"graph", "--help"}, stdout: `^Usage: lobster graph`},
		{name: "repl", args: []string{"repl"}, stdin: "exec printf 'a\\nb'\n| head --n 1\n:help pick\nnope\n:nope\n| template --text '<{{.}}>'\n:quit\nexec touch no\n",
			stdout: `(?s)^\[\n  "a",\n  "b"\n\]\n\[\n  "a"\n\]\npick: .*\[\n  "<a>"\n\]\n$`, stderr: `(?s)error: Unknown command: nope.*error: unknown directive :nope`},
		{name: "repl fails", args: []string{"repl"}, stdin: "where 'x", code: 2, stderr: `error: 1:7: Unclosed quote`},
		{name: "strict tool mode", args: []string{"run", "--mode", "tool", "exec echo x | json"}, env: []string{"LOBSTER_STRICT_TOOL=1"}, stdout: `(?s)^\{\n  "protocolVersion": 1,.*"output": \[\]`, stderr: `^\[\n  "x"\n\]\n$`},
		{name: "strict tool error", args: []string{"run", "--mode", "tool", "nope"}, env: []string{"LOBSTER_STRICT_TOOL=1"}, stdout: `"Unknown command: nope"`},
		{name: "cost in the envelope", args: []string{"run", "--mode", "tool", "tidy.lobster"}, env: []string{"LOBSTER_META=1"}, stdout: `(?s)"_meta": \{\n    "cost": \{\n      "totalInputTokens": 0`},
		{name: "time limit", args: []string{"exec sleep 60"}, env: []string{"LOBSTER_TIMEOUT=100ms"}, code: 1, stderr: `^Error: the run took longer than LOBSTER_TIMEOUT=100ms\n$`},
		{name: "bad time limit", args: []string{"exec true"}, env: []string{"LOBSTER_TIMEOUT=soon"}, code: 1, stderr: `^Error: LOBSTER_TIMEOUT must be a duration`},
		{name: "place of an error", args: []string{"exec true | where x"}, env: []string{"LOBSTER_ERRORS=full"}, code: 1, stderr: `^Error: Invalid where expression: x\n  in stage 2 \(where x\)\n$`},
		{name: "place of a parse error", args: []string{"exec 'x"}, env: []string{"LOBSTER_ERRORS=full"}, code: 2, stderr: `(?s)^Parse error: Unclosed quote\n  1:6: Unclosed quote\n    exec 'x\n         \^\n  hint: `},
		{name: "secrets stay out", args: []string{"run", "--mode", "tool", "exec --shell 'echo $MY_TOKEN >&2; exit 1'"}, env: []string{"MY_TOKEN=hunter22"}, code: 1, stdout: `exec failed \(1\): \[MY_TOKEN\]`},
		{name: "no journal", args: []string{"exec echo x"}, env: []string{"LOBSTER_JOURNAL_DIR=tidy.lobster", "LOBSTER_ERRORS=full"}, stdout: `"x"`, stderr: `^warning: this run is not in the journal: `},
		{name: "no home", args: []string{"exec echo x"}, env: []string{"HOME=", "LOBSTER_STATE_DIR=state"}, stdout: `"x"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := newPlace(t, files, tt.env...).call(exe, tt.stdin, tt.args...)
			if code != tt.code {
				t.Errorf("exit code: got %d, want %d", code, tt.code)
			}
			for _, s := range []struct{ name, got, want string }{{"stdout", stdout, tt.stdout}, {"stderr", stderr, tt.stderr}} {
				if !regexp.MustCompile(s.want).MatchString(s.got) {
					t.Errorf("%s: got %q, want it to match %s", s.name, s.got, s.want)
				}
			}
		})
	}
}

func needShell(t testing.TB) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs a POSIX shell")
	}
}

func TestFormatWrites(t *testing.T) {
	t.Parallel()
	exe := executable(t, "lobster")
	p := newPlace(t, map[string]string{"m.lobster": messyFlow})
	if code, _, stderr := p.call(exe, "", "fmt", "-w", "m.lobster"); code != 0 {
		t.Fatal(stderr)
	}
	got, err := os.ReadFile(filepath.Join(p.dir, "m.lobster"))
	if err != nil || string(got) != tidyFlow {
		t.Errorf("got %q, %v, want %q", got, err, tidyFlow)
	}
}

// A run leaves its story in the journal, without what it read or wrote.
func TestJournalOfAWorkflow(t *testing.T) {
	t.Parallel()
	needShell(t)
	exe := executable(t, "lobster")
	p := newPlace(t, map[string]string{"f.lobster": "args:\n  a: {default: hush-hush}\nsteps:\n  - id: one\n    run: printf output\n  - id: gate\n    approval: Sure?\n  - id: two\n    run: printf done\n"},
		"LOBSTER_APPROVAL_APPROVED_BY=ana")
	_, stdout, _ := p.call(exe, "", "run", "--mode", "tool", "f.lobster")
	id := regexp.MustCompile(`"approvalId": "([0-9a-f]+)"`).FindStringSubmatch(stdout)
	if id == nil {
		t.Fatalf("no approval in %s", stdout)
	}
	if _, stdout, _ = p.call(exe, "", "approvals", id[1]); !regexp.MustCompile(`(?s)Sure\?.*then:  two \[.*\] printf done`).MatchString(stdout) {
		t.Errorf("approvals: got %s", stdout)
	}
	p.call(exe, "", "resume", "--id", id[1], "--approve", "yes")
	_, stdout, _ = p.call(exe, "", "log")
	run, _, _ := strings.Cut(stdout, " ")
	_, stdout, _ = p.call(exe, "", "log", run)
	for _, part := range []string{"f.lobster", "step.end", "one", `asks "Sure?"`, `by "ana"`, "two", "ok"} {
		if !strings.Contains(stdout, part) {
			t.Errorf("the log lacks %q:\n%s", part, stdout)
		}
	}
	_, stdout, _ = p.call(exe, "", "log", "--json")
	for _, private := range []string{"output", "hush-hush", "done"} {
		if strings.Contains(stdout, private) {
			t.Errorf("the journal holds %q:\n%s", private, stdout)
		}
	}
}

func TestShims(t *testing.T) {
	t.Parallel()
	needShell(t)
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r.Body)
		bodies = append(bodies, b.String())
		_, _ = w.Write([]byte(`{"ok":true,"result":["done"]}`))
	}))
	defer server.Close()
	for _, name := range []string{"openclaw.invoke", "clawd.invoke"} {
		p := newPlace(t, nil, "OPENCLAW_URL="+server.URL)
		code, stdout, stderr := p.call(executable(t, name), "", "--tool", "message", "--action", "send", `--args-json={"text":"it's | \"here\""}`, "--session-key", "a b")
		if code != 0 || stdout != "[\n  \"done\"\n]\n" {
			t.Errorf("%s: got %d, %q, %q", name, code, stdout, stderr)
		}
	}
	want := `{"tool":"message","action":"send","args":{"text":"it's | \"here\""},"sessionKey":"a b"}`
	if len(bodies) != 2 || bodies[0] != want || bodies[1] != want {
		t.Errorf("got requests %q, want twice %q", bodies, want)
	}
}

func FuzzRunFlags(f *testing.F) {
	f.Add("run\x00--mode\x00tool\x00exec ls")
	f.Add("--file\x00--dry-run\x00--args-json={}")
	f.Fuzz(func(t *testing.T, words string) {
		args := strings.Split(words, "\x00")
		parsed := parseRun(args)
		if len(parsed.rest) > len(args) {
			t.Errorf("%q: more words came out than went in: %q", args, parsed.rest)
		}
		if flags, err := parseResume(args); err == nil && flags.token == "" && flags.id == "" {
			t.Errorf("%q: a resume of nothing", args)
		}
	})
}
