package interp_test

import (
	"strings"
	"testing"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func TestCollectKeepsWithinTheBudget(t *testing.T) {
	t.Parallel()
	env := &interp.Env{Budget: interp.NewBudget(1000)}
	pulled := 0
	endless := func(yield func(value.Value, error) bool) {
		for pulled++; yield(value.String(strings.Repeat("x", 100)), nil); pulled++ {
		}
	}
	part, release := env.Hold()
	if _, err := part.Collect(endless); err == nil || !strings.Contains(err.Error(), "more than 1000 bytes") {
		t.Errorf("Collect = %v, want a refusal", err)
	}
	if pulled != 9 { // 124 bytes each
		t.Errorf("%d items were pulled, want 9", pulled)
	}
	few := func() error {
		_, err := env.Collect(interp.Items(value.String(strings.Repeat("y", 300))))
		return err
	}
	if err := few(); err == nil {
		t.Error("what another part holds was not counted")
	}
	release()
	env = &interp.Env{Budget: interp.NewBudget(1000)}
	for i := range 4 {
		if err := few(); (err == nil) != (i < 3) { // 324 bytes each, of one run
			t.Errorf("collecting 324 bytes for the %d. time: %v", i+1, err)
		}
	}
}

func TestPartsGiveBack(t *testing.T) {
	t.Parallel()
	env := &interp.Env{Budget: interp.NewBudget(1000)}
	for range 100 {
		part, release := env.Hold()
		if _, err := part.Collect(interp.Items(value.String(strings.Repeat("y", 600)))); err != nil {
			t.Fatal(err)
		}
		release()
	}
	if err := (*interp.Budget)(nil).Take(1 << 60); err != nil {
		t.Errorf("no budget refused: %v", err)
	}
}
