// Package dualport makes one port answer plain HTTP and TLS alike, told apart by
// the first byte of each connection.
//
// Call [Listen] on a listener and serve on what it returns. The grid's workers
// and the nodes of the mesh do; it knows neither. Whoever connects is a stranger:
// the time and the number of connections that have proved nothing are bounded.
package dualport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Bounds on connections that have proved nothing yet.
const (
	handshakeTime = 10 * time.Second // for the first byte and the handshake together
	maxUnproven   = 256
)

// A Listener accepts connections that speak HTTP or TLS, told apart by their
// first byte. Accept gives a [*tls.Conn] with a finished handshake for TLS, so
// that net/http fills in Request.TLS, and a plain connection otherwise.
//
// A client gets a limited time for its first byte and its handshake, outside
// of Accept. When too many are at that stage, the one that has been there
// longest is dropped: honest ones are quick.
type Listener struct {
	inner    net.Listener
	config   *tls.Config
	timeout  time.Duration
	unproven int

	ready   chan net.Conn
	stop    context.CancelFunc
	stopped <-chan struct{}
	wg      sync.WaitGroup

	mu      sync.Mutex
	pending []net.Conn // guarded by mu; oldest first
	err     error      // guarded by mu; what ended the inner listener
}

// Listen wraps inner. Close ends it, inner, and every unfinished handshake.
func Listen(inner net.Listener, config *tls.Config) *Listener {
	return listen(inner, config, handshakeTime, maxUnproven)
}

func listen(inner net.Listener, config *tls.Config, timeout time.Duration, unproven int) *Listener {
	ctx, stop := context.WithCancel(context.Background())
	l := &Listener{
		inner: inner, config: config, timeout: timeout, unproven: unproven,
		ready: make(chan net.Conn), stop: stop, stopped: ctx.Done(),
	}
	l.wg.Go(l.acceptAll)
	return l
}

// Addr returns the inner listener's address.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Accept returns the next connection that said what it speaks.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.stopped:
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.err != nil {
			return nil, l.err
		}
		return nil, net.ErrClosed
	}
}

// Close stops accepting and waits until every unfinished handshake has ended.
func (l *Listener) Close() error {
	l.stop()
	err := l.inner.Close()
	l.mu.Lock()
	for _, c := range l.pending {
		c.Close()
	}
	l.mu.Unlock()
	l.wg.Wait()
	return err
}

func (l *Listener) acceptAll() {
	const pause = 50 * time.Millisecond // after a failure that may pass, such as no free descriptor
	for {
		c, err := l.inner.Accept()
		if err == nil {
			l.admit(c)
			l.wg.Go(func() { l.greet(c) })
			continue
		}
		if temporary, ok := errors.AsType[interface {
			error
			Temporary() bool
		}](err); ok && temporary.Temporary() {
			select {
			case <-time.After(pause):
				continue
			case <-l.stopped:
			}
		}
		l.mu.Lock()
		l.err = err
		l.mu.Unlock()
		l.stop()
		return
	}
}

// admit counts c as unproven and drops the oldest one when there are too many.
func (l *Listener) admit(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.stopped: // Close may have looked at pending already
		c.Close()
	default:
	}
	if len(l.pending) >= l.unproven {
		l.pending[0].Close() // its greet ends and returns
		l.pending = l.pending[1:]
	}
	l.pending = append(l.pending, c)
}

func (l *Listener) dismiss(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, other := range l.pending {
		if other == c {
			l.pending = append(l.pending[:i:i], l.pending[i+1:]...)
			return
		}
	}
}

// greet brings one connection from its first byte to Accept.
func (l *Listener) greet(c net.Conn) {
	proven, err := l.identify(c)
	l.dismiss(c)
	if err != nil {
		c.Close() // nobody to tell: the client is a stranger
		return
	}
	select {
	case l.ready <- proven:
	case <-l.stopped:
		proven.Close()
	}
}

const tlsHandshakeRecord = 0x16 // RFC 8446, section 5.1

func (l *Listener) identify(c net.Conn) (net.Conn, error) {
	if err := c.SetDeadline(time.Now().Add(l.timeout)); err != nil {
		return nil, err
	}
	p := &peeked{Conn: c}
	if _, err := io.ReadFull(c, p.first[:]); err != nil {
		return nil, err
	}
	if p.first[0] != tlsHandshakeRecord {
		return p, c.SetDeadline(time.Time{})
	}
	conn := tls.Server(p, l.config)
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	return conn, c.SetDeadline(time.Time{})
}

// peeked is a connection whose first byte was read already.
type peeked struct {
	net.Conn
	first [1]byte
	given bool // owned by the reader
}

func (p *peeked) Read(b []byte) (int, error) {
	if p.given || len(b) == 0 {
		return p.Conn.Read(b)
	}
	p.given = true
	b[0] = p.first[0]
	return 1, nil
}
