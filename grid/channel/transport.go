package channel

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"lobstah/grid"
	"lobstah/key"
)

// A Transport reaches peers. It keeps one pool of HTTP/1.1 connections for each
// peer. The zero value is ready; do not change it after first use.
type Transport struct {
	// BlockPrivate forbids learned peers the private networks too.
	BlockPrivate bool
	// Warn is called once for each insecure peer that is really reached
	// without TLS.
	Warn func(grid.Peer)
	// ConnectTimeout bounds name look-up, TCP and TLS together; 10 s when 0.
	ConnectTimeout time.Duration
	// MaxConns bounds the connections to one peer; 512 when 0. More requests
	// wait for a free one.
	MaxConns int
	// Dial replaces TCP, for tests. The addresses of learned peers are then
	// checked only where they are literal.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu    sync.Mutex
	pools map[grid.Peer]*pool // guarded by mu
}

const (
	maxPools       = 1024
	idleConns      = 32
	idleTimeout    = 90 * time.Second
	connectTimeout = 10 * time.Second
	maxConns       = 512
	maxHeaderBytes = 64 << 10
	writeBuffer    = 2 << 10         // a head with its signature and a short body; longer bodies pass by it
	plainMemory    = 5 * time.Minute // how long a peer is taken to speak no TLS
	unacknowledged = 8 * time.Second // how long a peer may acknowledge nothing of what was sent
)

// keepAlive finds out within half a minute that a peer is gone from which a
// stream comes.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// RoundTripper returns the way to peer. It ignores the scheme of the requests
// and of the peer's URL, sends to the peer's host and port, and follows no
// redirect. Errors before a connection stands are an [*Error]. It may be called
// for each request: connections are pooled by peer.
func (t *Transport) RoundTripper(peer grid.Peer) http.RoundTripper {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.pools[peer]; p != nil {
		return p
	}
	if t.pools == nil {
		t.pools = map[grid.Peer]*pool{}
	}
	for other, p := range t.pools {
		// The same peer elsewhere, or any one when there are too many.
		if other.ID == peer.ID || len(t.pools) >= maxPools {
			delete(t.pools, other)
			p.http.CloseIdleConnections()
		}
	}
	p := newPool(t, peer)
	t.pools[peer] = p
	return p
}

// Close closes idle connections; those in use end with their requests.
func (t *Transport) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.pools {
		p.http.CloseIdleConnections()
	}
	t.pools = nil
}

// pool is the way to one peer.
type pool struct {
	t    *Transport
	peer grid.Peer
	addr string // host:port
	err  error  // why there is no way
	tls  *tls.Config
	http *http.Transport

	mu         sync.Mutex
	plainUntil time.Time // guarded by mu; the peer is taken to speak no TLS
	warned     bool      // guarded by mu
}

func newPool(t *Transport, peer grid.Peer) *pool {
	p := &pool{t: t, peer: peer, tls: key.PinnedTLS(peer.ID)}
	p.tls.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	if p.err = CheckURL(peer, t.BlockPrivate); p.err == nil {
		p.addr, p.err = hostPort(peer)
	}
	p.http = &http.Transport{
		// Proxies of the environment would hide the address that is dialled.
		Proxy: nil,
		// The transport is told "http" and TLS is made here, since whether it
		// is spoken does not depend on the URL.
		DialContext:            p.dial,
		DisableCompression:     true, // bodies pass unchanged
		MaxIdleConnsPerHost:    idleConns,
		MaxConnsPerHost:        orElse(t.MaxConns, maxConns),
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		WriteBufferSize:        writeBuffer,
	}
	return p
}

// RoundTrip implements [http.RoundTripper].
func (p *pool) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, p.err
	}
	if r.URL.Scheme != "http" || r.URL.Host != p.addr {
		copied, u := *r, *r.URL
		u.Scheme, u.Host = "http", p.addr
		copied.URL = &u
		r = &copied
	}
	return p.http.RoundTrip(r)
}

// CloseIdleConnections lets [http.Client.CloseIdleConnections] work.
func (p *pool) CloseIdleConnections() { p.http.CloseIdleConnections() }

// dial opens a connection: TLS, or plain HTTP where that is allowed and the
// peer speaks no TLS.
func (p *pool) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, orElse(p.t.ConnectTimeout, connectTimeout))
	defer cancel()
	conn, err := p.connect(ctx, network)
	if err != nil {
		return nil, err
	}
	mayBePlain := p.peer.Insecure && p.peer.Origin.Trusted() || isLoopback(conn.RemoteAddr())
	if mayBePlain && p.knownPlain() {
		return conn, nil
	}
	secure, err := openTLS(ctx, conn, p.tls)
	if err == nil {
		return secure, nil
	}
	conn.Close()
	if !mayBePlain || !speaksNoTLS(err) {
		return nil, p.fail(tlsStep(err), err)
	}
	p.rememberPlain(isLoopback(conn.RemoteAddr()))
	return p.connect(ctx, network)
}

// connect opens the bare connection.
func (p *pool) connect(ctx context.Context, network string) (net.Conn, error) {
	dial := p.t.Dial
	if dial == nil {
		dial = (&net.Dialer{KeepAliveConfig: keepAlive, ControlContext: p.control}).DialContext
	}
	conn, err := dial(ctx, network, p.addr)
	if err == nil {
		return conn, nil
	}
	step := StepTCP
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		step = StepDNS
	} else if errors.Is(err, ErrForbidden) {
		step = StepAddress
	}
	return nil, p.fail(step, err)
}

// control sees each address that is really dialled, after the look-up, so that
// a name cannot point elsewhere between check and use.
func (p *pool) control(_ context.Context, _, address string, raw syscall.RawConn) error {
	if err := limitSilence(raw); err != nil {
		return err
	}
	if p.peer.Origin.Trusted() {
		return nil
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return Forbidden(at.Addr(), p.t.BlockPrivate)
}

func (p *pool) fail(step Step, err error) error {
	return &Error{Step: step, Peer: p.peer, Addr: p.addr, Err: err}
}

func tlsStep(err error) Step {
	if errors.Is(err, key.ErrNotPinned) {
		return StepKey
	}
	return StepTLS
}

// speaksNoTLS tells a server that does not know TLS from one that refuses ours.
func speaksNoTLS(err error) bool {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

func (p *pool) knownPlain() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.plainUntil)
}

func (p *pool) rememberPlain(loopback bool) {
	p.mu.Lock()
	p.plainUntil = time.Now().Add(plainMemory)
	warn := !loopback && !p.warned && p.t.Warn != nil
	p.warned = p.warned || warn
	p.mu.Unlock()
	if warn {
		p.t.Warn(p.peer)
	}
}

func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

func orElse[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
