// Package memnet is a network in memory: a [net.Listener] whose connections are
// pipes, for servers that no socket should reach (the embedded engine) and for
// tests in virtual time, where a real socket never counts as blocked.
//
//	l := memnet.Listen("demo")
//	go server.Serve(l)
//	client := &http.Client{Transport: &http.Transport{DialContext: l.DialContext}}
//
// Connections are [net.Pipe]s: unbuffered, in order, with deadlines. Closing the
// listener unblocks Accept and every dial that waits, and leaves accepted
// connections open, as closing a TCP listener does. Anything may import it; no
// input is parsed.
package memnet

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
)

// Addr is the address of an end of a connection: the listener's name, or the
// name and a number for a dialling end.
type Addr string

// Network returns "memory".
func (Addr) Network() string { return "memory" }

// String returns the name.
func (a Addr) String() string { return string(a) }

// Listener accepts the connections that its own DialContext makes. It is safe for
// concurrent use. It has no backlog: a dial waits for an Accept.
type Listener struct {
	addr    Addr
	dialled chan net.Conn // server ends on their way from a dial to an Accept
	closed  chan struct{}
	close   sync.Once
	count   atomic.Uint64 // dials so far, for their addresses
}

// Listen makes a listener; name is its address and need not be unique.
func Listen(name string) *Listener {
	return &Listener{addr: Addr(name), dialled: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept waits for a dial. After Close it returns an error that is [net.ErrClosed].
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed: // first, so that a closed listener never accepts
		return nil, l.failure("accept", net.ErrClosed)
	default:
	}
	select {
	case c := <-l.dialled:
		return c, nil
	case <-l.closed:
		return nil, l.failure("accept", net.ErrClosed)
	}
}

// DialContext connects to the listener, whatever network and address say: the
// signature is that of [net.Dialer.DialContext]. It waits until the connection is
// accepted, ctx is done, or the listener is closed, which refuses it.
func (l *Listener) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	client, server := net.Pipe()
	own := Addr(string(l.addr) + "#" + strconv.FormatUint(l.count.Add(1), 10))
	select {
	case l.dialled <- conn{server, l.addr, own}:
		return conn{client, own, l.addr}, nil
	case <-l.closed:
		return nil, l.failure("dial", syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, l.failure("dial", fmt.Errorf("waiting to be accepted: %w", ctx.Err()))
	}
}

// Close ends Accept and every waiting dial. Closing again does nothing.
func (l *Listener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return nil
}

// Addr returns the listener's address.
func (l *Listener) Addr() net.Addr { return l.addr }

func (l *Listener) failure(op string, err error) error {
	return &net.OpError{Op: op, Net: l.addr.Network(), Addr: l.addr, Err: err}
}

// conn is one end of a pipe, with addresses.
type conn struct {
	net.Conn
	local, remote Addr
}

func (c conn) LocalAddr() net.Addr  { return c.local }
func (c conn) RemoteAddr() net.Addr { return c.remote }
