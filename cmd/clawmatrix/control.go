package main

import (
	"context"
	"net/http"
	"slices"
	"time"

	"lobstah/internal/control"
	"lobstah/internal/home"
	"lobstah/key"
)

// mountControl mounts what the owner's commands ask.
func (n *node) mountControl() {
	answer(n.onSocket, "GET /status", func(ctx context.Context, _ none) (report, error) {
		r := n.report()
		r.Problems = slices.Concat(r.Problems, n.missing(ctx))
		return r, nil
	})
	answer(n.onSocket, "GET /peers", func(context.Context, none) ([]peerView, error) { return n.peers(), nil })
	answer(n.onSocket, "POST /who", n.who)
	answer(n.onSocket, "POST /pin", n.pin)
	answer(n.onSocket, "POST /unpin", n.unpin)
	answer(n.onSocket, "POST /revoke", n.revoke)
	answer(n.onSocket, "POST /invite", n.invite)
	answer(n.onSocket, "POST /doctor", n.diagnose)
	n.onSocket.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) {
		n.halt()
		control.Reply(w, struct{}{}, nil)
	})
}

// none is the body of a call that has none.
type none struct{}

// answer makes do a command of the socket.
func answer[In, Out any](mux *http.ServeMux, pattern string, do func(context.Context, In) (Out, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var in In
		var err error
		if _, empty := any(in).(none); !empty {
			err = control.Read(r, &in)
		}
		var out Out
		if err == nil {
			out, err = do(r.Context(), in)
		}
		control.Reply(w, out, err)
	})
}

// A report is what a running node says of itself.
type report struct {
	home.Holder
	Node     string   `json:"node"`
	Key      key.ID   `json:"key"`
	Version  string   `json:"version"`
	Config   string   `json:"config"`
	Trust    string   `json:"trust"`
	Listen   string   `json:"listen,omitempty"` // HOST:PORT
	Proxy    string   `json:"proxy"`            // base URL of the models
	Secret   string   `json:"secret"`           // which is in force, not itself
	Relayed  int      `json:"relayed"`          // circuits of others that pass through here
	Problems []string `json:"problems,omitempty"`
	Guest    *lodging `json:"guest,omitempty"` // of a guest, which has no trust, secret and listener
}

// A lodging is what a guest was lent.
type lodging struct {
	Host    key.ID    `json:"host"`
	Models  []string  `json:"models"` // none means all
	Expires time.Time `json:"expires"`
}
