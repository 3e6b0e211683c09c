package stdlib_test

import (
	"runtime"
	"strings"
	"testing"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

// TestProgramsThatGrow gives jq programs that would take all memory. It runs alone, because it looks at the memory of the process.
func TestProgramsThatGrow(t *testing.T) {
	tests := map[string]string{
		"jq '[range(1000000000000)] | length'":                "holds more than 8388608 bytes",
		"jq 'reduce range(60) as $i (1; [., .])'":             "holds more than 8388608 bytes", // 2^60 numbers, once written out
		"jq 'reduce range(60) as $i (1; {a: ., b: .})'":       "holds more than 8388608 bytes",
		"jq '[range(20000)] | join(\"x\" * 200000) | length'": "join would make a text of more than 256 MiB",
	}
	for text, want := range tests {
		runtime.GC() // so that what the last one held does not count as in use
		env := world(t)
		env.Budget = interp.NewBudget(8 << 20)
		if out, err := run(t, env, text, value.Null); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %.80q, %v, want an error with %q", text, out, err, want)
		}
	}
}

func TestJQResultsNest(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"jq 'reduce range(20000) as $i (1; [.])'": "jq: the result nests deeper than 5000", "jq 'reduce range(20000) as $i (1; {a: .})'": "jq: the result nests deeper than 5000"} {
		if _, err := run(t, world(t), text, value.Null); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	got, err := run(t, world(t), "jq 'reduce range(4000) as $i (1; [.]) | ., ([..] | length)' | dedupe | jq --slurp '.[1]'", value.Null)
	if err != nil || got != "[4001]" {
		t.Errorf("got %.80s, %v, want [4001]", got, err)
	}
}

func TestJQJoin(t *testing.T) {
	t.Parallel()
	got, err := run(t, world(t), `jq '[(["a",null,1]|join("-")), ([]|join(",")), (try ({"a":1}|join(",")) catch "bad"), (try (5|join(",")) catch "bad")]'`, value.Null)
	if want := `[["a--1","","1","bad"]]`; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}
