package link

import (
	"context"
	"encoding/binary"
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

	wire *wire // below ws

	writing sync.Mutex // held while a message is written
	batch   *[]byte    // guarded by writing; gathers one message between hold and release, else nil

	reader   io.Reader // of the message that is being read; owned by Read
	proven   atomic.Bool
	bytes    int // read before it was proven; owned by Read
	messages int
}

func newSocket(ctx context.Context, ws *websocket.Conn, below *wire, remote net.Addr) *socket {
	ws.SetReadLimit(unprovenBytes)
	s := &socket{ws: ws, wire: below, remote: remote}
	s.ctx, s.cancel = context.WithCancel(ctx)
	return s
}

// prove lifts the limits of strangers.
func (s *socket) prove() {
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
		return err
	}
	if kind != websocket.MessageBinary {
		return errors.New("a text message, where only binary ones are allowed")
	}
	s.reader = reader
	return nil
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
	return len(p), s.send(p)
}

// send sends one message in one write. The lock is held.
func (s *socket) send(p []byte) error {
	s.wire.hold()
	return errors.Join(s.ws.Write(s.ctx, websocket.MessageBinary, p), s.wire.release())
}

// hold gathers what is written until release.
func (s *socket) hold() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.batch = batches.Get().(*[]byte)
}

// release sends what was gathered as one message.
func (s *socket) release() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	batch := s.batch
	s.batch = nil
	defer putBatch(batch)
	if len(*batch) == 0 {
		return nil
	}
	return s.send(*batch)
}

// Close hangs up at once.
func (s *socket) Close() error {
	s.cancel()
	return s.ws.CloseNow()
}

func (s *socket) LocalAddr() net.Addr              { return address("mesh") }
func (s *socket) RemoteAddr() net.Addr             { return s.remote }
func (s *socket) SetDeadline(time.Time) error      { return nil }
func (s *socket) SetReadDeadline(time.Time) error  { return nil }
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

type address string

func (a address) Network() string { return "websocket" }
func (a address) String() string  { return string(a) }

const (
	queueBytes = 68 << 10 // waits to be written, at most: four pieces with their headers; then writers wait
	pieceBytes = 16 << 10 // of one stream before others have their turn
	noteBytes  = 4 << 10  // of the control stream, which is seldom large
)

// coalescer turns many small writes into few large ones without a timer: while
// one write is under way the next ones gather and go out together. An idle one
// holds no buffer.
type coalescer struct {
	io.ReadWriteCloser
	below  holder // which sends each batch at once
	mu     sync.Mutex
	change sync.Cond // queue or err changed
	queue  *[]byte   // of batches; nil while nothing waits
	err    error     // why nothing can be written any more
}

// holder keeps writes back and sends them together.
type holder interface {
	hold()
	release() error
}

// batches are buffers for what links write, of a little more than queueBytes at most.
var batches = sync.Pool{New: func() any { return new([]byte) }}

func putBatch(b *[]byte) {
	*b = (*b)[:0]
	batches.Put(b)
}

func newCoalescer(conn io.ReadWriteCloser, below holder) *coalescer {
	c := &coalescer{ReadWriteCloser: conn, below: below}
	c.change.L = &c.mu
	return c
}

func (c *coalescer) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.queue != nil && len(*c.queue)+len(p) > queueBytes && c.err == nil {
		c.change.Wait()
	}
	if c.err != nil {
		return 0, c.err
	}
	if c.queue == nil {
		c.queue = batches.Get().(*[]byte)
	}
	*c.queue = append(*c.queue, p...)
	c.change.Broadcast()
	return len(p), nil
}

// run writes until the connection fails or is closed.
func (c *coalescer) run() {
	for {
		batch := c.next()
		if batch == nil {
			return
		}
		c.below.hold()
		_, err := c.ReadWriteCloser.Write(*batch)
		putBatch(batch)
		if err := errors.Join(err, c.below.release()); err != nil {
			c.fail(err)
			return
		}
	}
}

// next waits for something to write; nil means that nothing can be written any more.
func (c *coalescer) next() *[]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.queue == nil && c.err == nil {
		c.change.Wait()
	}
	if c.err != nil {
		return nil
	}
	batch := c.queue
	c.queue = nil
	c.change.Broadcast()
	return batch
}

func (c *coalescer) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.change.Broadcast()
}

// Close ends run and every waiting write.
func (c *coalescer) Close() error {
	c.fail(net.ErrClosed)
	return c.ReadWriteCloser.Close()
}

// frames checks the multiplexer's frames before it sees them. Its pings, which we
// do not use, would each start a goroutine; longer data than a window is a lie.
type frames struct {
	io.ReadWriteCloser
	header  [12]byte
	have    int    // bytes of header that were read
	body    uint32 // bytes that remain of the frame
	failure atomic.Pointer[error]
}

// frameError is a frame that our protocol does not allow.
type frameError struct{ problem string }

func (e *frameError) Error() string { return e.problem }

const (
	frameData    = 0
	framePing    = 2
	streamWindow = 256 << 10
)

func (f *frames) Read(p []byte) (int, error) {
	n, err := f.ReadWriteCloser.Read(p)
	if err == nil {
		err = f.scan(p[:n])
	}
	if err != nil {
		f.failure.CompareAndSwap(nil, &err)
	}
	return n, err
}

func (f *frames) scan(rest []byte) error {
	for len(rest) > 0 {
		if f.body > 0 {
			skip := min(uint32(len(rest)), f.body)
			f.body -= skip
			rest = rest[skip:]
			continue
		}
		taken := copy(f.header[f.have:], rest)
		f.have += taken
		rest = rest[taken:]
		if f.have == len(f.header) {
			f.have = 0
			if err := f.check(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *frames) check() error {
	length := binary.BigEndian.Uint32(f.header[8:])
	switch f.header[1] {
	case framePing:
		return &frameError{"a ping of the multiplexer, which this protocol does not use"}
	case frameData:
		if length > streamWindow {
			return &frameError{fmt.Sprintf("a frame of %d bytes, at most %d are allowed", length, streamWindow)}
		}
		f.body = length
	}
	return nil
}

// stream is one multiplexed stream. It writes in pieces, so that bulk data takes
// turns with everything else on the link. The multiplexer keeps a buffer as large
// as the largest piece.
type stream struct {
	net.Conn
	piece int
}

func (s stream) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		var m int
		m, err = s.Conn.Write(p[:min(len(p), s.piece)])
		n += m
		p = p[m:]
	}
	return n, err
}
