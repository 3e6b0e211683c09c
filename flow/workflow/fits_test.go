package workflow_test

import (
	"strings"
	"testing"
)

// TestTextsThatGrow repeats a result of a megabyte in every kind of text that a step has; the step must fail before the text is made.
func TestTextsThatGrow(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("$a.stdout", 100)
	tests := map[string]string{
		"pipeline":  "{id: b, pipeline: \"template --text '" + many + "'\"}",
		"run":       "{id: b, run: \"echo " + many + "\"}",
		"stdin":     "{id: b, run: \"cat\", stdin: \"" + many + "\"}",
		"env":       "{id: b, run: \"true\", env: {X: \"" + many + "\"}}",
		"arguments": "{id: b, workflow: other.lobster, workflow_args: {x: \"" + many + "\"}}",
		"branch":    "{id: p, parallel: {branches: [{id: b, run: \"echo " + many + "\"}]}}",
		"sub-step":  "{id: l, for_each: $l.json, steps: [{id: b, run: \"echo " + many + "\"}]}",
	}
	for name, step := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := ""
			if name == "sub-step" {
				list = "  - {id: l, run: \"echo [1]\"}\n"
				step = strings.Replace(step, "{id: l,", "{id: m,", 1)
			}
			_, err := newWorld(t).run("steps:\n  - {id: a, run: \"head -c 1048576 /dev/zero | tr '\\\\0' x\"}\n" + list + "  - " + step + "\n")
			if want := "Workflow step b has a text of more than 64 MiB"; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want an error with %q", err, want)
			}
		})
	}
}
