package interp_test

import (
	"strings"
	"testing"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func TestCollectKeepsWithinItsBudget(t *testing.T) {
	t.Parallel()
	env := &interp.Env{Vars: map[string]string{"LOBSTER_MAX_COLLECT_BYTES": "1000"}}
	pulled := 0
	endless := func(yield func(value.Value, error) bool) {
		for pulled++; yield(value.String(strings.Repeat("x", 100)), nil); pulled++ {
		}
	}
	if _, err := env.Collect(endless); err == nil || !strings.Contains(err.Error(), "more than 1000 bytes") {
		t.Errorf("Collect = %v, want a refusal", err)
	}
	if pulled != 9 { // 124 bytes each
		t.Errorf("%d items were pulled, want 9", pulled)
	}
	items, err := env.Collect(interp.Items(value.Int(1), value.Record(value.F("a", value.True))))
	if err != nil || len(items) != 2 {
		t.Errorf("a few items: got %d, %v", len(items), err)
	}
	env.Vars["LOBSTER_MAX_COLLECT_BYTES"] = "many"
	if _, err := env.Collect(interp.Empty); err == nil {
		t.Error("a limit that is no number was taken")
	}
}
