package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"lobstah/key"
)

// Bounds of what other nodes may have waiting here.
const (
	maxHandshakes = 64 // ends of circuits that are being proven, at once
	acceptQueue   = 64 // connections that nobody has accepted yet; then handshakes wait
)

// Listener accepts what other nodes open to this one. Its connections are
// *tls.Conn, so that an [http.Server] speaks HTTP/2 on them and requests carry the
// caller's key, see [Caller]. There is one listener.
func (n *Node) Listener() net.Listener { return n.listener }

// Caller returns the key of the node that sent a request which was taken from a
// [Node.Listener].
func Caller(r *http.Request) (key.ID, error) {
	if r.TLS == nil {
		return key.ID{}, errors.New("the request did not come over the mesh")
	}
	return key.PeerID(*r.TLS)
}

type listener struct {
	node     *Node
	accepted chan net.Conn
	proving  chan struct{} // one token for each handshake
	closed   chan struct{}
	close    sync.Once
}

func newListener(n *Node) *listener {
	return &listener{node: n, accepted: make(chan net.Conn, acceptQueue), proving: make(chan struct{}, maxHandshakes), closed: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed: // first, so that a closed listener never accepts
		return nil, fmt.Errorf("accept on the mesh: %w", net.ErrClosed)
	default:
	}
	select {
	case conn := <-l.accepted:
		return conn, nil
	case <-l.closed:
		return nil, fmt.Errorf("accept on the mesh: %w", net.ErrClosed)
	}
}

// Close ends Accept; the node stays in the mesh.
func (l *listener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return nil
}

// drain closes what was never accepted.
func (l *listener) drain() {
	l.Close()
	for {
		select {
		case conn := <-l.accepted:
			conn.Close()
		default:
			return
		}
	}
}

func (l *listener) Addr() net.Addr { return addr(l.node.self.String()) }

// addr is a node's key as an address.
type addr string

func (addr) Network() string  { return "mesh" }
func (a addr) String() string { return string(a) }

// deliver takes a circuit that ends here, or a stream of a guest.
func (l *listener) deliver(raw net.Conn) bool {
	n := l.node
	select {
	case <-l.closed:
		return false
	case l.proving <- struct{}{}:
	default:
		return false // too many at once: the caller sees it closed and tries again
	}
	taken := n.spawn(func() {
		end := n.ends.track(raw)
		conn, err := n.identity.Server(n.ctx, end)
		<-l.proving
		if err != nil {
			n.cfg.Log.Debug("refused the end of a circuit", "err", err)
			return
		}
		peer, _ := key.PeerID(conn.ConnectionState()) // the handshake has checked it
		n.ends.claim(end, peer)
		if n.admit(peer) != nil { // revoked meanwhile
			conn.Close()
			return
		}
		select {
		case l.accepted <- conn:
		case <-l.closed:
			conn.Close()
		}
	})
	if !taken {
		<-l.proving
	}
	return taken
}

// Resolve reads the host of a mesh URL: a key in its text form, or a name that is
// pinned to one. Other names are refused: anybody in the mesh may bear them.
func (n *Node) Resolve(host string) (key.ID, error) {
	if id, err := key.ParseID(host); err == nil {
		return id, nil
	}
	if id, ok := (*n.pins.Load())[host]; ok {
		return id, nil
	}
	for _, m := range n.Members() {
		if m.Name == host {
			return key.ID{}, fmt.Errorf("%q is not pinned to a key, and any member may call itself so: pin it, or use its key %s", host, m.Key)
		}
	}
	return key.ID{}, fmt.Errorf("no node %q is known here", host)
}

// DialContext opens a connection to the listener of another node, whose key it
// has proven. The address is a key or a pinned name; a port after it is ignored.
func (n *Node) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	return n.dial(ctx, address)
}

func (n *Node) dial(ctx context.Context, address string, protocols ...string) (*tls.Conn, error) {
	if !n.hold() { // the circuit is opened while links are up
		return nil, ErrClosed
	}
	defer n.running.Done()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	id, err := n.Resolve(host)
	if err != nil {
		return nil, err
	}
	if err := n.admit(id); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(n.ctx, cancel)
	defer stop()
	raw, err := n.circuits.Dial(ctx, id)
	if err != nil {
		return nil, err
	}
	conn, err := n.identity.Client(ctx, raw, id, protocols...)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", id.Short(), err)
	}
	return conn, nil
}

// RoundTrip sends a request for mesh://lob1... or mesh://NAME to that node's
// listener. All requests to one node share an HTTP/2 session; cancelling one, its
// deadline and its flow control are those of HTTP/2.
func (n *Node) RoundTrip(r *http.Request) (*http.Response, error) {
	id, err := n.target(r)
	if err != nil {
		if r.Body != nil {
			err = errors.Join(err, r.Body.Close())
		}
		return nil, err
	}
	inner := r.Clone(r.Context())
	inner.URL.Scheme, inner.URL.Host, inner.Host = "https", id.String(), id.String()
	hopless(inner.Header)
	response, err := n.send(id, inner)
	if response != nil {
		response.Request = r
	}
	return response, err
}

// send tries once more when the session turns out to be dead and the request can
// do no harm twice.
func (n *Node) send(id key.ID, r *http.Request) (*http.Response, error) {
	harmless := (r.Method == "" || r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.Body == nil || r.Body == http.NoBody)
	for again := harmless; ; again = false {
		conn, err := n.sessions.reserve(r.Context(), id)
		if err != nil {
			if r.Body != nil {
				err = errors.Join(err, r.Body.Close())
			}
			return nil, fmt.Errorf("call %s: %w", id.Short(), err)
		}
		response, err := conn.RoundTrip(r)
		if err == nil || !again || conn.Err() == nil || r.Context().Err() != nil {
			return response, err
		}
	}
}

func (n *Node) target(r *http.Request) (key.ID, error) {
	if r.URL.Scheme != "mesh" {
		return key.ID{}, fmt.Errorf("%s is no address in the mesh: want mesh://lob1... or mesh://NAME", r.URL.Redacted())
	}
	return n.Resolve(r.URL.Hostname())
}

// hopless removes the headers that HTTP/2 refuses to send.
func hopless(h http.Header) {
	for name := range h {
		if slices.Contains([]string{"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}, strings.ToLower(name)) {
			delete(h, name)
		}
	}
}
