package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"lobstah/grid"
	"lobstah/key"
)

// strangers are machines that are not as they should be, by what is wrong.
var strangers = map[string]func(id key.ID) http.HandlerFunc{
	"late": func(id key.ID) http.HandlerFunc {
		return tellCapacity(grid.Capacity{Pubkey: id, Models: []string{"m"}}, -time.Hour)
	},
	"idle": func(id key.ID) http.HandlerFunc {
		return tellCapacity(grid.Capacity{Pubkey: id, Models: []string{}}, 0)
	},
	"broken": func(key.ID) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			w.Write([]byte(`{"error":{"message":"the engine is out of order"}}`))
		}
	},
	"other": func(key.ID) http.HandlerFunc { // no worker at all
		return func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello")) }
	},
	"poor": func(id key.ID) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				tellCapacity(grid.Capacity{Pubkey: id, Models: []string{"m"}}, 0)(w, r)
				return
			}
			w.WriteHeader(http.StatusPaymentRequired)
			w.Write([]byte(`{"error":{"type":"insufficient_credit","message":"requester has 0 tokens of available credit (>0 required)"}}`))
		}
	},
}

// tellCapacity is how a worker answers whose clock is ahead.
func tellCapacity(c grid.Capacity, ahead time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		told := c
		told.Now = time.Now().Add(ahead).UnixMilli()
		json.NewEncoder(w).Encode(told)
	}
}

// stranger starts one, its address and key into variables. The kinds besides
// those above speak plain HTTP, or nothing at all.
func stranger(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: stranger ADDRESSVAR KEYVAR KIND")
	}
	id, err := key.NewIdentity()
	ts.Check(err)
	ts.Setenv(args[1], id.ID().String())
	if args[2] == "mute" {
		l, err := net.Listen("tcp", "127.0.0.1:0") // the system takes connections, nobody answers
		ts.Check(err)
		ts.Defer(func() { l.Close() })
		ts.Setenv(args[0], l.Addr().String())
		return
	}
	if args[2] == "plain" {
		server := httptest.NewServer(http.NotFoundHandler())
		ts.Defer(server.Close)
		ts.Setenv(args[0], server.Listener.Addr().String())
		return
	}
	make, ok := strangers[args[2]]
	if !ok {
		ts.Fatalf("stranger: unknown kind %q", args[2])
	}
	server := httptest.NewUnstartedServer(make(id.ID()))
	server.TLS, err = id.ServerTLS()
	ts.Check(err)
	server.StartTLS()
	ts.Defer(server.Close)
	ts.Setenv(args[0], server.Listener.Addr().String())
}
