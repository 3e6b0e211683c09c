package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	"github.com/coder/websocket"
	"github.com/rogpeppe/go-internal/testscript"

	"lobstah/internal/testport"
)

// A relay keeps Nostr events in memory, as NIP-01 says: the newest of each key
// and d tag for addressable kinds, and NIP-09's deletions.
type relay struct {
	mu     sync.Mutex
	events []event // guarded by mu
}

type event struct {
	ID     string     `json:"id"`
	Pubkey string     `json:"pubkey"`
	Kind   int        `json:"kind"`
	Tags   [][]string `json:"tags"`
	raw    json.RawMessage
}

func (e event) tag(name string) string {
	for _, tag := range e.Tags {
		if len(tag) > 1 && tag[0] == name {
			return tag[1]
		}
	}
	return ""
}

func (r *relay) take(raw json.RawMessage) (string, error) {
	e := event{raw: raw}
	if err := json.Unmarshal(raw, &e); err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = slices.DeleteFunc(r.events, func(old event) bool {
		replaced := e.Kind >= 30000 && old.Kind == e.Kind && old.tag("d") == e.tag("d")
		deleted := e.Kind == 5 && old.ID == e.tag("e")
		return old.Pubkey == e.Pubkey && (replaced || deleted)
	})
	r.events = append(r.events, e)
	return e.ID, nil
}

func (r *relay) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	ws, err := websocket.Accept(w, request, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	ws.SetReadLimit(1 << 20)
	for r.talk(request.Context(), ws) == nil {
	}
}

func (r *relay) talk(ctx context.Context, ws *websocket.Conn) error {
	_, data, err := ws.Read(ctx)
	var message []json.RawMessage
	if err == nil {
		err = json.Unmarshal(data, &message)
	}
	if err != nil || len(message) < 2 {
		return fmt.Errorf("no message: %w", err)
	}
	say := func(format string, args ...any) error {
		return ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, format, args...))
	}
	switch string(message[0]) {
	case `"EVENT"`:
		id, err := r.take(message[1])
		if err != nil {
			return err
		}
		return say(`["OK",%q,true,""]`, id)
	case `"REQ"`:
		var filter struct{ Kinds []int }
		if err := json.Unmarshal(message[2], &filter); err != nil {
			return err
		}
		r.mu.Lock()
		events := slices.Clone(r.events)
		r.mu.Unlock()
		for _, e := range events {
			if slices.Contains(filter.Kinds, e.Kind) {
				if err := say(`["EVENT",%s,%s]`, message[1], e.raw); err != nil {
					return err
				}
			}
		}
		return say(`["EOSE",%s]`, message[1])
	}
	return nil
}

// nostrRelay starts a Nostr relay, its URL into a variable.
func nostrRelay(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: relay VAR")
	}
	server := httptest.NewServer(new(relay))
	ts.Defer(server.Close)
	ts.Setenv(args[0], "ws"+strings.TrimPrefix(server.URL, "http"))
}

// freePort finds a port that nobody has.
func freePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: port VAR")
	}
	ts.Setenv(args[0], testport.Free())
}
