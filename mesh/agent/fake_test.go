package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/internal/memnet"
	"lobstah/key"
)

var (
	asking = key.ID{1}
	other  = key.ID{2}
)

// backend is a Backend made of a function.
type backend func(context.Context, Work) (string, error)

func (b backend) Run(ctx context.Context, w Work) (string, error) { return b(ctx, w) }

// scripted answers what a test sends it, one task at a time.
type scripted struct {
	began chan Work
	end   chan string // the answer
}

func newScripted() *scripted {
	return &scripted{began: make(chan Work, 16), end: make(chan string)}
}

func (s *scripted) Run(ctx context.Context, w Work) (string, error) {
	s.began <- w
	select {
	case answer := <-s.end:
		return answer, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// mesh is the way between an outbox and a desk, which can be cut. It lives in
// one synctest bubble.
type mesh struct {
	from     key.ID
	listener *memnet.Listener
	client   *http.Transport

	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

func newMesh() *mesh {
	m := &mesh{from: asking}
	m.client = &http.Transport{DialContext: m.dial, DisableKeepAlives: true}
	return m
}

func (m *mesh) dial(ctx context.Context, network, address string) (net.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down || m.listener == nil {
		return nil, errors.New("no way to the node")
	}
	c, err := m.listener.DialContext(ctx, network, address)
	m.conns = append(m.conns, c)
	return c, err
}

func (m *mesh) cut(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
	if down {
		for _, c := range m.conns {
			if c != nil {
				c.Close()
			}
		}
		m.conns = nil
	}
}

func (m *mesh) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme = "http"
	r.Header.Set("From", m.from.String())
	return m.client.RoundTrip(r)
}

func who(r *http.Request) (Caller, error) {
	id, err := key.ParseID(r.Header.Get("From"))
	return Caller{ID: id, Name: "asker", Verified: id == asking}, err
}

func anybody(Caller) error { return nil }

var quietLog = slog.New(slog.DiscardHandler)

// A process runs until it is stopped; stop waits.
type process struct {
	*Desk
	*Outbox
	stop func()
}

// startDesk serves a desk for the agent "coder" on the mesh.
func startDesk(t *testing.T, m *mesh, dir string, b Backend, change func(*DeskConfig)) process {
	t.Helper()
	cfg := DeskConfig{Dir: dir, Who: who, Log: quietLog, Seats: []Seat{{ID: "coder", Backend: b, Accepts: anybody}}}
	if change != nil {
		change(&cfg)
	}
	d, err := OpenDesk(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: d}
	l := memnet.Listen("desk")
	m.mu.Lock()
	m.listener = l
	m.mu.Unlock()
	var group sync.WaitGroup
	group.Go(func() { server.Serve(l) })
	ctx, cancel := context.WithCancel(t.Context())
	group.Go(func() {
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return process{Desk: d, stop: sync.OnceFunc(func() {
		cancel()
		m.mu.Lock()
		m.listener = nil
		m.mu.Unlock()
		server.Close()
		group.Wait()
	})}
}

func startOutbox(t *testing.T, m *mesh, dir string) process {
	t.Helper()
	o, err := OpenOutbox(OutboxConfig{Dir: dir, Mesh: m, Log: quietLog})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if err := o.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return process{Outbox: o, stop: sync.OnceFunc(func() { cancel(); group.Wait() })}
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, test func(*testing.T, *mesh)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh()
		test(t, m)
		m.cut(true)
		m.client.CloseIdleConnections()
		time.Sleep(time.Minute) // virtual: a server lingers over a body that it refused
	})
}

func brief(text string) Brief { return Brief{Kind: Handoff, Agent: "coder", Text: text} }

func mustAsk(t *testing.T, o process, text string) Task {
	t.Helper()
	task, err := o.Ask(t.Context(), other, "office", brief(text))
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func mustEnd(t *testing.T, o process, id string, state State, output string) Task {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Hour) // virtual
	defer cancel()
	task, err := o.Wait(ctx, id, nil)
	if err != nil || task.State != state || task.Output != output {
		t.Fatalf("the task ended as %s with %q (%s), %v; want %s with %q", task.State, task.Output, task.Error, err, state, output)
	}
	return task
}

// put sends a brief as some node would.
func put(t *testing.T, m *mesh, from key.ID, method, path string, body io.Reader) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "mesh://"+other.String()+Path+path, body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&mesh{from: from, listener: m.listener, client: m.client}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}
