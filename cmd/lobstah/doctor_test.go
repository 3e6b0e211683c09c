package main

import (
	"slices"
	"testing"

	"lobstah/grid"
)

// A doctor asks no model anything; what its router heard it has to tell.
func TestDoctorTellsWhatTheRouterHeard(t *testing.T) {
	t.Parallel()
	report := func(n byte, lastError string, failing ...string) peerReport {
		r := peerReport{Peer: grid.Peer{ID: numberedKey(n)}}
		r.State.Status, r.State.LastError, r.State.Failing = "ready", lastError, failing
		return r
	}
	var list []*examined
	for n := range byte(5) {
		list = append(list, &examined{Pubkey: numberedKey(n + 1).String()})
	}
	list[3].fail("tcp", "refused", "")
	tellAnswers(list, []peerReport{
		report(1, ""), report(2, "big: 502 out of memory", "big"), report(3, "502 once"), report(4, "refused"), report(9, "nobody's"),
	})
	for i, want := range [][]check{
		nil,
		{{"answers", checkFail, "the router here leaves out big for now: big: 502 out of memory",
			"its owner sees why in the log of what runs there; it is tried again within half a minute"}},
		{{"answers", checkNote, "the router here heard last: 502 once", ""}},
		{{"tcp", checkFail, "refused", ""}},
		nil,
	} {
		if got := list[i].Checks; !slices.Equal(got, want) {
			t.Errorf("peer %d: %+v, want %+v", i+1, got, want)
		}
	}
}
