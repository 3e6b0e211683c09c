package mesh_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/link"
	"lobstah/mesh/member"
)

const secretText = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"

var secret = sync.OnceValue(func() link.Secret {
	s, err := link.NewSecret(secretText)
	if err != nil {
		panic(err)
	}
	return s
})

func pair(n byte) key.Pair { return key.FromSeed([32]byte{n}) }

// running is a node that runs, and what it serves.
type running struct {
	*mesh.Node
	t       testing.TB
	url     string // where it takes links, until it is freed
	stop    func()
	free    func() // stops it, and gives its port back
	stopped chan error
}

type option func(*mesh.Config)

func dials(url string) option {
	return func(c *mesh.Config) { c.Peers = append(c.Peers, mesh.Peer{URL: url}) }
}

// start runs a node that serves handler; it listens for links on a real socket.
func start(t testing.TB, n byte, handler http.Handler, options ...option) *running {
	t.Helper()
	cfg := mesh.Config{Pair: pair(n), Name: fmt.Sprint("node-", n), Secrets: []link.Secret{secret()}}
	for _, o := range options {
		o(&cfg)
	}
	node, err := mesh.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	outer := httptest.NewServer(node)
	server := &http.Server{Handler: handler, HTTP2: &http.HTTP2Config{}}
	r := &running{Node: node, t: t, url: "ws" + strings.TrimPrefix(outer.URL, "http"), stopped: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { r.stopped <- node.Run(ctx) })
	parts.Go(func() {
		if err := server.Serve(node.Listener()); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve on the mesh: %v", err)
		}
	})
	r.stop = sync.OnceFunc(func() {
		cancel()
		parts.Wait()
		server.Close()
	})
	// Those that dial it end before: a node of another test, which may have the same
	// key, is never given the port.
	r.free = sync.OnceFunc(func() { r.stop(); outer.Close() })
	t.Cleanup(r.free)
	return r
}

// until polls a condition of other processes' making.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(90 * time.Second) // for a loaded machine
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within 90 s", what)
		}
	}
}

func (r *running) status(id key.ID) (member.Member, bool) {
	for _, m := range r.Members() {
		if m.Key == id {
			return m, true
		}
	}
	return member.Member{}, false
}

func (r *running) sees(others ...*running) {
	r.t.Helper()
	for _, o := range others {
		until(r.t, fmt.Sprintf("%s sees %s alive", r.ID().Short(), o.ID().Short()), func() bool {
			m, ok := r.status(o.ID())
			return ok && m.Status == member.Alive
		})
	}
}

// trio is two nodes that only dial, and the relay between them.
func trio(t testing.TB, handler http.Handler, options ...option) (hub, office, home *running) {
	t.Helper()
	hub = start(t, 1, http.NotFoundHandler(), options...)
	office = start(t, 2, handler, append(options, dials(hub.url))...)
	home = start(t, 3, http.NotFoundHandler(), append(options, dials(hub.url))...)
	home.sees(hub, office)
	office.sees(hub, home)
	return hub, office, home
}

func get(t testing.TB, via http.RoundTripper, url string) (string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := via.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func whoami(w http.ResponseWriter, r *http.Request) {
	caller, err := mesh.Caller(r)
	fmt.Fprintf(w, "%s %s %v", r.Proto, caller, err)
}

func TestCallThroughARelay(t *testing.T) {
	t.Parallel()
	hub, office, home := trio(t, http.HandlerFunc(whoami))
	want := fmt.Sprintf("HTTP/2.0 %s <nil>", home.ID())
	if got, err := get(t, home, "mesh://"+office.ID().String()+"/v1/models"); got != want || err != nil {
		t.Errorf("through the relay: %q, %v; want %q", got, err, want)
	}
	m, _ := home.status(office.ID())
	if m.Direct || m.Hops != 2 || m.Via != hub.ID() {
		t.Errorf("office is %d hops away via %s, want 2 via the hub", m.Hops, m.Via.Short())
	}
	want = fmt.Sprintf("HTTP/2.0 %s <nil>", hub.ID())
	if got, err := get(t, hub, "mesh://"+office.ID().String()+"/"); got != want || err != nil {
		t.Errorf("directly: %q, %v; want %q", got, err, want)
	}
}

func TestManyFirstRequestsShareOneSession(t *testing.T) {
	t.Parallel()
	// A session for each request would be more than the relay carries.
	_, office, home := trio(t, http.HandlerFunc(whoami))
	var calls sync.WaitGroup
	for range 200 {
		calls.Go(func() {
			if _, err := get(t, home, "mesh://"+office.ID().String()+"/"); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
}

func TestStreamingAndCancelling(t *testing.T) {
	t.Parallel()
	left := make(chan error, 1)
	_, office, home := trio(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		}
		<-r.Context().Done() // the caller leaves in the middle of the stream
		left <- r.Context().Err()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", "mesh://"+office.ID().String()+"/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := home.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for i := range 3 {
		if !lines.Scan() || lines.Text() != fmt.Sprintf("data: %d", i) || !lines.Scan() {
			t.Fatalf("event %d is %q, %v", i, lines.Text(), lines.Err())
		}
	}
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler saw %v, want the cancelling", err)
	}
}

func TestNamesMustBePinned(t *testing.T) {
	t.Parallel()
	office := pair(2).ID()
	hub, _, home := trio(t, http.HandlerFunc(whoami))
	if _, err := get(t, home, "mesh://node-2/"); err == nil || !strings.Contains(err.Error(), "pin it") {
		t.Errorf("a name that is not pinned gave %v", err)
	}
	if _, err := get(t, home, "mesh://nobody/"); err == nil || !strings.Contains(err.Error(), "no node") {
		t.Errorf("an unknown name gave %v", err)
	}
	pinning := start(t, 4, http.NotFoundHandler(), dials(hub.url), func(c *mesh.Config) { c.Pins = map[string]key.ID{"friend": office} })
	pinning.sees(hub)
	until(t, "the office is alive", func() bool { m, ok := pinning.status(office); return ok && m.Status == member.Alive })
	if got, err := get(t, pinning, "mesh://friend/"); err != nil || !strings.Contains(got, pinning.ID().String()) {
		t.Errorf("a pinned name gave %q, %v", got, err)
	}
}

func TestGoodbye(t *testing.T) {
	t.Parallel()
	_, office, home := trio(t, http.HandlerFunc(whoami))
	office.stop()
	if err := <-office.stopped; err != nil {
		t.Errorf("Run returned %v, want nil when it was asked to stop", err)
	}
	until(t, "home hears the goodbye, long before a suspicion ends", func() bool {
		m, ok := home.status(office.ID())
		return ok && m.Status == member.Dead && m.Gone
	})
	if _, err := get(t, home, "mesh://"+office.ID().String()+"/"); err == nil {
		t.Error("a call to a node that left succeeded")
	}
	if _, err := office.DialContext(t.Context(), "", home.ID().String()); !errors.Is(err, mesh.ErrClosed) {
		t.Errorf("a dial after the stop gave %v, want ErrClosed", err)
	}
}

// A newer process with the same key takes over at once: nobody waits for heartbeats
// to fail, which take an hour here.
func TestNewerProcessWins(t *testing.T) {
	t.Parallel()
	patient := func(c *mesh.Config) { c.Beat = time.Hour }
	hub := start(t, 1, http.NotFoundHandler(), patient)
	old := start(t, 2, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "old") }), dials(hub.url), patient,
		func(c *mesh.Config) { c.Epoch = 5 })
	hub.sees(old)
	start(t, 2, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "new") }), dials(hub.url), patient,
		func(c *mesh.Config) { c.Epoch = 6 })
	until(t, "the newer process answers", func() bool {
		got, err := get(t, hub, "mesh://"+old.ID().String()+"/")
		return err == nil && got == "new"
	})
}

func TestRevocationEndsTheLink(t *testing.T) {
	t.Parallel()
	hub, office, home := trio(t, http.HandlerFunc(whoami), func(c *mesh.Config) {
		c.Pins = map[string]key.ID{"hub": pair(1).ID()} // so its revocations count
	})
	if err := hub.Revoke(office.ID(), "lost"); err != nil {
		t.Fatal(err)
	}
	until(t, "home obeys", func() bool {
		m, _ := home.status(office.ID())
		return m.Status == member.Dead
	})
	if _, err := get(t, home, "mesh://"+office.ID().String()+"/"); !errors.Is(err, member.ErrRevoked) {
		t.Errorf("a call to a revoked node gave %v, want ErrRevoked", err)
	}
	until(t, "the link is gone", func() bool { m, ok := hub.status(office.ID()); return ok && !m.Direct })
}

func TestAnotherNameThanConfiguredIsRefused(t *testing.T) {
	t.Parallel()
	hub := start(t, 1, http.NotFoundHandler())
	wrong := start(t, 2, http.NotFoundHandler(), func(c *mesh.Config) { c.Peers = []mesh.Peer{{URL: hub.url, Name: "cloud-01"}} })
	until(t, "the link came up and was ended", func() bool { m, ok := wrong.status(hub.ID()); return ok && !m.Direct })
}

func TestBothDialEachOther(t *testing.T) {
	t.Parallel()
	a := start(t, 1, http.HandlerFunc(whoami))
	b := start(t, 2, http.HandlerFunc(whoami), dials(a.url))
	c := start(t, 3, http.HandlerFunc(whoami), dials(a.url), dials(b.url), dials(a.url)) // twice the same
	c.sees(a, b)
	// Its links with a replace each other until one is left; those who use them meanwhile
	// are cut off. There is one with b.
	until(t, "the link with b is up", func() bool { m, ok := c.status(b.ID()); return ok && m.Direct })
	for range 20 {
		if got, err := get(t, c, "mesh://"+b.ID().String()+"/"); err != nil || !strings.Contains(got, c.ID().String()) {
			t.Fatalf("got %q, %v", got, err)
		}
	}
}

func TestConnectionsKnowTheirPeer(t *testing.T) {
	t.Parallel()
	cfg := mesh.Config{Pair: pair(2), Name: "plain", Secrets: []link.Secret{secret()}}
	hub := start(t, 1, http.NotFoundHandler())
	cfg.Peers = []mesh.Peer{{URL: hub.url, Key: hub.ID()}}
	node, err := mesh.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- node.Run(t.Context()) }()
	hub.sees(&running{Node: node, t: t})
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := node.Listener().Accept(); err == nil {
			accepted <- c
		}
	}()
	conn, err := hub.DialContext(t.Context(), "tcp", node.ID().String()+":443")
	if err != nil {
		t.Fatal(err)
	}
	far := <-accepted
	if id, err := key.PeerID(far.(*tls.Conn).ConnectionState()); id != hub.ID() || err != nil {
		t.Errorf("the listener's connection is from %s, %v; want the hub", id, err)
	}
	if id, err := key.PeerID(conn.(*tls.Conn).ConnectionState()); id != node.ID() || err != nil {
		t.Errorf("the dialled connection is to %s, %v", id, err)
	}
	go conn.Write([]byte("hi"))
	got := make([]byte, 2)
	if _, err := io.ReadFull(far, got); err != nil || string(got) != "hi" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ran; err != nil {
		t.Errorf("Run returned %v", err)
	}
	if _, err := far.Read(got); err == nil {
		t.Error("a connection outlived its node")
	}
	if err := node.Run(t.Context()); err == nil {
		t.Error("a node ran twice")
	}
}

func TestLinkIsRestored(t *testing.T) {
	t.Parallel()
	var cut sync.Map
	hub := start(t, 1, http.HandlerFunc(whoami))
	home := start(t, 2, http.HandlerFunc(whoami), dials(hub.url), func(c *mesh.Config) {
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if err == nil {
				cut.Store(conn, true)
			}
			return conn, err
		}
	})
	for range 2 {
		home.sees(hub)
		until(t, "a call works", func() bool { _, err := get(t, home, "mesh://"+hub.ID().String()+"/"); return err == nil })
		cut.Range(func(conn, _ any) bool { conn.(net.Conn).Close(); cut.Delete(conn); return true })
	}
	until(t, "a call works again", func() bool { _, err := get(t, home, "mesh://"+hub.ID().String()+"/"); return err == nil })
}
