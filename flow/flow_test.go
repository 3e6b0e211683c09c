package flow_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lobstah/flow"
	"lobstah/flow/interp"
	"lobstah/flow/state"
	"lobstah/flow/stdlib"
	"lobstah/flow/value"
	"lobstah/flow/workflow"
)

// sealed returns a shell that can reach nothing but its own state directory; run answers for every process.
func sealed(t *testing.T, run func(p *interp.Process) (string, int)) *flow.Shell {
	t.Helper()
	pauses := state.Open(filepath.Join(t.TempDir(), "state"))
	env := &interp.Env{Commands: interp.NewRegistry(stdlib.Commands()...), Mode: interp.Tool, Vars: map[string]string{}, Stdout: io.Discard, Stderr: io.Discard, Store: pauses}
	if run != nil {
		env.Exec = func(_ context.Context, p *interp.Process) (interp.Exit, error) {
			out, code := run(p)
			_, err := io.WriteString(p.Stdout, out)
			return interp.Exit{Code: code}, err
		}
	}
	return &flow.Shell{Env: env, Pauses: pauses}
}

func collect(t *testing.T, o flow.Outcome, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	items, err := interp.Collect(o.Output)
	if err != nil {
		t.Fatal(err)
	}
	return value.List(items...).JSON()
}

func TestSealedShell(t *testing.T) {
	t.Parallel()
	s := sealed(t, nil)
	if _, err := s.Pipeline(t.Context(), "exec ls"); !errors.Is(err, interp.ErrNoHandler) {
		t.Errorf("exec without processes: got %v", err)
	}
	if _, err := s.Pipeline(t.Context(), "template --file x"); !errors.Is(err, interp.ErrNoHandler) {
		t.Errorf("template without files: got %v", err)
	}
	o, err := s.Pipeline(t.Context(), "commands.list | where name=head | pick name")
	if got := collect(t, o, err); got != `[{"name":"head"}]` {
		t.Errorf("got %s", got)
	}
}

func TestChainOfPauses(t *testing.T) {
	t.Parallel()
	var ran []string
	s := sealed(t, func(p *interp.Process) (string, int) {
		ran = append(ran, strings.Join(p.Argv, " "))
		return strings.Join(p.Argv[1:], " ") + "\n", 0
	})
	o, err := s.Pipeline(t.Context(), "exec a 1 | approve --prompt P | ask --prompt Q --schema '{\"type\":\"number\"}' | exec b 2 --stdin raw | approve --prompt R")
	collect(t, o, err)
	if o.Status != workflow.NeedsApproval || value.Text(o.Approval.Field("prompt")) != "P" {
		t.Fatalf("got %s %s", o.Status, o.Approval.JSON())
	}
	first := value.Text(o.Approval.Field("resumeToken"))
	o, err = s.Resume(t.Context(), first, "", workflow.Answer{Approve: new(true)})
	collect(t, o, err)
	if o.Status != workflow.NeedsInput || value.Text(o.Input.Field("prompt")) != "Q" {
		t.Fatalf("got %s %s", o.Status, o.Input.JSON())
	}
	token := value.Text(o.Input.Field("resumeToken"))
	if _, err := s.Resume(t.Context(), token, "", workflow.Answer{Response: value.String("x")}); err == nil || err.Error() != "pipeline input response failed schema validation at /: must be number" {
		t.Errorf("a misfit answer: got %v", err)
	}
	o, err = s.Resume(t.Context(), token, "", workflow.Answer{Response: value.Int(5)})
	collect(t, o, err)
	if got := o.Approval.Field("items").JSON(); got != `["2"]` {
		t.Errorf("got items %s", got)
	}
	if want := []string{"a 1", "b 2"}; !slices.Equal(ran, want) {
		t.Errorf("ran %v, want %v", ran, want)
	}
	for _, old := range []string{first, token} {
		if _, err := s.Resume(t.Context(), old, "", workflow.Answer{Approve: new(true), Response: value.Int(5)}); err == nil || err.Error() != "Pipeline resume state not found" {
			t.Errorf("a used token: got %v", err)
		}
	}
	o, err = s.Resume(t.Context(), "", value.Text(o.Approval.Field("approvalId")), workflow.Answer{Approve: new(false)})
	if collect(t, o, err); o.Status != workflow.Cancelled {
		t.Errorf("got %s, want it cancelled", o.Status)
	}
	waiting, err := s.Waiting(t.Context())
	if err != nil || len(waiting) != 0 {
		t.Errorf("got %v, %v, want nothing left", waiting, err)
	}
}

func TestPausesExpire(t *testing.T) {
	t.Parallel()
	s := sealed(t, nil)
	o, err := s.Pipeline(t.Context(), "approve --prompt P")
	collect(t, o, err)
	s.Pauses.Now = func() time.Time { return time.Now().Add(state.DefaultTTL + time.Hour) }
	_, err = s.Resume(t.Context(), value.Text(o.Approval.Field("resumeToken")), "", workflow.Answer{Approve: new(true)})
	if err == nil || err.Error() != "Pipeline resume state not found" {
		t.Errorf("an expired pause: got %v", err)
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	s := sealed(t, nil)
	_, err := s.Pipeline(t.Context(), "a 'b")
	if _, ok := errors.AsType[*flow.ParseError](err); !ok || err.Error() != "Unclosed quote" {
		t.Errorf("got %v", err)
	}
	for token, want := range map[string]string{"": "Invalid token", "abc": "Invalid token", "e30": "Unsupported protocol version"} {
		_, err := s.Resume(t.Context(), token, "", workflow.Answer{Cancel: true})
		if _, ok := errors.AsType[*flow.ParseError](err); !ok || err.Error() != want {
			t.Errorf("token %q: got %v, want %s", token, err, want)
		}
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	s := sealed(t, nil)
	if err := s.PlanPipeline(&b, "head --n 1 x | exec --2 y z"); err != nil {
		t.Fatal(err)
	}
	if want := "[DRY RUN] Pipeline (2 stages):\n  1. head  args: x, n=1\n  2. exec  args: 2=y, z\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	if err := s.PlanPipeline(&b, "nope"); err == nil || err.Error() != "Unknown command: nope" {
		t.Errorf("got %v", err)
	}
}

// What LOBSTER_COMMANDS leaves out is out everywhere: in pipelines, in resumed ones, in steps, and as shell text.
func TestOnlyNamedCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "f.lobster")
	if err := os.WriteFile(file, []byte("steps:\n  - id: a\n    run: echo hi\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(names string) *flow.Shell {
		environ := []string{"LOBSTER_STATE_DIR=" + filepath.Join(dir, "state"), "LOBSTER_JOURNAL_DIR=off", "LOBSTER_COMMANDS=" + names, "PATH=" + os.Getenv("PATH")}
		s, err := flow.Open(environ, interp.Tool, flow.Streams{Out: io.Discard, Err: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const gate = "commands.list | head --n 1 | approve --prompt P | map --wrap x"
	paused, err := open("commands.list, approve head,map").Pipeline(t.Context(), gate)
	collect(t, paused, err)
	token := value.Text(paused.Approval.Field("resumeToken"))
	few := open("commands.list,head")
	_, fromPipeline := few.Pipeline(t.Context(), gate)
	_, fromFile := few.File(t.Context(), file, value.Undefined)
	_, fromPlan := few.Resume(t.Context(), token, "", workflow.Answer{Approve: new(true)})
	for what, err := range map[string]error{"a pipeline": fromPipeline, "shell text": fromFile, "a resumed pipeline": fromPlan, "a plan": few.PlanPipeline(io.Discard, gate)} {
		if refused, ok := errors.AsType[interp.NotAllowedError](err); !ok {
			t.Errorf("%s: got %v, want a NotAllowedError", what, err)
		} else if what == "shell text" && refused.Name != "exec" {
			t.Errorf("%s: %v", what, err)
		}
	}
	// What would run a program or lead a secret astray in another way needs exec, too.
	setter := filepath.Join(dir, "setter.lobster")
	if err := os.WriteFile(setter, []byte("steps:\n  - id: a\n    pipeline: head\n    env: {GOG_BIN: ./evil}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := few.File(t.Context(), setter, value.Undefined); err == nil || !strings.Contains(err.Error(), "sets environment variables") {
		t.Errorf("a file that sets variables: %v", err)
	}
	_, err = open("mcp.call").Pipeline(t.Context(), "mcp.call --server 'touch evil' --tool x")
	if _, ok := errors.AsType[interp.NotAllowedError](err); !ok {
		t.Errorf("a server that is shell text: got %v, want a NotAllowedError", err)
	}
	if _, err := few.Pipeline(t.Context(), "nothing"); !strings.Contains(fmt.Sprint(err), "Unknown command: nothing") {
		t.Errorf("an unknown command: %v", err)
	}
	o, err := open("exec").File(t.Context(), file, value.Undefined)
	if got := collect(t, o, err); got != `["hi\n"]` {
		t.Errorf("with exec: %s", got)
	}
}
