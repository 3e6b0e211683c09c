package interop

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const originalLobster = "js/node_modules/.bin/lobster"

// envelope is what both programs print in tool mode.
type envelope struct {
	OK               bool   `json:"ok"`
	Error            any    `json:"error,omitempty"`
	Status           string `json:"status"`
	Output           any    `json:"output"`
	RequiresApproval *struct {
		ResumeToken string `json:"resumeToken"`
		ApprovalID  string `json:"approvalId"`
		Prompt      string `json:"prompt"`
		Items       any    `json:"items"`
	} `json:"requiresApproval"`
	RequiresInput *struct {
		ResumeToken string `json:"resumeToken"`
		Prompt      string `json:"prompt"`
		Schema      any    `json:"responseSchema"`
		Subject     any    `json:"subject"`
	} `json:"requiresInput"`
}

const workflowFile = `name: release
args:
  who: {default: world}
steps:
  - id: list
    command: echo '[{"n":1},{"n":2}]'
  - id: ok
    approval: Go on for ${who}?
    stdin: $list.stdout
  - id: done
    command: cat
    stdin: $list.stdout
    condition: $ok.approved
`

// handover is a run, and how it is resumed at each of its pauses.
type handover struct {
	run     []string
	byID    bool // resume with the approval id instead of the token
	answers [][]string
	env     []string
}

// TestPausedRunsChangeHands pauses a run with one program and resumes it with
// the other, in both directions, over the state folder that they share.
func TestPausedRunsChangeHands(t *testing.T) {
	original, ours := bothLobsters(t)
	for name, test := range handovers(t) {
		t.Run(name, func(t *testing.T) {
			want := handOver(t, [2]string{original, original}, test)
			if strings.Contains(want, `"ok":false`) {
				t.Fatalf("the original alone ends as %s", want)
			}
			for direction, programs := range map[string][2]string{
				"ours to the original": {ours, original}, "the original's to ours": {original, ours}, "ours to ours": {ours, ours},
			} {
				if got := handOver(t, programs, test); got != want {
					t.Errorf("%s ends as %s\nthe original alone as %s", direction, got, want)
				}
			}
		})
	}
}

// bothLobsters returns the paths of the original and of ours.
func bothLobsters(t *testing.T) (original, ours string) {
	t.Helper()
	original, err := filepath.Abs(originalLobster)
	if err == nil {
		_, err = os.Stat(original)
	}
	if err != nil {
		missing(t, "run npm ci in interop/js first: %v", err)
	}
	ours = filepath.Join(t.TempDir(), "lobster")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", ours, "../cmd/lobster").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return original, ours
}

// handovers are the cases. Those with several answers change hands at every
// pause.
func handovers(t *testing.T) map[string]handover {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"release": workflowFile, "gates": twoGates, "input": inputFile, "child": childFile, "parent": parentFile,
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".lobster"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	line := func(text string) []string { return []string{"run", "--mode", "tool", text} }
	file := func(name string, more ...string) []string {
		return append([]string{"run", "--mode", "tool", "--file", filepath.Join(dir, name+".lobster")}, more...)
	}
	answer := func(json string) []string { return []string{"--response-json", json} }
	yes, no, cancel := []string{"--approve", "yes"}, []string{"--approve", "no"}, []string{"--cancel"}
	return map[string]handover{
		"approved":              {run: line(gate), answers: [][]string{yes}},
		"approved by id":        {run: line(gate), byID: true, answers: [][]string{yes}},
		"approved by a long id": {run: line(gate), byID: true, answers: [][]string{yes}, env: []string{"LOBSTER_LONG_IDS=1"}},
		"denied by id":          {run: line(gate), byID: true, answers: [][]string{no}},
		"denied":                {run: line(gate), answers: [][]string{no}},
		"cancelled":             {run: line(gate), answers: [][]string{cancel}},
		"answered":              {run: line(question), answers: [][]string{answer(`{"decision":"approve"}`)}},
		"answered by schema":    {run: line(typedQuestion), answers: [][]string{answer(`{"n":3}`)}},
		"a second gate":         {run: line(gate + " | approve --prompt 'Sure?'"), answers: [][]string{yes, yes}},
		"a gate, a question":    {run: line(gate + " | ask --prompt 'When?'"), answers: [][]string{yes, answer(`{"decision":"reject"}`)}},
		"workflow approved":     {run: file("release", "--args-json", `{"who":"all"}`), answers: [][]string{yes}},
		"workflow by id":        {run: file("release"), byID: true, answers: [][]string{yes}},
		"workflow denied":       {run: file("release"), answers: [][]string{no}},
		"workflow, two gates":   {run: file("gates"), answers: [][]string{yes, yes}},
		"second gate denied":    {run: file("gates"), byID: true, answers: [][]string{yes, no}},
		"workflow input":        {run: file("input"), answers: [][]string{answer(`{"colour":"red"}`)}},
		"nested workflow":       {run: file("parent"), answers: [][]string{yes}},
	}
}

const (
	gate          = `exec --json 'echo [3,1,2]' | approve --prompt 'Go on?' | sort | head 2`
	question      = `exec --json 'echo [1,2]' | ask --prompt 'When?'`
	typedQuestion = `exec --json 'echo [1,2]' | ask --prompt 'How many?' --schema '{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}'`
)

const twoGates = `steps:
  - id: first
    approval: Begin?
  - id: one
    run: echo '{"n":1}'
  - id: second
    approval: Go on?
    stdin: $one.json
  - id: two
    run: cat
    stdin: $one.json
`

const inputFile = `steps:
  - id: list
    run: echo '["red","green"]'
  - id: choose
    stdin: $list.json
    input:
      prompt: Which colour?
      responseSchema: {type: object, properties: {colour: {type: string, enum: [red, green]}}, required: [colour]}
  - id: paint
    run: cat
    stdin: $choose.response
`

const childFile = `args: {word: {default: none}}
steps:
  - id: say
    pipeline: exec --json 'echo "[1,2]"' | map --wrap ${word}
`

const parentFile = `steps:
  - id: ok
    approval: Begin?
  - id: inner
    workflow: child.lobster
    workflow_args: {word: got}
`

// handOver runs with one program, hands the run to the other at each pause and
// returns the end as JSON. Between the pauses both must ask the same.
func handOver(t *testing.T, programs [2]string, h handover) string {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state")
	now := lobster(t, state, programs[0], h.run, h.env)
	var all []string
	for i, answer := range h.answers {
		ticket := now.ticket(h.byID)
		if ticket == nil {
			t.Fatalf("%s did not pause: %+v", programs[i%2], now)
		}
		now = lobster(t, state, programs[(i+1)%2], slices.Concat([]string{"resume"}, ticket, answer), h.env)
		all = append(all, now.text(t))
	}
	return strings.Join(all, "\n")
}

// ticket is what names a paused run, or nil if this one did not pause.
func (e envelope) ticket(byID bool) []string {
	switch {
	case e.RequiresApproval != nil && byID && e.RequiresApproval.ApprovalID != "":
		return []string{"--id", e.RequiresApproval.ApprovalID}
	case e.RequiresApproval != nil && !byID:
		return []string{"--token", e.RequiresApproval.ResumeToken}
	case e.RequiresInput != nil:
		return []string{"--token", e.RequiresInput.ResumeToken}
	}
	return nil
}

// text is the envelope without what is random in it.
func (e envelope) text(t *testing.T) string {
	t.Helper()
	if e.RequiresApproval != nil {
		asked := *e.RequiresApproval
		asked.ResumeToken, asked.ApprovalID = "", ""
		e.RequiresApproval = &asked
	}
	if e.RequiresInput != nil {
		asked := *e.RequiresInput
		asked.ResumeToken = ""
		e.RequiresInput = &asked
	}
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// lobster runs a program and reads the envelope that it prints last.
func lobster(t *testing.T, state, program string, args, env []string) envelope {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(append(os.Environ(), "LOBSTER_STATE_DIR="+state, "LOBSTER_MODE=tool"), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var e envelope
	if jsonErr := json.Unmarshal(out, &e); jsonErr != nil {
		t.Fatalf("%s %q: %v, %v\n%s%s", program, args, err, jsonErr, out, stderr.Bytes())
	}
	return e
}
