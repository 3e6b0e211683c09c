package openclaw

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

const (
	maxFrame    = 25 << 20 // the gateway's own limit
	dialTimeout = 20 * time.Second
)

// A lostError says that the connection did not hold; trying again may help.
type lostError struct {
	err       error
	connected bool // the gateway had taken the token
}

func (l *lostError) Error() string { return l.err.Error() }
func (l *lostError) Unwrap() error { return l.err }

// A gateway is one connection. It is owned by one goroutine, which calls one
// method at a time; events are told while it waits for an answer.
type gateway struct {
	ws    *websocket.Conn
	next  int
	event func(name string, payload json.RawMessage) // nil: not told
}

// A frame is one message of the gateway.
type frame struct {
	Type    string          `json:"type"` // event or res
	Event   string          `json:"event"`
	ID      string          `json:"id"`
	OK      bool            `json:"ok"`
	Payload json.RawMessage `json:"payload"`
	Error   struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// dial connects as a backend of this machine: to read and to start runs, not to
// administer.
func dial(ctx context.Context, url, token string) (*gateway, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return nil, &lostError{err: fmt.Errorf("no OpenClaw gateway answers at %s: is it running? %w", url, err)}
	}
	ws.SetReadLimit(maxFrame)
	g := &gateway{ws: ws}
	if err := g.greet(ctx, token); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func (g *gateway) greet(ctx context.Context, token string) error {
	for {
		f, err := g.read(ctx)
		if err != nil {
			return &lostError{err: fmt.Errorf("waiting for the gateway's greeting: %w", err)}
		}
		if f.Event == "connect.challenge" {
			break
		}
	}
	err := g.call(ctx, "connect", map[string]any{
		"minProtocol": 4, "maxProtocol": 4,
		"client": map[string]any{"id": "gateway-client", "version": "1", "platform": runtime.GOOS, "mode": "backend"},
		"role":   "operator", "scopes": []string{"operator.read", "operator.write"}, "caps": []string{"tool-events"},
		"auth": map[string]any{"token": token},
	}, nil)
	if lost, ok := errors.AsType[*lostError](err); ok {
		lost.connected = false
	}
	return err
}

// call sends a request and waits for its answer.
func (g *gateway) call(ctx context.Context, method string, params, answer any) error {
	g.next++
	id := strconv.Itoa(g.next)
	raw, err := json.Marshal(map[string]any{"type": "req", "id": id, "method": method, "params": params})
	if err != nil {
		return fmt.Errorf("encoding %s: %w", method, err)
	}
	if err := g.ws.Write(ctx, websocket.MessageText, raw); err != nil {
		return &lostError{fmt.Errorf("asking the gateway for %s: %w", method, err), true}
	}
	for {
		f, err := g.read(ctx)
		if err != nil {
			return &lostError{fmt.Errorf("waiting for the gateway's answer to %s: %w", method, err), true}
		}
		switch {
		case f.Type == "event" && g.event != nil:
			g.event(f.Event, f.Payload)
		case f.Type == "res" && f.ID == id:
			return f.result(method, answer)
		}
	}
}

func (f *frame) result(method string, answer any) error {
	switch {
	case f.OK && answer == nil:
		return nil
	case f.OK:
		if err := json.Unmarshal(f.Payload, answer); err != nil {
			return fmt.Errorf("reading the gateway's answer to %s: %w", method, err)
		}
		return nil
	case f.Error.Code == "UNAVAILABLE": // it is starting, or draining
		return &lostError{fmt.Errorf("the gateway is not ready for %s: %.300s", method, f.Error.Message), false}
	}
	return fmt.Errorf("the gateway refuses %s: %.300s (%.60s)", method, f.Error.Message, f.Error.Code)
}

func (g *gateway) read(ctx context.Context) (f frame, err error) {
	_, raw, err := g.ws.Read(ctx)
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return f, fmt.Errorf("reading a frame: %w", err)
	}
	return f, nil
}

func (g *gateway) close() { _ = g.ws.CloseNow() } // nothing is owed to it
