package workflow

import (
	"strings"
	"testing"
)

// TestBareTags puts tags and anchors before nothing; what follows on the next lines must stay where it is.
func TestBareTags(t *testing.T) {
	t.Parallel()
	tests := []struct{ yaml, want string }{
		{"a: 1\nb: !!map\nc: 2\n", `{"a":1,"b":null,"c":2}`},
		{"b: !x\nc: &y\nd: 2\ne: *y\n", `{"b":null,"c":null,"d":2,"e":null}`},
		{"l:\n  - id: a\n    env: !!map\n    approval: true\n  - id: b\n", `{"l":[{"id":"a","env":null,"approval":true},{"id":"b"}]}`},
		{"l:\n  - id: a\n    env: &e !!map\n    approval: true\nx: *e\n", `{"l":[{"id":"a","env":null,"approval":true}],"x":null}`},
		{"a: !!map\n  b: 1\nc: !!seq\n- 1\nd: &x\n  e: *x\n", "Unresolved alias"},
		{"a: !!map\n  b: 1\nc: !!seq\n- 1\n", `{"a":{"b":1},"c":[1]}`},
		{"a: !!map {b: 1}\nc: !!map\n  {d: 2}\n", `{"a":{"b":1},"c":{"d":2}}`},
		{"l:\n  - id: a\n    stdin: !!seq\n  - id: b\n", "needs a value here"},
		{"- !!seq\n- a\n- b\n", "needs a value here"},
		{"run: 1\nenv: !!map\nrun: 2\n", "Map keys must be unique"},
	}
	for _, tt := range tests {
		n, err := parseYAML(tt.yaml)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = n.value.JSON()
		}
		if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) {
			t.Errorf("%q:\ngot  %s\nwant %s", tt.yaml, got, tt.want)
		}
	}
}
