// Package mux carries many streams over one connection, each with a window of its
// own, in yamux's form on the wire (github.com/hashicorp/yamux, spec.md), without
// its pings. What makes it fit for relays: a stream can be passed on to another
// one ([Stream.WriteTo]) by the goroutine that reads the connection, as long as
// nothing has to be waited for, and all that arrived at once wakes others once.
//
// Make a [Session] with [New] at both ends, call [Session.Run], and use
// [Session.Open] and [Session.Accept] for streams, which are a [net.Conn] each.
//
// mesh/link runs one session on each link; nothing else imports it. What the other
// side sends is hostile: frames are checked before their bytes are read, what one
// stream may leave unread is its window, the streams of the other side are
// counted, and a side that does not read the answers that it causes is cut off.
// Sessions and streams are safe for concurrent use; both goroutines of a session
// end before Run returns.
package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"sync"
	"time"
)

// Bounds of a session.
const (
	Window     = 256 << 10 // that each stream may leave unread
	MaxStreams = 256       // that were accepted and are still open; as many more wait, or are asked for
	pieceBytes = 16 << 10  // of one stream before others have their turn
)

// ErrReset says that the other side gave a stream up.
var ErrReset = errors.New("the stream was given up by the other side")

// ErrClosed says that the session was closed on this side.
var ErrClosed = errors.New("the session is closed")

// Session is one end of a connection.
type Session struct {
	conn   io.ReadWriter
	linger time.Duration
	out    outbox
	late   late

	incoming chan *Stream  // that nobody has accepted yet
	places   chan struct{} // one token for each accepted stream that is open
	asked    chan struct{} // one token for each opened stream that the other side has not accepted
	done     chan struct{} // closed when the session has ended

	mu      sync.Mutex
	streams map[uint32]*Stream // all guarded by mu
	next    uint32             // id of the next stream that is opened; odd at the dialler
	err     error              // why the session ended
}

// A Conn is a connection whose Write never waits: what cannot be sent at once is
// kept. It tells before it waits for bytes to read, and, while Write or later, when
// something was kept; then Drain is called, which waits until all of it was sent.
type Conn interface {
	io.ReadWriter
	Drain() error
	Tell(waits, behind func()) // is called once, before all else
}

// New makes one end of a session. Each Write to conn is a batch of frames. If conn
// is a [Conn], whatever goroutine has something to send may write it. A stream that
// is closed is kept for linger, until the other side closes it.
func New(conn io.ReadWriter, dialler bool, linger time.Duration) *Session {
	s := &Session{
		conn: conn, linger: linger, streams: map[uint32]*Stream{}, next: 2, out: outbox{conn: conn, wake: make(chan struct{}, 1)},
		incoming: make(chan *Stream, MaxStreams), places: make(chan struct{}, MaxStreams), asked: make(chan struct{}, MaxStreams),
		done: make(chan struct{}),
	}
	if dialler {
		s.next = 1
	}
	if prompt, ok := conn.(Conn); ok {
		s.late.told = true
		s.out.prompt = prompt
		prompt.Tell(s.late.wake, s.out.fallBehind)
	}
	return s
}

// Run carries the frames. It returns when the connection takes and gives no more,
// which is for its owner to see to when Done is closed.
func (s *Session) Run() {
	var writing sync.WaitGroup
	writing.Go(func() { s.end(s.out.run()) })
	s.end(s.receive())
	s.late.wake()
	writing.Wait()
}

// Done is closed when the session has ended; Err tells why.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is nil until the session has ended.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the session and all its streams. It does not wait.
func (s *Session) Close() { s.end(ErrClosed) }

func (s *Session) end(err error) {
	for _, st := range s.stop(err) {
		st.end(err)
	}
}

// stop returns the streams that end with the session.
func (s *Session) stop(err error) []*Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil
	}
	s.err = err
	close(s.done)
	s.out.fail(err)
	return slices.Collect(maps.Values(s.streams))
}

// Open opens a stream. It does not wait until the other side accepts it, but no
// more than MaxStreams may be asked for at a time.
func (s *Session) Open(ctx context.Context) (*Stream, error) {
	select {
	case s.asked <- struct{}{}:
	case <-s.done:
		return nil, s.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	st, err := s.begin()
	if err != nil {
		<-s.asked
		return nil, err
	}
	if err := s.out.control(frame{kind: kindWindow, flags: flagSYN, stream: st.id}); err != nil {
		return nil, err
	}
	return st, nil
}

func (s *Session) begin() (*Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	if s.next > math.MaxUint32-2 {
		return nil, errors.New("the session has no more numbers for streams")
	}
	st := newStream(s, s.next)
	st.asking = true
	s.streams[st.id] = st
	s.next += 2
	return st, nil
}

// Accept waits for a stream that the other side opens. While MaxStreams of them
// are open, further ones wait.
func (s *Session) Accept(ctx context.Context) (*Stream, error) {
	select {
	case s.places <- struct{}{}:
	case <-s.done:
		return nil, s.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case st := <-s.incoming:
		if err := s.out.control(frame{kind: kindWindow, flags: flagACK, stream: st.id}); err != nil {
			return nil, err
		}
		return st, nil
	case <-s.done:
	case <-ctx.Done():
	}
	<-s.places
	if err := s.Err(); err != nil {
		return nil, err
	}
	return nil, ctx.Err()
}

func (s *Session) find(id uint32) *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[id]
}

// forget frees the number of a stream that has ended on both sides.
func (s *Session) forget(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, id)
}

// admit takes note of a stream that the other side opens.
func (s *Session) admit(id uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if id == 0 || id%2 == s.next%2 || s.streams[id] != nil {
		return &ProtocolError{fmt.Sprintf("stream %d cannot be opened", id)}
	}
	st := newStream(s, id)
	st.accepted = true
	select {
	case s.incoming <- st:
		s.streams[id] = st
		return nil
	default: // more than an honest side asks for at once
		return s.out.control(frame{kind: kindWindow, flags: flagRST, stream: id})
	}
}
