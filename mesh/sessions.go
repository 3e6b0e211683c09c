package mesh

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"lobstah/key"
)

const (
	idleTime = 90 * time.Second // a session without a request is closed after it
	pingTime = 15 * time.Second // a session that is silent is asked whether it lives
	dialTime = 20 * time.Second // for circuit and handshake of a session

	frameBytes = 32 << 10 // of HTTP/2: what others wait for in a session, and what bulk pays for each
)

// sessions keeps HTTP/2 sessions with other nodes. All requests to a node share
// one; another is opened only when it takes no more streams.
type sessions struct {
	node      *Node
	transport *http.Transport

	mu    sync.Mutex
	nodes map[key.ID]*session // guarded by mu, as what it points to
}

type session struct {
	conns   []*http.ClientConn
	used    time.Time
	dialing *attempt // nil when nobody dials
}

// attempt is one dial that many requests may wait for.
type attempt struct {
	done chan struct{}
	err  error // set before done is closed
}

func newSessions(n *Node) *sessions {
	return &sessions{node: n, nodes: map[key.ID]*session{}, transport: &http.Transport{
		DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return n.dial(ctx, address, "h2")
		},
		ForceAttemptHTTP2:  true,
		DisableCompression: true, // bytes pass through unchanged
		HTTP2:              &http.HTTP2Config{MaxReadFrameSize: frameBytes, SendPingTimeout: pingTime, PingTimeout: pingTime},
	}}
}

// reserve returns a connection that takes one more request.
func (s *sessions) reserve(ctx context.Context, id key.ID) (*http.ClientConn, error) {
	for {
		conn, dialing := s.find(id)
		if conn != nil {
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-dialing.done:
			if dialing.err != nil {
				return nil, dialing.err
			}
		}
	}
}

// find gives a connection, or the dial to wait for.
func (s *sessions) find(id key.ID) (*http.ClientConn, *attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.nodes[id]
	if own == nil {
		own = new(session)
		s.nodes[id] = own
	}
	own.conns = slices.DeleteFunc(own.conns, broken)
	own.used = time.Now()
	for _, conn := range own.conns {
		if conn.Reserve() == nil {
			return conn, nil
		}
	}
	if own.dialing == nil {
		own.dialing = &attempt{done: make(chan struct{})}
		dialing := own.dialing
		if !s.node.spawn(func() { s.open(id, own, dialing) }) {
			own.dialing, dialing.err = nil, ErrClosed
			close(dialing.done)
		}
		return nil, dialing
	}
	return nil, own.dialing
}

// open dials on behalf of all who wait: none of them can cancel it for the others.
func (s *sessions) open(id key.ID, own *session, dialing *attempt) {
	ctx, cancel := context.WithTimeout(s.node.ctx, dialTime)
	defer cancel()
	conn, err := s.transport.NewClientConn(ctx, "https", net.JoinHostPort(id.String(), "443"))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		own.conns = append(own.conns, conn)
	}
	own.dialing, dialing.err = nil, err
	close(dialing.done)
}

func broken(conn *http.ClientConn) bool {
	if conn.Err() == nil {
		return false
	}
	conn.Close()
	return true
}

// sweep closes sessions that are not used.
func (s *sessions) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, own := range s.nodes {
		if now.Sub(own.used) > idleTime && own.dialing == nil {
			own.conns = slices.DeleteFunc(own.conns, func(c *http.ClientConn) bool { return c.InFlight() == 0 && c.Close() == nil || broken(c) })
		}
		if len(own.conns) == 0 && own.dialing == nil {
			delete(s.nodes, id)
		}
	}
}

// drop closes the sessions with one node, or with all for the zero key.
func (s *sessions) drop(id key.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for peer, own := range s.nodes {
		if id.IsZero() || id == peer {
			for _, conn := range own.conns {
				conn.Close()
			}
			own.conns = nil
		}
	}
}

// ends are the circuits that end here, by the node that began them, so that they
// can be cut.
type ends struct {
	mu    sync.Mutex
	conns map[key.ID]map[*endConn]bool // guarded by mu
}

type endConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

func (e *endConn) Close() error {
	e.once.Do(e.leave)
	return e.Conn.Close()
}

// track wraps a circuit; claim names its peer once that is proven.
func (e *ends) track(raw net.Conn) *endConn { return &endConn{Conn: raw, leave: func() {}} }

func (e *ends) claim(conn *endConn, peer key.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conns == nil {
		e.conns = map[key.ID]map[*endConn]bool{}
	}
	if e.conns[peer] == nil {
		e.conns[peer] = map[*endConn]bool{}
	}
	e.conns[peer][conn] = true
	conn.leave = func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if delete(e.conns[peer], conn); len(e.conns[peer]) == 0 {
			delete(e.conns, peer)
		}
	}
}

// cut closes the circuits of one node, or of all for the zero key.
func (e *ends) cut(peer key.ID) {
	e.mu.Lock()
	var list []*endConn
	for id, conns := range e.conns {
		if peer.IsZero() || id == peer {
			for conn := range conns {
				list = append(list, conn)
			}
		}
	}
	e.mu.Unlock()
	for _, conn := range list {
		conn.Close()
		conn.SetDeadline(time.Unix(1, 0)) // wakes reads that closing does not
	}
}
