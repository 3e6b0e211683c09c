package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// leftOut names the cases that record a hole of the original which this program closes, each with the reason.
// docs/lobster-differences.md says the same to users.
var leftOut = map[string]string{
	"gate-file-edited-before-resume": "a resumed workflow is the one that was approved: a file that changed since is refused unless --allow-changed is given",
}

// corpusCase is one recorded case.
type corpusCase struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
	corpusStep
	Steps         []corpusStep             `json:"steps"`
	Files         map[string]any           `json:"files"`
	Env           map[string]*string       `json:"env"`
	HTTP          *corpusHTTP              `json:"http"`
	HTTPUnordered bool                     `json:"http_unordered"`
	ExpectFiles   map[string]any           `json:"expect_files"`
	ExpectHTTP    any                      `json:"expect_http"`
	Alt           map[string]corpusOutcome `json:"alt"`
}

// corpusStep is one invocation.
type corpusStep struct {
	Args     []string           `json:"args"`
	Stdin    *string            `json:"stdin"`
	StdinTTY *string            `json:"stdin_tty"`
	Env      map[string]*string `json:"env"`
	Files    map[string]any     `json:"files"`
	Remove   []string           `json:"remove"`
	Cwd      string             `json:"cwd"`
	TimeoutS float64            `json:"timeout_s"`
	Signal   *struct {
		Name     string   `json:"name"`
		WhenFile string   `json:"when_file"`
		AfterMS  *float64 `json:"after_ms"`
	} `json:"signal"`
	Capture map[string]string `json:"capture"`
	Expect  corpusExpect      `json:"expect"`
}

// corpusExpect is what an invocation must do; what is nil is not looked at.
type corpusExpect struct {
	ExitCode       *int            `json:"exit_code"`
	StdoutJSON     json.RawMessage `json:"stdout_json"`
	StdoutRaw      *string         `json:"stdout_raw"`
	StdoutText     *string         `json:"stdout_text"`
	StderrText     *string         `json:"stderr_text"`
	StdoutContains []string        `json:"stdout_contains"`
	StderrContains []string        `json:"stderr_contains"`
	StdoutLacks    []string        `json:"stdout_lacks"`
	StderrLacks    []string        `json:"stderr_lacks"`
	StdoutRegex    string          `json:"stdout_regex"`
	StderrRegex    string          `json:"stderr_regex"`
	MinMS          float64         `json:"min_ms"`
	Files          map[string]any  `json:"files"`
}

// corpusOutcome is another accepted outcome of a case.
type corpusOutcome struct {
	Steps       []corpusExpect `json:"steps"`
	ExpectFiles map[string]any `json:"expect_files"`
	ExpectHTTP  any            `json:"expect_http"`
}

func (c *corpusCase) steps() []corpusStep {
	if c.Steps != nil {
		return c.Steps
	}
	step := c.corpusStep
	step.Files, step.Env = nil, nil // those of the case itself
	return []corpusStep{step}
}

func (c *corpusCase) usesTTY() bool {
	return slices.ContainsFunc(c.steps(), func(s corpusStep) bool { return s.StdinTTY != nil })
}

func loadCorpus(t *testing.T) []*corpusCase {
	t.Helper()
	paths, err := filepath.Glob("testdata/corpus/*.json")
	if err != nil || len(paths) < 700 {
		t.Fatalf("the corpus has %d cases (%v), want more than 700", len(paths), err)
	}
	var cases []*corpusCase
	for _, path := range paths {
		doc, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c := new(corpusCase)
		if err := json.Unmarshal(doc, c); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		cases = append(cases, c)
	}
	return cases
}

// TestCorpus runs every recorded case of the original program against this one.
func TestCorpus(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the recorded cases need a POSIX shell and its tools")
	}
	exe := executable(t, "lobster")
	seen := map[string]bool{}
	for _, c := range loadCorpus(t) {
		seen[c.Name] = true
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			if reason, out := leftOut[c.Name]; out {
				t.Skip("left out: " + reason)
			}
			if c.usesTTY() && runtime.GOOS != "linux" {
				t.Skip("opens a terminal, which this test knows to do on Linux only")
			}
			c.verify(t, exe)
		})
	}
	for name := range leftOut {
		if !seen[name] {
			t.Errorf("left out case %q does not exist", name)
		}
	}
}

// verify runs the case and compares it with each accepted outcome.
func (c *corpusCase) verify(t *testing.T, exe string) {
	w := newCorpusWorld(t, c)
	got := w.execute(exe)
	recorded := corpusOutcome{ExpectFiles: c.ExpectFiles, ExpectHTTP: c.ExpectHTTP}
	for _, s := range c.steps() {
		recorded.Steps = append(recorded.Steps, s.Expect)
	}
	fault := got.differs(recorded)
	for _, alt := range c.Alt {
		if fault != "" && got.differs(alt) == "" {
			return
		}
	}
	if fault != "" {
		t.Error(fault)
	}
}

// observation is what a run of a case did, normalised.
type observation struct {
	steps []observedStep
	files map[string]any
	http  any
}

type observedStep struct {
	code           int
	took           time.Duration
	stdout, stderr string
	doc            any // stdout as JSON
	hasDoc         bool
	files          map[string]any
	captureFault   string
}

func (o *observation) differs(want corpusOutcome) string {
	for i, s := range want.Steps {
		if d := o.steps[i].differs(s); d != "" {
			return fmt.Sprintf("step %d: %s", i+1, d)
		}
	}
	if d := differentFiles(want.ExpectFiles, o.files); d != "" {
		return d
	}
	if want.ExpectHTTP != nil {
		if d := matchJSON(want.ExpectHTTP, o.http, ""); d != "" {
			return "requests " + d
		}
	}
	return ""
}

func differentFiles(want, got map[string]any) string {
	for name, file := range want {
		if d := matchJSON(file, got[name], ""); d != "" {
			return "file " + name + " " + d
		}
	}
	return ""
}

func (o observedStep) differs(want corpusExpect) string {
	if want.ExitCode != nil && *want.ExitCode != o.code {
		return fmt.Sprintf("exit code: got %d, want %d (stderr %q, stdout %q)", o.code, *want.ExitCode, o.stderr, o.stdout)
	}
	if d := o.differentDocument(want); d != "" {
		return d
	}
	for _, text := range []struct {
		name, got       string
		want            *string
		contains, lacks []string
		regex           string
	}{
		{"stdout", o.stdout, want.StdoutText, want.StdoutContains, want.StdoutLacks, want.StdoutRegex},
		{"stderr", o.stderr, want.StderrText, want.StderrContains, want.StderrLacks, want.StderrRegex},
	} {
		if text.want != nil && *text.want != text.got {
			return fmt.Sprintf("%s: got %q, want %q", text.name, text.got, *text.want)
		}
		for _, part := range text.contains {
			if !strings.Contains(text.got, part) {
				return fmt.Sprintf("%s: got %q, want it to hold %q", text.name, text.got, part)
			}
		}
		for _, part := range text.lacks {
			if strings.Contains(text.got, part) {
				return fmt.Sprintf("%s: got %q, want it without %q", text.name, text.got, part)
			}
		}
		if text.regex != "" && !matchesPattern(text.regex, text.got) {
			return fmt.Sprintf("%s: got %q, want it to match %q", text.name, text.got, text.regex)
		}
	}
	if ms := float64(o.took.Milliseconds()); ms < want.MinMS {
		return fmt.Sprintf("took %.0f ms, want at least %.0f", ms, want.MinMS)
	}
	if d := differentFiles(want.Files, o.files); d != "" {
		return d
	}
	return o.captureFault
}

// differentDocument compares stdout as JSON: its structure, and where recorded its very text.
func (o observedStep) differentDocument(want corpusExpect) string {
	if want.StdoutJSON == nil {
		return ""
	}
	var doc any
	if err := json.Unmarshal(want.StdoutJSON, &doc); err != nil {
		return err.Error()
	}
	if !o.hasDoc {
		return fmt.Sprintf("stdout is not one JSON document: %q (stderr %q)", o.stdout, o.stderr)
	}
	if d := matchJSON(doc, o.doc, ""); d != "" {
		return "stdout " + d
	}
	if want.StdoutRaw != nil && *want.StdoutRaw != o.stdout {
		return fmt.Sprintf("stdout: got %q, want %q", o.stdout, *want.StdoutRaw)
	}
	return ""
}
