package interop

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const originalLobster = "js/node_modules/.bin/lobster"

// envelope is what both programs print in tool mode.
type envelope struct {
	OK               bool   `json:"ok"`
	Status           string `json:"status"`
	Output           any    `json:"output"`
	RequiresApproval *struct {
		ResumeToken string `json:"resumeToken"`
		ApprovalID  string `json:"approvalId"`
	} `json:"requiresApproval"`
	RequiresInput *struct {
		ResumeToken string `json:"resumeToken"`
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

// TestPausedRunsChangeHands pauses a run with one program and resumes it with
// the other, in both directions, over the state folder that they share.
func TestPausedRunsChangeHands(t *testing.T) {
	original, err := filepath.Abs(originalLobster)
	if err == nil {
		_, err = os.Stat(original)
	}
	if err != nil {
		missing(t, "run npm ci in interop/js first: %v", err)
	}
	ours := filepath.Join(t.TempDir(), "lobster")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", ours, "../cmd/lobster").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	file := filepath.Join(t.TempDir(), "release.lobster")
	if err := os.WriteFile(file, []byte(workflowFile), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ run, resume []string }{
		"approved":          {[]string{"run", "--mode", "tool", gate}, []string{"--approve", "yes"}},
		"denied":            {[]string{"run", "--mode", "tool", gate}, []string{"--approve", "no"}},
		"cancelled":         {[]string{"run", "--mode", "tool", gate}, []string{"--cancel"}},
		"answered":          {[]string{"run", "--mode", "tool", question}, []string{"--response-json", `{"decision":"later"}`}},
		"workflow approved": {[]string{"run", "--mode", "tool", "--file", file, "--args-json", `{"who":"all"}`}, []string{"--approve", "yes"}},
		"workflow denied":   {[]string{"run", "--mode", "tool", "--file", file}, []string{"--approve", "no"}},
	} {
		t.Run(name, func(t *testing.T) {
			want := handOver(t, original, original, test.run, test.resume)
			if !strings.Contains(want, `"ok":true`) {
				t.Fatalf("the original alone ends as %s", want)
			}
			for direction, programs := range map[string][2]string{
				"ours to the original": {ours, original}, "the original's to ours": {original, ours}, "ours to ours": {ours, ours},
			} {
				if got := handOver(t, programs[0], programs[1], test.run, test.resume); got != want {
					t.Errorf("%s ends as %s\nthe original alone as %s", direction, got, want)
				}
			}
		})
	}
}

const (
	gate     = `exec --json 'echo [3,1,2]' | approve --prompt 'Go on?' | sort | head 2`
	question = `exec --json 'echo [1,2]' | ask --prompt 'When?'`
)

// handOver pauses with one program, resumes with the other and returns the end
// as JSON.
func handOver(t *testing.T, first, second string, run, resume []string) string {
	t.Helper()
	state := t.TempDir()
	paused := lobster(t, state, first, run)
	token := ""
	switch {
	case paused.RequiresApproval != nil:
		token = paused.RequiresApproval.ResumeToken
	case paused.RequiresInput != nil:
		token = paused.RequiresInput.ResumeToken
	}
	if token == "" {
		t.Fatalf("%s did not pause: %+v", first, paused)
	}
	ended := lobster(t, state, second, append([]string{"resume", "--token", token}, resume...))
	text, err := json.Marshal(ended)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// lobster runs a program and reads the envelope that it prints last.
func lobster(t *testing.T, state, program string, args []string) envelope {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "LOBSTER_STATE_DIR="+state, "LOBSTER_MODE=tool")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var e envelope
	if jsonErr := json.Unmarshal(out, &e); jsonErr != nil {
		t.Fatalf("%s %q: %v, %v\n%s%s", program, args, err, jsonErr, out, stderr.Bytes())
	}
	return e
}
