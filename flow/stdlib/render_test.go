package stdlib_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"lobstah/flow/host"
	"lobstah/flow/interp"
	"lobstah/flow/syntax"
	"lobstah/flow/value"
)

// rendered runs a pipeline over items and returns what it printed.
func rendered(t *testing.T, env *interp.Env, text string, items interp.Seq) (string, error) {
	t.Helper()
	p, err := syntax.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	env.Stdout = &out
	res, err := interp.Run(t.Context(), env, p, interp.Options{Input: items})
	if err == nil {
		err = interp.Drain(res.Output)
	}
	return out.String(), err
}

// numbers yields objects, and then an error if it is not nil.
func numbers(n int, last error) interp.Seq {
	return func(yield func(value.Value, error) bool) {
		for i := range n {
			if !yield(value.Record(value.F("n", value.Int(i))), nil) {
				return
			}
		}
		if last != nil {
			yield(value.Undefined, last)
		}
	}
}

// json holds one item at a time, table all of them.
func TestJSONStreams(t *testing.T) {
	t.Parallel()
	const n = 100_000
	env := world(t)
	env.Budget = interp.NewBudget(1 << 10)
	got, err := rendered(t, env, "json", numbers(n, nil))
	if lines := strings.Count(got, "\n"); err != nil || lines != 3*n+2 || !strings.HasSuffix(got, "\"n\": 99999\n  }\n]\n") {
		t.Errorf("json: %d lines that end in %q, %v, want %d", lines, got[max(0, len(got)-30):], err, 3*n+2)
	}
	if got, err := rendered(t, env, "table", numbers(n, nil)); err == nil || got != "" || !strings.Contains(err.Error(), "LOBSTER_MAX_COLLECT_BYTES") {
		t.Errorf("table: got %.80q, %v, want nothing and the limit", got, err)
	}
}

// What fails prints nothing, and no output is endless.
func TestRenderingIsWholeAndCapped(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	env := world(t)
	for _, stage := range []string{"json", "table"} {
		if got, err := rendered(t, env, stage, numbers(3, broken)); !errors.Is(err, broken) || got != "" {
			t.Errorf("%s of what fails: got %q, %v", stage, got, err)
		}
	}
	env.Spool = func() interp.Spool { return &host.Spool{Limit: 1 << 20} }
	blank, wide := value.Record(value.F("w", value.String(""))), value.Record(value.F("w", value.String(strings.Repeat("x", 1000))))
	tests := map[string]interp.Seq{
		"json":  numbers(1<<20, nil),
		"table": interp.Items(append(slices.Repeat([]value.Value{blank}, 2000), wide)...), // each row is as wide as the widest
	}
	for stage, items := range tests {
		if got, err := rendered(t, env, stage, items); err == nil || got != "" || strings.Count(err.Error(), "the output exceeds 1048576 bytes") != 1 {
			t.Errorf("%s: got %.80q, %v, want nothing and the limit, once", stage, got, err)
		}
	}
	env.Spool = nil
	if got, err := rendered(t, env, "json", numbers(1, nil)); err != nil || got != "[\n  {\n    \"n\": 0\n  }\n]\n" {
		t.Errorf("without a place for files: got %q, %v", got, err)
	}
}

func TestTableHeads(t *testing.T) {
	t.Parallel()
	item := value.Record(value.F("a\nb", value.String("x\ny")))
	got, err := rendered(t, world(t), "table", interp.Items(item))
	if want := "a b\n---\nx y\n"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
