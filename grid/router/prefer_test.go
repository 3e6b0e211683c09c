package router

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"lobstah/grid"
)

// A client may name whom to ask first; the others stand in.
func TestPreferredPeer(t *testing.T) {
	t.Parallel()
	inWorld(t, 3, nil, func(t *testing.T, w *world) {
		last := w.workers[2]
		last.change(func() { last.capacity.Tier, last.capacity.QueueDepth = grid.Batch, 7 })
		w.repoll()
		id := last.peer.ID.String()
		for i := range 5 {
			got := w.chat(strings.Replace(askWhole, "hi", fmt.Sprint("hi", i), 1), grid.PreferHeader, id)
			if got.header.Get(grid.PeerHeader) != id || !strings.HasPrefix(got.header.Get(grid.RouteHeader), "wanted;") {
				t.Errorf("asked %s: %s", got.header.Get(grid.PeerHeader), got.header.Get(grid.RouteHeader))
			}
		}
		last.answers(func(rw http.ResponseWriter, _ *http.Request, _ bool) {
			http.Error(rw, "{}", http.StatusInternalServerError)
		})
		if got := w.chat(askWhole, grid.PreferHeader, id); got.status != 200 || got.header.Get(grid.PeerHeader) == id {
			t.Errorf("status %d of %s; want another's answer", got.status, got.header.Get(grid.PeerHeader))
		}
		if got := w.chat(askWhole, grid.PreferHeader, "lob1nobody"); got.status != 200 {
			t.Errorf("status %d for a peer that is none", got.status)
		}
	})
}

func TestRooms(t *testing.T) {
	t.Parallel()
	inWorld(t, 3, nil, func(t *testing.T, w *world) {
		for i, f := range w.workers {
			f.change(func() {
				f.capacity.Concurrency, f.capacity.Running = 4, i
				f.capacity.Tier = []grid.Tier{grid.Interactive, grid.Batch, grid.BestEffort}[i]
			})
		}
		w.repoll()
		got := map[string]int{}
		for _, r := range w.rt.Rooms("m") {
			got[r.ID.String()] = r.Slots
		}
		if len(got) != 2 || got[w.workers[1].peer.ID.String()] != 3 || got[w.workers[2].peer.ID.String()] != 2 {
			t.Errorf("rooms %v; want 3 and 2, and none of the peer for people", got)
		}
		if none := w.rt.Rooms("nobody has this"); len(none) != 0 {
			t.Errorf("rooms %v for a model that nobody has", none)
		}
	})
}

// Pages that others add stand behind the guard.
func TestExtraPages(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, "extra") })
	inWorld(t, 1, func(c *Config) {
		c.Extra, c.Keys = map[string]http.Handler{"/v1/files/": page}, []string{"secret"}
	}, func(t *testing.T, w *world) {
		if got := w.do(t.Context(), "DELETE", "/v1/files/x", ""); got.status != http.StatusUnauthorized {
			t.Errorf("without the key: status %d", got.status)
		}
		if got := w.do(t.Context(), "DELETE", "/v1/files/x", "", "Authorization", "Bearer secret"); got.status != 200 || got.body != "extra" {
			t.Errorf("with the key: %d %q", got.status, got.body)
		}
	})
}
