package main

import (
	"testing"

	"lobstah/grid"
)

func TestWhomTheRouterFound(t *testing.T) {
	t.Parallel()
	report := func(n byte, origin grid.Origin) peerReport {
		r := peerReport{Peer: grid.Peer{ID: numberedKey(n), Label: "far", Origin: origin}}
		r.State.Status, r.State.Models = "ready", []string{"m"}
		return r
	}
	own := []grid.Peer{{ID: numberedKey(1), URL: "https://192.0.2.1:17474", Origin: grid.FromUser}}
	list := listed(own, nil, []peerReport{report(1, grid.FromUser), report(2, grid.FromMesh), report(3, grid.FromSelf), report(4, grid.FromTracker)})
	if len(list) != 2 || list[0].ID != own[0].ID || list[1].ID != numberedKey(2) {
		t.Fatalf("listed %+v, want the user's own peer and that of the mesh", list)
	}
	for i, want := range []string{"you", "mesh"} {
		if got := list[i].whence()[0]; got != want {
			t.Errorf("peer %d was learned from %q, want %q", i, got, want)
		}
		if list[i].Health != "ready" || len(list[i].Models) != 1 {
			t.Errorf("peer %d: %+v, want what the router knows of it", i, list[i])
		}
	}
}
