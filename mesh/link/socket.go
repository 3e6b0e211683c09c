package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// Before a connection is proven it may send this much, and no more.
const (
	unprovenBytes    = 16 << 10
	unprovenMessages = 32
	messageBytes     = 256 << 10 // of one WebSocket message, once proven
)

// socket is the byte stream inside a WebSocket's binary messages, for one reader
// and one writer at a time. Deadlines are not supported: ctx ends it.
type socket struct {
	ws     *websocket.Conn
	ctx    context.Context
	cancel context.CancelFunc
	remote net.Addr

	wire    *wire       // below ws
	client  bool        // this side masks
	closing atomic.Bool // no message may follow

	writing sync.Mutex // held while a message is written
	batch   *[]byte    // guarded by writing; gathers one message between hold and release, else nil

	reader   io.Reader // of the message that is being read; owned by Read
	proven   atomic.Bool
	bytes    int // read before it was proven; owned by Read
	messages int
}

func newSocket(ctx context.Context, ws *websocket.Conn, below *wire, client bool, remote net.Addr) *socket {
	ws.SetReadLimit(unprovenBytes)
	s := &socket{ws: ws, wire: below, client: client, remote: remote}
	s.ctx, s.cancel = context.WithCancel(ctx)
	return s
}

// prove lifts the limits of strangers. From now on only Close ends the socket: a
// context costs more than a read. It comes before all use by several goroutines.
func (s *socket) prove() {
	s.ctx = context.Background()
	s.ws.SetReadLimit(messageBytes)
	s.proven.Store(true)
	s.wire.proven.Store(true)
}

func (s *socket) Read(p []byte) (int, error) {
	for {
		if s.reader == nil {
			if err := s.nextMessage(); err != nil {
				return 0, err
			}
		}
		n, err := s.reader.Read(p)
		if errors.Is(err, io.EOF) {
			s.reader, err = nil, nil
		}
		if !s.proven.Load() {
			if s.bytes += n; s.bytes > unprovenBytes {
				return 0, fmt.Errorf("more than %d bytes before the proof", unprovenBytes)
			}
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (s *socket) nextMessage() error {
	if s.messages++; s.messages > unprovenMessages && !s.proven.Load() {
		return fmt.Errorf("more than %d messages before the proof", unprovenMessages)
	}
	kind, reader, err := s.ws.Reader(s.ctx)
	if err != nil {
		return readFault(err)
	}
	if kind != websocket.MessageBinary {
		return errors.New("a text message, where only binary ones are allowed")
	}
	s.reader = reader
	return nil
}

// A fault is an error of the library in words that help.
type fault struct {
	text string
	error
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.error }

// readFault leaves out what the library was doing with which part of which message.
func readFault(err error) error {
	if below, ok := errors.AsType[*net.OpError](err); ok {
		return &fault{below.Error(), err}
	}
	if closed, ok := errors.AsType[websocket.CloseError](err); ok {
		return &fault{(&ClosedError{Code: Code(closed.Code), Remote: true}).Error(), err} // its own words may be anything
	}
	if errors.Is(err, io.EOF) {
		return &fault{"the connection ended without a goodbye", err}
	}
	return err
}

// Write sends p as one message. TLS writes a record at a time, from several
// goroutines when it has an alert to tell.
func (s *socket) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.batch != nil {
		*s.batch = append(*s.batch, p...)
		return len(p), nil
	}
	s.open()
	*s.batch = append(*s.batch, p...)
	return len(p), s.send()
}

// hold gathers what is written until release.
func (s *socket) hold() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.open()
}

// release sends what was gathered as one message.
func (s *socket) release() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.send()
}

func (s *socket) open() {
	s.batch = batches.Get().(*[]byte)
	*s.batch = append(*s.batch, make([]byte, maxHeader)...)
}

// send sends the batch as one message in one write; writing is held.
func (s *socket) send() (err error) {
	batch := s.batch
	s.batch = nil
	defer putBatch(batch)
	switch {
	case len(*batch) == maxHeader:
		return nil
	case s.closing.Load():
		return net.ErrClosed
	}
	if s.wire.bare {
		_, err = s.wire.Write(asMessage(*batch, s.client))
		return err
	}
	s.wire.hold()
	return errors.Join(s.ws.Write(s.ctx, websocket.MessageBinary, (*batch)[maxHeader:]), s.wire.release())
}

// Close hangs up at once. The library waits for a goodbye that is under way, so the
// connection below is closed first.
func (s *socket) Close() error {
	s.cancel()
	var below net.Conn = s.wire.Conn
	if outer, ok := below.(*tls.Conn); ok { // which would say goodbye too
		below = outer.NetConn()
	}
	return errors.Join(below.Close(), s.ws.CloseNow())
}

func (s *socket) LocalAddr() net.Addr              { return address("mesh") }
func (s *socket) RemoteAddr() net.Addr             { return s.remote }
func (s *socket) SetDeadline(time.Time) error      { return nil }
func (s *socket) SetReadDeadline(time.Time) error  { return nil }
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

type address string

func (a address) Network() string { return "websocket" }
func (a address) String() string  { return string(a) }

// batches are buffers for what links write, of a little more than a message at most.
var batches = sync.Pool{New: func() any { return new([]byte) }}

func putBatch(b *[]byte) {
	*b = (*b)[:0]
	batches.Put(b)
}

// inner is what the multiplexer sees of a link: the TLS inside of the WebSocket.
// What is written at once is sent at once, as one message, without waiting.
type inner struct {
	*tls.Conn
	below   *socket
	failure atomic.Pointer[error] // of Read
}

func (i *inner) Read(p []byte) (int, error) {
	n, err := i.Conn.Read(p)
	if err != nil {
		i.failure.CompareAndSwap(nil, &err)
	}
	return n, err
}

func (i *inner) Write(p []byte) (int, error) {
	i.below.hold()
	n, err := i.Conn.Write(p)
	return n, errors.Join(err, i.below.release())
}

func (i *inner) Drain() error { return i.below.wire.drain() }

// Tell comes before all else.
func (i *inner) Tell(waits, behind func()) {
	i.below.wire.beforeRead = waits
	i.below.wire.prompt(behind)
}
