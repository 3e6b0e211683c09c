package router

import (
	"cmp"
	"net/http"
	"strings"
	"testing"

	"lobstah/grid"
)

// MODEL@PEER is asked of that peer alone, by the model's own name.
func TestPinnedPeer(t *testing.T) {
	t.Parallel()
	inWorld(t, 3, nil, func(t *testing.T, w *world) {
		pinned := w.workers[1]
		var name string
		pinned.answers(func(rw http.ResponseWriter, r *http.Request, streams bool) {
			name = pinned.peer.Label
			http.Error(rw, `{"error":{"message":"broken"}}`, http.StatusInternalServerError)
		})
		for _, who := range []string{pinned.peer.Label, pinned.peer.ID.String()} {
			name = ""
			got := w.chat(strings.Replace(askWhole, `"m"`, `"m@`+who+`"`, 1))
			if got.status < 500 || name != pinned.peer.Label {
				t.Errorf("%s: status %d, asked %q; want its own failure and nobody else's answer", who, got.status, name)
			}
		}
		pinned.change(func() { pinned.answer = pinned.good })
		w.repoll()
		for range 5 {
			got := w.chat(strings.Replace(askWhole, `"m"`, `"m@`+pinned.peer.Label+`"`, 1))
			if got.status != 200 || got.header.Get(grid.PeerHeader) != pinned.peer.ID.String() {
				t.Errorf("status %d of %s", got.status, got.header.Get(grid.PeerHeader))
			}
		}
		if got := w.chat(strings.Replace(askWhole, `"m"`, `"other@`+pinned.peer.Label+`"`, 1)); got.status != 404 || !strings.Contains(got.body, pinned.peer.Label+` has no model \"other\"`) {
			t.Errorf("a model that it does not have: %d %s", got.status, got.body)
		}
		if got := w.chat(strings.Replace(askWhole, `"m"`, `"m@nobody"`, 1)); got.status != 404 || !strings.Contains(got.body, `no peer called \"nobody\" lends models; ask for m@`) {
			t.Errorf("a peer that is not known: %d %s", got.status, got.body)
		}
	})
}

// Who is told that there are no peers learns what to do in the words of the program.
func TestNoPeersAtAll(t *testing.T) {
	t.Parallel()
	for _, advice := range []string{"", "ask the others"} {
		inWorld(t, 0, func(c *Config) { c.NoPeers = advice }, func(t *testing.T, w *world) {
			want := cmp.Or(advice, "lobstah peers add")
			if got := w.chat(askWhole); got.status != 503 || !strings.Contains(got.body, want) {
				t.Errorf("%d %s; want %q", got.status, got.body, want)
			}
		})
	}
}
