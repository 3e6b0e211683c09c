package workflow_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/flow/state"
	"lobstah/flow/value"
	"lobstah/flow/workflow"
)

// world is a directory with a state directory and a journal, and what runs print.
type world struct {
	t      *testing.T
	dir    string
	vars   map[string]string
	stderr bytes.Buffer
}

func newWorld(t *testing.T) *world {
	dir := t.TempDir()
	return &world{t: t, dir: dir, vars: map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": dir, "LOBSTER_STATE_DIR": filepath.Join(dir, "state"), "W": dir,
	}}
}

func (w *world) write(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) options() workflow.Options {
	opts := options(w.vars, os.Stdout, &w.stderr)
	env := *opts.Env
	env.Dir = w.dir
	opts.Env = &env
	return opts
}

func (w *world) run(text string) (workflow.Outcome, error) {
	w.t.Helper()
	f, err := workflow.Load(w.write("flow.lobster", text))
	if err != nil {
		w.t.Fatal(err)
	}
	return workflow.Run(w.t.Context(), f, w.options())
}

func (w *world) resume(out workflow.Outcome, a workflow.Answer) (workflow.Outcome, error) {
	w.t.Helper()
	tok, err := state.DecodeToken(value.Text(out.Request.Field("resumeToken")))
	if err != nil {
		w.t.Fatal(err)
	}
	return workflow.Resume(w.t.Context(), tok.Key, a, w.options())
}

func (w *world) listing() string {
	entries, err := os.ReadDir(filepath.Join(w.dir, "state"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func (w *world) has(name string) bool {
	_, err := os.Stat(filepath.Join(w.dir, name))
	return err == nil
}

func yes() workflow.Answer { return workflow.Answer{Approve: new(true)} }

func outputOf(out workflow.Outcome, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	return string(out.Status) + " " + value.List(out.Output...).JSON()
}

func TestSteps(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, file, want string }{
		{"last step counts", "steps: [{id: a, run: echo one}, {id: b, run: echo two}]", `ok ["two\n"]`},
		{"json is spread", "steps: [{id: a, run: 'echo [1,2]'}]", `ok [1,2]`},
		{"stdin reference", "steps: [{id: a, pipeline: head, stdin: {k: [7]}}, {id: b, run: cat, stdin: $a.json.k}]", `ok [7]`},
		{"pipeline", "steps: [{id: a, pipeline: 'where n>1 | pick n', stdin: [{n: 1}, {n: 2, x: 3}]}]", `ok [{"n":2}]`},
		{"rendered pipeline", "steps: [{id: a, pipeline: json, stdin: [1]}, {id: b, run: 'printf %s \"$V\"', env: {V: $a.stdout}}]", `ok [1]`},
		{"skipped", "steps: [{id: a, run: echo 1}, {id: b, run: echo 2, when: $a.json > 5}]", `ok [1]`},
		{"failure", "steps: [{id: a, run: 'echo no >&2; exit 3'}]", "error: workflow command failed (3): no"},
		{"continue", "steps: [{id: a, run: exit 2, on_error: continue}, {id: b, run: 'printf %s \"$M\"', env: {M: $a.errorMessage}}]", `ok ["workflow command failed (2): exit 2"]`},
		{"skip rest", "steps: [{id: z, run: echo 1}, {id: a, run: exit 2, on_error: skip_rest}, {id: b, run: echo 3}]", `ok [1]`},
		{"conditions are not caught", "steps: [{id: a, run: ls, when: $b.json, on_error: continue}]", "error: Unknown step reference: b.json"},
		{"loop", "steps: [{id: a, run: 'echo [1,2]'}, {id: l, for_each: $a.json, steps: [{id: s, run: 'echo $(($item.json * 10))', when: '$index.json > 0'}]}]",
			`ok [{"item":1,"index":0},{"item":2,"index":1,"s":20}]`},
		{"loop with on_error", "steps: [{id: a, run: 'echo [1]'}, {id: l, for_each: $a.json, on_error: continue, steps: [{id: s, run: exit 1}]}, {id: z, run: echo 9}]", `ok [9]`},
		{"branches", "steps: [{id: p, parallel: {branches: [{id: x, run: echo 1}, {id: y, pipeline: head, stdin: [2]}]}}]", `ok [{"x":1,"y":2}]`},
		{"a branch fails", "steps: [{id: p, parallel: {branches: [{id: x, run: 'sleep 0.2; exit 4'}, {id: y, run: exit 5}]}}]", "error: Parallel branch failed: workflow command failed (4): sleep 0.2; exit 4"},
		{"race", "steps: [{id: p, parallel: {wait: any, branches: [{id: x, run: sleep 30}, {id: y, run: echo 1}]}}]", `ok [{"y":1}]`},
		{"block timeout", "steps: [{id: p, parallel: {timeout_ms: 50, branches: [{id: x, run: sleep 30}]}}]", "error: Parallel step p timed out after 50ms"},
		{"step timeout", "steps: [{id: a, timeout_ms: 50, run: sleep 30}]", "error: Step 'a' timed out after 50ms"},
		{"timeout around a loop", "steps: [{id: a, run: 'echo [1,2]'}, {id: l, timeout_ms: 50, for_each: $a.json, steps: [{id: s, run: sleep 30}]}]", "error: Step 'l' timed out after 50ms"},
		{"no gate in a pipeline", "steps: [{id: a, pipeline: approve, on_error: continue}]", "error: Workflow step a halted for approval inside pipeline stage approve. Use a separate approval step in the workflow file."},
		{"missing directory", "steps: [{id: a, cwd: nowhere, run: pwd}]", "error: workflow shell not found; check LOBSTER_SHELL or ComSpec"},
		{"output limit", "env: {LOBSTER_MAX_OUTPUT_BYTES: \"10\"}\nsteps: [{id: a, run: 'echo 1234567890123'}]", "error: Process output exceeded 10 bytes"},
		{"cost", "cost_limit: {max_usd: 0.004, action: stop}\nsteps: [{id: a, run: cat, stdin: {model: gpt-4o, usage: {input_tokens: 1000, output_tokens: 200}}, on_error: continue}]",
			"error: Cost limit exceeded: $0.0045 > $0.00 limit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := outputOf(newWorld(t).run(tt.file)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestNestedFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("kid.lobster", "args: {who: {default: nobody}}\nsteps: [{id: c, run: 'printf %s \"$LOBSTER_ARG_WHO\"'}]")
	w.write("gate.lobster", "steps: [{id: g, approval: sure?}]")
	w.write("round.lobster", "steps: [{id: r, workflow: round.lobster}]")
	tests := map[string]string{
		"steps: [{id: a, workflow: kid.lobster, workflow_args: {who: Kim}}]":  `ok ["Kim"]`,
		"args: {who: {default: me}}\nsteps: [{id: a, workflow: kid.lobster}]": `ok ["nobody"]`,
		"steps: [{id: a, workflow: gate.lobster}]":                            "error: Workflow step a sub-workflow halted for approval. Sub-workflow approval/input gates are not supported in composition.",
		"steps: [{id: a, workflow: none.lobster}]":                            "error: Workflow step a workflow file not found: " + filepath.Join(w.dir, "none.lobster"),
		"steps: [{id: a, workflow: round.lobster}]":                           "error: Workflow step r creates a cycle: " + filepath.Join(w.dir, "round.lobster") + " is already being executed",
	}
	for file, want := range tests {
		if got := outputOf(w.run(file)); got != want {
			t.Errorf("%s\ngot %s, want %s", file, got, want)
		}
	}
	if w.listing() != "" {
		t.Errorf("a gate of a nested file left %s", w.listing())
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out, err := w.run("steps: [{id: a, retry: {max: 3, delay_ms: 1}, run: 'echo x >> tries; [ $(wc -l < tries) -ge 3 ] && echo 1'}]")
	if got := outputOf(out, err); got != "ok [1]" {
		t.Errorf("got %s", got)
	}
	if n := strings.Count(w.stderr.String(), "[RETRY] Step 'a' failed (attempt "); n != 2 {
		t.Errorf("%d retries announced in %q", n, w.stderr.String())
	}
}

func TestCancelKeepsAnUnusedPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out, err := w.run("steps: [{id: g, approval: ok?}, {id: b, run: touch done}]")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("Received SIGTERM"))
	tok, _ := state.DecodeToken(value.Text(out.Request.Field("resumeToken")))
	if _, err := workflow.Resume(ctx, tok.Key, yes(), w.options()); err == nil || err.Error() != "Received SIGTERM" {
		t.Errorf("Resume = %v, want the signal", err)
	}
	if got := outputOf(w.resume(out, yes())); got != "ok []" || !w.has("done") {
		t.Errorf("the pause was lost: %s", got)
	}
}

func TestChangedFileIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := "steps:\n  - id: g\n    approval: ok?\n  - id: b\n    run: touch before\n"
	out, err := w.run(file)
	if err != nil {
		t.Fatal(err)
	}
	w.write("flow.lobster", strings.Replace(file, "before", "after", 1))
	_, err = w.resume(out, yes())
	changed, ok := errors.AsType[*workflow.ChangedError](err)
	if !ok || !strings.Contains(changed.Diff, "-     run: touch before\n+     run: touch after") {
		t.Fatalf("Resume = %v, want a refusal with the difference", err)
	}
	if w.has("before") || w.has("after") {
		t.Error("a step ran")
	}
	w.write("flow.lobster", file)
	if got := outputOf(w.resume(out, yes())); got != "ok []" || !w.has("before") {
		t.Errorf("after restoring the file: %s", got)
	}
}

func TestChangedFileCanBeAllowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out, err := w.run("steps: [{id: g, approval: ok?}, {id: b, run: touch before}]")
	if err != nil {
		t.Fatal(err)
	}
	w.write("flow.lobster", "steps: [{id: g, approval: ok?}, {id: b, run: touch after}]")
	opts := w.options()
	opts.AllowChanged = true
	tok, _ := state.DecodeToken(value.Text(out.Request.Field("resumeToken")))
	if got := outputOf(workflow.Resume(t.Context(), tok.Key, yes(), opts)); got != "ok []" || !w.has("after") || !strings.Contains(w.stderr.String(), "[WARN]") {
		t.Errorf("got %s, stderr %s", got, w.stderr.String())
	}
}

func TestChangedNestedFileIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("kid.lobster", "steps: [{id: c, run: touch good}]")
	out, err := w.run("steps: [{id: g, approval: ok?}, {id: b, workflow: kid.lobster, on_error: continue}]")
	if err != nil {
		t.Fatal(err)
	}
	w.write("kid.lobster", "steps: [{id: c, run: touch evil}]")
	if _, err := w.resume(out, yes()); err == nil || !strings.Contains(err.Error(), "has changed since the run was paused") {
		t.Errorf("Resume = %v, want a refusal", err)
	}
	if w.has("good") || w.has("evil") {
		t.Error("a step ran")
	}
}

func TestLoopsAndBranchesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.run("env: {LOBSTER_MAX_LOOP_ITEMS: '2'}\nsteps: [{id: a, run: 'echo [1,2,3]'}, {id: l, for_each: $a.json, steps: [{id: s, run: touch ran}]}]")
	if err == nil || !strings.Contains(err.Error(), "3 items, more than 2") || w.has("ran") {
		t.Errorf("a long loop: got %v, want a refusal before its first round", err)
	}
	var branches strings.Builder
	for i := range 257 {
		fmt.Fprintf(&branches, "{id: b%d, run: touch ran},", i)
	}
	_, err = workflow.Parse("x.lobster", "steps: [{id: p, parallel: {branches: ["+branches.String()+"]}}]")
	if err == nil || !strings.Contains(err.Error(), "257 branches, more than 256") {
		t.Errorf("a wide step: got %v, want a refusal", err)
	}
}

func TestChangedScriptIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("make.sh", "touch good")
	w.write("data.txt", "1")
	before := w.write("old.sh", "true")
	out, err := w.run("steps: [{id: a, run: sh " + before + "}, {id: g, approval: ok?}, {id: b, run: 'cd . && sh ./make.sh < data.txt'}]")
	if err != nil {
		t.Fatal(err)
	}
	w.write("make.sh", "touch evil")
	if _, err := w.resume(out, yes()); err == nil || !strings.Contains(err.Error(), "make.sh has changed since the run was paused") {
		t.Errorf("Resume = %v, want a refusal", err)
	}
	w.write("make.sh", "touch good")
	w.write("data.txt", "2")
	w.write("old.sh", "false")
	if got := outputOf(w.resume(out, yes())); got != "ok []" || !w.has("good") || w.has("evil") {
		t.Errorf("data and scripts that have run may change: %s", got)
	}
}

func TestScriptOfTheGateItselfHasRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	script := w.write("build.sh", "touch built")
	out, err := w.run("steps: [{id: g, run: sh " + script + ", approval: ok?}, {id: b, run: touch shipped}]")
	if err != nil {
		t.Fatal(err)
	}
	w.write("build.sh", "touch other")
	if got := outputOf(w.resume(out, yes())); got != "ok []" || !w.has("shipped") || w.has("other") {
		t.Errorf("a script that has run may change: %s", got)
	}
}

func TestChangedArgumentsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out, err := w.run("args: {n: {default: 1}}\nsteps: [{id: g, approval: ok?}, {id: b, run: 'touch n$LOBSTER_ARG_N'}]")
	if err != nil {
		t.Fatal(err)
	}
	w.edit(out, `"n": 1`, `"n": 2`)
	if _, err := w.resume(out, yes()); err == nil || !strings.Contains(err.Error(), "arguments") {
		t.Errorf("Resume = %v, want a refusal", err)
	}
}

// edit changes the document of a pause.
func (w *world) edit(out workflow.Outcome, from, to string) {
	w.t.Helper()
	tok, err := state.DecodeToken(value.Text(out.Request.Field("resumeToken")))
	if err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.dir, "state", tok.Key+".json")
	doc, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	if !strings.Contains(string(doc), from) {
		w.t.Fatalf("%s is not in %s", from, doc)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(doc), from, to, 1)), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// A document as the original writes it has no binding.
func TestOriginalsDocumentResumesWithAWarning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := w.write("flow.lobster", "steps: [{id: a, run: echo 1}, {id: g, approval: ok?}, {id: b, run: 'printf %s \"$V\"', env: {V: \"$a.json $g.approved\"}}]")
	const key = "workflow_resume_00000000-0000-4000-8000-000000000000"
	if err := os.Mkdir(filepath.Join(w.dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.write("state/"+key+".json", `{"filePath":"`+path+`","resumeAtIndex":2,"steps":{"a":{"id":"a","stdout":"1\n","json":1},"g":{"id":"g"}},"args":{},"approvalStepId":"g","supersededResumeStateKeys":[],"createdAt":"2024-01-01T00:00:00.000Z"}`)
	got := outputOf(workflow.Resume(t.Context(), key, yes(), w.options()))
	if got != `ok ["1 true"]` || !strings.Contains(w.stderr.String(), "[WARN] This run was paused by a program") {
		t.Errorf("got %s, stderr %q", got, w.stderr.String())
	}
	if w.listing() != "" {
		t.Errorf("left behind: %s", w.listing())
	}
}

func TestBadDocuments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := w.write("flow.lobster", "steps: [{id: a, run: touch ran}]")
	if err := os.Mkdir(filepath.Join(w.dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	const key = "workflow_resume_00000000-0000-4000-8000-000000000000"
	for _, doc := range []string{
		`{}`, `[]`, `null`, `{`, `{"filePath":"` + path + `"}`, `{"filePath":"` + path + `","resumeAtIndex":-1,"steps":{},"args":{}}`,
		`{"filePath":"` + path + `","resumeAtIndex":0.5,"steps":{},"args":{}}`, `{"filePath":"` + path + `","resumeAtIndex":0,"steps":[],"args":{}}`,
		`{"filePath":"` + path + `","resumeAtIndex":0,"steps":{},"args":{},"approvalStepId":"a","inputStepId":"a"}`,
		`{"filePath":"` + path + `x","resumeAtIndex":0,"steps":{},"args":{},"approvalStepId":"a"}`,
	} {
		w.write("state/"+key+".json", doc)
		if out, err := workflow.Resume(t.Context(), key, yes(), w.options()); err == nil {
			t.Errorf("%s resumed as %s", doc, outputOf(out, nil))
		}
	}
	if w.has("ran") {
		t.Error("a step ran")
	}
}

func TestGateChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, err := w.run("steps: [{id: g, approval: 'One?'}, {id: a, run: 'echo x >> effects'}, {id: h, approval: 'Two?'}, {id: b, run: 'echo y >> effects'}]")
	if err != nil {
		t.Fatal(err)
	}
	second, err := w.resume(first, yes())
	if err != nil || second.Status != workflow.NeedsApproval {
		t.Fatalf("second gate: %s", outputOf(second, err))
	}
	if _, err := w.resume(first, yes()); !errors.Is(err, workflow.ErrNotFound) {
		t.Errorf("the first token still works: %v", err)
	}
	if got := outputOf(w.resume(second, yes())); got != "ok []" {
		t.Errorf("got %s", got)
	}
	if got, _ := os.ReadFile(filepath.Join(w.dir, "effects")); string(got) != "x\ny\n" {
		t.Errorf("effects %q", got)
	}
	if w.listing() != "" {
		t.Errorf("left behind: %s", w.listing())
	}
}

func TestOneOfManyResumesWins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out, err := w.run("steps: [{id: g, approval: ok?}, {id: a, run: 'echo x >> effects'}]")
	if err != nil {
		t.Fatal(err)
	}
	tok, _ := state.DecodeToken(value.Text(out.Request.Field("resumeToken")))
	opts := w.options()
	env := *opts.Env
	env.Stderr = nil
	opts.Env = &env
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 8 {
		wg.Go(func() {
			_, err := workflow.Resume(t.Context(), tok.Key, yes(), opts)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.Is(err, workflow.ErrNotFound):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	effects, _ := os.ReadFile(filepath.Join(w.dir, "effects"))
	if won != 1 || string(effects) != "x\n" {
		t.Errorf("%d resumes went through, effects %q", won, effects)
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out, err := w.run("steps: [{id: g, approval: {prompt: P, initiated_by: eve, required_approver: boss, require_different_approver: true}}, {id: b, run: 'printf %s \"$V\"', env: {V: \"$g.approvedBy $g.initiatedBy\"}}]")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ by, want string }{
		{"", "error: Workflow step g approval requires approver identity; set LOBSTER_APPROVAL_APPROVED_BY"},
		{" zoe ", "error: Workflow step g approval requires approver 'boss', got 'zoe'"},
		{"boss", `ok ["boss eve"]`},
	}
	for _, tt := range tests {
		w.vars["LOBSTER_APPROVAL_APPROVED_BY"] = tt.by
		out2, err := w.resume(out, yes())
		if got := outputOf(out2, err); got != tt.want {
			t.Errorf("by %q: got %s, want %s", tt.by, got, tt.want)
		}
		if _, isRefusal := errors.AsType[workflow.Refusal](err); err != nil && !isRefusal {
			t.Errorf("by %q: %v is no refusal", tt.by, err)
		}
	}
}

// What a step prints fills in a policy, but does not replace the file's.
func TestStepsDoNotChooseWhoApproves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const own = `stdin: {prompt: own, requiredApprover: eve, initiatedBy: nobody, requireDifferentApprover: true}`
	tests := []struct{ policy, want string }{
		{"required_approver: boss", `"initiatedBy":"nobody","requiredApprover":"boss","requireDifferentApprover":true`},
		{"initiated_by: eve", `"initiatedBy":"eve","requiredApprover":"eve","requireDifferentApprover":true`},
		{"prompt: P", `"initiatedBy":"nobody","requiredApprover":"eve","requireDifferentApprover":true`},
	}
	for _, tt := range tests {
		out, err := w.run("steps: [{id: g, approval: {" + tt.policy + "}, " + own + "}]")
		if err != nil {
			t.Fatal(err)
		}
		if got := out.Request.JSON(); !strings.Contains(got, `"prompt":"own"`) || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.policy, got, tt.want)
		}
	}
}

func TestQuestion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out, err := w.run("steps: [{id: q, input: {prompt: P, responseSchema: {type: object, properties: {n: {type: integer}}}}, stdin: [7]}, {id: b, run: 'printf %s \"$V\"', env: {V: \"$q.response.n $q.subject\"}}]")
	if err != nil || value.Text(out.Request.Field("subject")) != "7" {
		t.Fatalf("%s %s", outputOf(out, err), out.Request.JSON())
	}
	bad := workflow.Answer{Response: value.Record(value.F("n", value.String("x")))}
	if got := outputOf(w.resume(out, bad)); got != "error: Workflow input step q response failed schema validation at /n: must be integer" {
		t.Errorf("bad answer: %s", got)
	}
	if got := outputOf(w.resume(out, yes())); got != "error: Workflow resume requires --response-json for input requests" {
		t.Errorf("approval for a question: %s", got)
	}
	good := workflow.Answer{Response: value.Record(value.F("n", value.Int(3)))}
	if got := outputOf(w.resume(out, good)); got != `ok ["3 [7]"]` {
		t.Errorf("good answer: %s", got)
	}
}

func TestQuestionInPipeline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out, err := w.run("steps: [{id: p, pipeline: \"map --wrap x | ask --prompt Q | map --wrap got\", stdin: [1]}, {id: z, run: cat, stdin: $p.json}]")
	if err != nil || out.Status != workflow.NeedsInput {
		t.Fatal(outputOf(out, err))
	}
	answer := workflow.Answer{Response: value.Record(value.F("decision", value.String("reject")))}
	if got := outputOf(w.resume(out, answer)); got != `ok [{"got":{"decision":"reject"}}]` {
		t.Errorf("got %s", got)
	}
	if w.listing() != "" {
		t.Errorf("left behind: %s", w.listing())
	}
}

func TestRejectAndCancel(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]workflow.Answer{"no": {Approve: new(false)}, "cancel": {Cancel: true}} {
		w := newWorld(t)
		out, err := w.run("steps: [{id: g, approval: ok?}, {id: a, run: touch effect}]")
		if err != nil {
			t.Fatal(err)
		}
		if got := outputOf(w.resume(out, answer)); got != "cancelled []" || w.has("effect") || w.listing() != "" {
			t.Errorf("%s: %s, left %q", name, got, w.listing())
		}
		if _, err := w.resume(out, answer); err == nil {
			t.Errorf("%s worked twice", name)
		}
	}
}

func TestJournalTellsTheStory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.vars["LOBSTER_APPROVAL_APPROVED_BY"] = "ann"
	out, err := w.run("args: {key: {default: s3cret-value}}\nsteps: [{id: a, run: echo s3cret-value}, {id: g, approval: 'Go on?'}, {id: b, run: 'exit 3'}]")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.resume(out, yes()); err == nil {
		t.Fatal("the failing step succeeded")
	}
	var story []string
	for e, err := range w.options().Journal.Events() {
		if err != nil {
			t.Fatal(err)
		}
		story = append(story, strings.Join(strings.Fields(strings.Join([]string{e.Event, e.Step, e.Status, e.Decision, e.By, e.Error}, " ")), " "))
		if time.Since(e.Time) > time.Minute {
			t.Errorf("event at %v", e.Time)
		}
	}
	want := []string{
		"run.start", "step.start a", "step.end a ok", "step.start g", "step.end g ok", "run.pause needs_approval",
		"run.resume g yes ann", "step.start b", "step.end b error workflow command failed (3): exit 3", "run.end error workflow command failed (3): exit 3",
	}
	if got := strings.Join(story, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s", got)
	}
	raw, err := os.ReadFile(filepath.Join(w.dir, ".lobster", "journal", "runs.jsonl"))
	if err != nil || bytes.Contains(raw, []byte("s3cret")) {
		t.Errorf("the journal holds data: %s, %v", raw, err)
	}
}

// Documents recorded from the original program; see testdata/README.
func TestRecordedDocumentsResume(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer workflow.Answer
		want   string
	}{
		{"original-ask", workflow.Answer{Response: value.Record(value.F("decision", value.String("approve")))}, `ok [{"got":{"decision":"approve"}}]`},
		{"original-gate", yes(), `ok ["7 zoe"]`},
	}
	for _, tt := range tests {
		w := newWorld(t)
		w.vars["LOBSTER_APPROVAL_APPROVED_BY"] = "zoe"
		for _, ext := range []string{".lobster", ".json"} {
			text, err := os.ReadFile(filepath.Join("testdata", tt.name+ext))
			if err != nil {
				t.Fatal(err)
			}
			if ext == ".lobster" {
				w.write(strings.TrimPrefix(tt.name, "original-")+ext, string(text))
				continue
			}
			if err := os.Mkdir(filepath.Join(w.dir, "state"), 0o700); err != nil {
				t.Fatal(err)
			}
			dir, err := json.Marshal(w.dir)
			if err != nil {
				t.Fatal(err)
			}
			w.write("state/"+recordedKey+ext, strings.ReplaceAll(string(text), "@DIR@", strings.Trim(string(dir), `"`)))
		}
		if got := outputOf(workflow.Resume(t.Context(), recordedKey, tt.answer, w.options())); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
		if w.listing() != "" {
			t.Errorf("%s left %s", tt.name, w.listing())
		}
	}
}

const recordedKey = "workflow_resume_00000000-0000-4000-8000-000000000001"

func TestUpcomingShowsWhatWouldHappen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := "args: {to: {default: Kim}}\nsteps: [{id: a, run: echo 5}, {id: g, approval: ok?}, {id: b, run: 'send ${to} $a.json $g.approved $later.json'}, {id: c, run: ls, when: $a.json > 9}, " +
		"{id: d, run: ls, when: $b.json}, {id: e, for_each: $b.json, steps: [{id: s, run: 'ls $a.json $item.json'}]}, {id: p, parallel: {branches: [{id: q, run: rm y}]}}, {id: h, run: 'rm x', approval: true}]"
	if _, err := w.run(file); err != nil {
		t.Fatal(err)
	}
	waiting, err := w.options().Pauses.Waiting(t.Context())
	if err != nil || len(waiting) != 1 {
		t.Fatalf("%d runs wait, %v", len(waiting), err)
	}
	doc, err := value.Parse(string(waiting[0].Document))
	if err != nil {
		t.Fatal(err)
	}
	f, err := workflow.Load(filepath.Join(w.dir, "flow.lobster"))
	if err != nil {
		t.Fatal(err)
	}
	want := "b [shell] send Kim 5 true $later.json\nc [shell] skipped, because $a.json > 9 does not hold\nd [shell] if $b.json ls\ne [for_each] for each of $b.json\ne/s [shell] ls 5 $item.json\np [parallel] side by side\np/q [shell] rm y\nh [shell] rm x [asks for approval]"
	if got := strings.Join(workflow.Upcoming(f, doc), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, hostile := range []string{`{}`, `{"steps":5,"args":[],"resumeAtIndex":-3,"approvalStepId":"g"}`, `{"steps":{"g":1},"resumeAtIndex":1e9,"approvalStepId":"g"}`} {
		v, err := value.Parse(hostile)
		if err != nil {
			t.Fatal(err)
		}
		_ = workflow.Upcoming(f, v) // only that it ends
	}
}

func TestGateAfterGateHasOneSuccessor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out, err := w.run("steps: [{id: g, approval: one?}, {id: h, approval: two?}, {id: a, run: 'echo x >> effects'}]")
	if err != nil {
		t.Fatal(err)
	}
	tok, _ := state.DecodeToken(value.Text(out.Request.Field("resumeToken")))
	opts := w.options()
	var wg sync.WaitGroup
	next := make(chan workflow.Outcome, 8)
	for range 8 {
		wg.Go(func() {
			switch out, err := workflow.Resume(t.Context(), tok.Key, yes(), opts); {
			case err == nil:
				next <- out
			case !errors.Is(err, workflow.ErrNotFound):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	waiting, err := opts.Pauses.Waiting(t.Context())
	if len(next) != 1 || len(waiting) != 1 || err != nil {
		t.Fatalf("%d resumes went through, %d runs wait, %v", len(next), len(waiting), err)
	}
	if got := outputOf(w.resume(<-next, yes())); got != "ok []" || w.listing() != "" {
		t.Errorf("got %s, left %q", got, w.listing())
	}
	if effects, _ := os.ReadFile(filepath.Join(w.dir, "effects")); string(effects) != "x\n" {
		t.Errorf("effects %q", effects)
	}
}
