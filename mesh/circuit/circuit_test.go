package circuit

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/key"
)

func pair(n byte) key.Pair { return key.FromSeed([32]byte{n}) }
func id(n byte) key.ID     { return pair(n).ID() }

// net1 is a little network of switches in memory; routes are set by hand.
type net1 struct {
	switches map[key.ID]*Switch
	routes   map[[2]key.ID][]key.ID // from, destination -> hops
	down     map[key.ID]bool
	arrived  chan net.Conn
	serving  sync.WaitGroup
	wire     func(net.Conn) net.Conn // sees what links carry
}

func newNet(nodes ...byte) *net1 {
	n := &net1{switches: map[key.ID]*Switch{}, routes: map[[2]key.ID][]key.ID{}, down: map[key.ID]bool{}, arrived: make(chan net.Conn, 16),
		wire: func(c net.Conn) net.Conn { return c }}
	for _, b := range nodes {
		e := end{n, id(b)}
		n.switches[id(b)] = &Switch{Self: id(b), Routes: e, Links: e, Deliver: func(c net.Conn) bool { n.arrived <- c; return true }}
	}
	return n
}

func (n *net1) route(from, dest byte, hops ...byte) {
	var list []key.ID
	for _, h := range hops {
		list = append(list, id(h))
	}
	n.routes[[2]key.ID{id(from), id(dest)}] = list
}

type end struct {
	net  *net1
	self key.ID
}

func (e end) Hops(dest key.ID, path []key.ID, limit int) []key.ID {
	hops := slices.DeleteFunc(slices.Clone(e.net.routes[[2]key.ID{e.self, dest}]), func(h key.ID) bool { return slices.Contains(path, h) })
	return hops[:min(limit, len(hops))]
}

func (e end) Open(_ context.Context, to key.ID) (net.Conn, error) {
	if e.net.down[to] {
		return nil, errors.New("link is down")
	}
	near, far := net.Pipe()
	e.net.serving.Go(func() { e.net.switches[to].Serve(context.Background(), far, e.self) })
	return e.net.wire(near), nil
}

func TestRelayedCircuit(t *testing.T) {
	t.Parallel()
	n := newNet(1, 2, 3, 4)
	n.route(1, 4, 2)
	n.route(2, 4, 3)
	n.route(3, 4, 4)
	near, err := n.switches[id(1)].Dial(t.Context(), id(4))
	if err != nil {
		t.Fatal(err)
	}
	far := <-n.arrived
	go near.Write([]byte("there"))
	got := make([]byte, 5)
	if _, err := io.ReadFull(far, got); err != nil || string(got) != "there" {
		t.Errorf("got %q, %v", got, err)
	}
	go far.Write([]byte("back!"))
	if _, err := io.ReadFull(near, got); err != nil || string(got) != "back!" {
		t.Errorf("got %q, %v", got, err)
	}
	if got := n.switches[id(2)].Relayed(); got != 1 {
		t.Errorf("the relay counts %d circuits, want 1", got)
	}
	near.Close()
	if _, err := far.Read(got); err == nil {
		t.Error("the far end was not closed")
	}
	n.serving.Wait()
	for _, b := range []byte{2, 3} {
		s := n.switches[id(b)]
		if s.relayed != 0 || len(s.byOrigin) != 0 || len(s.byNeighbour) != 0 {
			t.Errorf("relay %d still counts %d circuits, %v, %v", b, s.relayed, s.byOrigin, s.byNeighbour)
		}
	}
}

func TestAnotherHopIsTried(t *testing.T) {
	t.Parallel()
	n := newNet(1, 2, 3, 4)
	n.route(1, 4, 2, 3) // 2 is down for 4, 3 works
	n.route(2, 4)
	n.route(3, 4, 4)
	near, err := n.switches[id(1)].Dial(t.Context(), id(4))
	if err != nil {
		t.Fatal(err)
	}
	near.Close()
	(<-n.arrived).Close()
	n.down[id(3)] = true
	_, err = n.switches[id(1)].Dial(t.Context(), id(4))
	refusal, ok := errors.AsType[*Error](err)
	if !ok || refusal.Code != PeerGone || refusal.Hop != id(3) {
		t.Errorf("got %v, want that node 3 is gone", err)
	}
	n.serving.Wait()
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	n := newNet(1, 2, 3)
	n.route(1, 9, 2)
	n.route(2, 9, 3)
	n.route(3, 9, 1, 2) // a way back
	_, err := n.switches[id(1)].Dial(t.Context(), id(9))
	if refusal, ok := errors.AsType[*Error](err); !ok || refusal.Code != NoRoute || refusal.Hop != id(3) {
		t.Errorf("a way that leads back gave %v, want no route at node 3", err)
	}
	if _, err := n.switches[id(3)].Dial(t.Context(), id(8)); !strings.Contains(err.Error(), "no route") {
		t.Errorf("an unknown destination gave %v", err)
	}
	n.serving.Wait()
}

func TestTTL(t *testing.T) {
	t.Parallel()
	nodes := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	n := newNet(nodes...)
	for i := range len(nodes) - 1 {
		n.route(nodes[i], 9, nodes[i+1])
		n.route(nodes[i], 10, nodes[i+1])
	}
	conn, err := n.switches[id(1)].Dial(t.Context(), id(9)) // eight links
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	(<-n.arrived).Close()
	_, err = n.switches[id(1)].Dial(t.Context(), id(10)) // nine
	if refusal, ok := errors.AsType[*Error](err); !ok || refusal.Code != TTLExceeded {
		t.Errorf("nine links gave %v, want too many hops", err)
	}
	n.serving.Wait()
}

func TestMembersAreCapped(t *testing.T) {
	t.Parallel()
	n := newNet(1, 2, 3)
	n.route(1, 3, 2)
	n.route(2, 3, 3)
	var open []net.Conn
	for range MaxByOrigin {
		near, err := n.switches[id(1)].Dial(t.Context(), id(3))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, near, <-n.arrived)
	}
	_, err := n.switches[id(1)].Dial(t.Context(), id(3))
	if refusal, ok := errors.AsType[*Error](err); !ok || refusal.Code != Limit || refusal.Hop != id(2) {
		t.Errorf("circuit %d gave %v, want the relay's limit", MaxByOrigin+1, err)
	}
	for _, c := range open {
		c.Close()
	}
	n.serving.Wait()
	if near, err := n.switches[id(1)].Dial(t.Context(), id(3)); err != nil {
		t.Errorf("after the others were closed: %v", err)
	} else {
		near.Close()
		(<-n.arrived).Close()
	}
	n.serving.Wait()
}

// A neighbour that opens a stream and says nothing is hung up on.
func TestSilentNeighbour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNet(1)
		near, far := net.Pipe()
		defer near.Close()
		begin := time.Now()
		if err := n.switches[id(1)].Serve(t.Context(), far, id(2)); err == nil {
			t.Error("a silent neighbour kept to the protocol")
		}
		if took := time.Since(begin); took != openTime {
			t.Errorf("waited %s, want %s", took, openTime)
		}
	})
}

func TestHeadersOfLiars(t *testing.T) {
	t.Parallel()
	good := header{ttl: 3, dest: id(5), path: []key.ID{id(1), id(2)}}
	if h, err := readHeader(bytes.NewReader(good.encode()), id(2)); err != nil || h.dest != good.dest || !slices.Equal(h.path, good.path) || h.ttl != 3 {
		t.Fatalf("read back %+v, %v", h, err)
	}
	for name, change := range map[string]func([]byte){
		"version":    func(b []byte) { b[0] = 9 },
		"no TTL":     func(b []byte) { b[1] = 0 },
		"large TTL":  func(b []byte) { b[1] = MaxTTL + 1 },
		"no path":    func(b []byte) { b[34] = 0 },
		"long path":  func(b []byte) { b[34] = MaxTTL + 1 },
		"cut":        func(b []byte) { b[34] = 3 },
		"false last": func(b []byte) { b[len(b)-1] ^= 1 },
	} {
		b := good.encode()
		change(b)
		if _, err := readHeader(bytes.NewReader(b), id(2)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The relay sees neither what passes nor can it change it unnoticed, and it
// cannot stand in for the destination.
func TestRelayCanNeitherReadNorAlter(t *testing.T) {
	t.Parallel()
	allow := func(key.ID) error { return nil }
	client, err := NewIdentity(pair(1), allow)
	if err != nil {
		t.Fatal(err)
	}
	server, err := NewIdentity(pair(3), allow)
	if err != nil {
		t.Fatal(err)
	}
	n := newNet(1, 2, 3)
	n.route(1, 3, 2)
	n.route(2, 3, 3)
	tap := &tapped{}
	n.wire = func(c net.Conn) net.Conn { return &tapConn{c, tap} }
	secret := strings.Repeat("the prompt ", 20)

	exchange := func() error {
		near, err := n.switches[id(1)].Dial(t.Context(), id(3))
		if err != nil {
			return err
		}
		defer near.Close()
		far := <-n.arrived
		defer far.Close()
		got := make(chan error, 1)
		go func() {
			conn, err := server.Server(t.Context(), far)
			if err == nil {
				if peer, _ := key.PeerID(conn.ConnectionState()); peer != id(1) {
					t.Errorf("the server sees %s", peer)
				}
				_, err = io.ReadFull(conn, make([]byte, len(secret)))
			}
			far.Close()
			got <- err
		}()
		var conn *tls.Conn
		if conn, err = client.Client(t.Context(), near, id(3)); err == nil {
			tap.alterNext()
			_, err = conn.Write([]byte(secret))
		}
		return errors.Join(err, <-got)
	}
	if err := exchange(); err != nil {
		t.Errorf("honest relay: %v", err)
	}
	tap.mu.Lock()
	if bytes.Contains(tap.seen.Bytes(), []byte("the prompt")) {
		t.Error("the relay saw the text")
	}
	tap.altering = true
	tap.mu.Unlock()
	if err := exchange(); err == nil {
		t.Error("the relay altered a byte unnoticed")
	}
	n.serving.Wait()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	n.serving.Go(func() {
		far, err := listener.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		if thief, err := NewIdentity(pair(2), allow); err == nil {
			thief.Server(t.Context(), far)
		}
		far.Close()
	})
	near, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Client(t.Context(), near, id(3)); !errors.Is(err, key.ErrNotPinned) {
		t.Errorf("a relay in the destination's place gave %v, want ErrNotPinned", err)
	}
	n.serving.Wait()
}

type tapped struct {
	mu       sync.Mutex
	seen     bytes.Buffer
	altering bool
	armed    bool
}

func (t *tapped) alterNext() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed = t.altering
}

type tapConn struct {
	net.Conn
	tap *tapped
}

func (c *tapConn) Write(p []byte) (int, error) {
	c.tap.mu.Lock()
	c.tap.seen.Write(p)
	p = bytes.Clone(p)
	if c.tap.armed {
		p[len(p)/2] ^= 1
		c.tap.armed = false
	}
	c.tap.mu.Unlock()
	return c.Conn.Write(p)
}

func FuzzHeader(f *testing.F) {
	good := header{ttl: 3, dest: id(5), path: []key.ID{id(1), id(2)}}
	f.Add(good.encode())
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := readHeader(bytes.NewReader(data), id(2))
		if err == nil && !bytes.HasPrefix(data, h.encode()) {
			t.Errorf("%x reads as %+v", data, h)
		}
		if status, err := readStatus(bytes.NewReader(data)); err == nil && !bytes.HasPrefix(data, status.encode()) {
			t.Errorf("%x reads as %+v", data, status)
		}
	})
}
