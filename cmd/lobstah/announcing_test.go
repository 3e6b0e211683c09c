package main

import (
	"slices"
	"testing"

	"lobstah/key"
)

func TestOtherWaysToTheWorker(t *testing.T) {
	t.Parallel()
	p := &process{id: key.Identity{Pair: key.FromSeed([32]byte{1})}}
	if got := p.ways(); got != nil {
		t.Errorf("without the mesh: %q, want none", got)
	}
	p.mesh = &meshed{}
	if got, want := p.ways(), []string{"mesh://" + p.id.ID().String()}; !slices.Equal(got, want) {
		t.Errorf("in the mesh: %q, want %q", got, want)
	}
}
