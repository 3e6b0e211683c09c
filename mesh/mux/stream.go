package mux

import (
	"net"
	"strconv"
	"sync"
	"time"
)

// Stream is one stream. Close ends both directions: what the other side still
// sends is thrown away.
type Stream struct {
	session *Session
	id      uint32

	reading sync.Mutex // held by the one who reads
	writing sync.Mutex // held by the one who writes, and owns piece
	piece   piece

	readable chan struct{} // of capacity 1: the reader shall look again
	writable chan struct{} // of capacity 1: the writer shall look again
	late     bool          // guarded by the session's late

	mu       sync.Mutex
	inbox    inbox  // all guarded by mu
	credit   uint32 // what the other side may still send
	owed     uint32 // what has left the inbox since it was allowed to send more
	window   int64  // what this side may still send
	readBy   time.Time
	writeBy  time.Time
	passOn   *Stream // takes what comes, while the inbox is empty and WriteTo waits
	passed   int64   // bytes that went there
	asking   bool    // opened here, and not accepted yet
	accepted bool    // opened there: has a place once it was accepted
	closed   bool    // by this side
	ended    bool    // the other side sends nothing more
	err      error   // the stream was given up, or the session ended
	timer    *time.Timer
}

func newStream(s *Session, id uint32) *Stream {
	return &Stream{
		session: s, id: id, piece: piece{turn: make(chan struct{}, 1)},
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1), credit: Window, window: Window,
	}
}

// wait is for readers and writers: it returns when one of the channels has something, or the
// time has come.
func wait(a, b <-chan struct{}, by time.Time) (fromB bool) {
	var timer <-chan time.Time
	if !by.IsZero() {
		t := time.NewTimer(time.Until(by))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-a:
	case <-timer:
	case <-b:
		return true
	}
	return false
}

func past(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// flagged obeys the flags of a frame.
func (s *Stream) flagged(f flags) error {
	if f&(flagACK|flagFIN|flagRST) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f&flagACK != 0 {
		s.answered()
	}
	if f&flagFIN != 0 {
		if s.ended {
			return &ProtocolError{"stream " + strconv.FormatUint(uint64(s.id), 10) + " was closed twice"}
		}
		s.ended = true
	}
	if f&flagRST != 0 && s.err == nil {
		s.err = ErrReset
	}
	if s.err != nil || s.ended && s.closed {
		s.over()
	}
	s.look()
	return nil
}

// answered frees the place of a stream that was asked for; mu is held.
func (s *Stream) answered() {
	if s.asking {
		s.asking = false
		<-s.session.asked
	}
}

// over frees the stream's number; mu is held.
func (s *Stream) over() {
	s.answered()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.session.forget(s.id)
}

// look wakes whoever waits, since something has changed; mu is held.
func (s *Stream) look() {
	notify(s.readable)
	notify(s.writable)
}

// end is the end of the session.
func (s *Stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.look()
}

// Close gives the stream up on this side and tells the other one.
func (s *Stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.inbox.drop()
	s.look()
	if s.accepted {
		<-s.session.places
	}
	if s.err != nil {
		return nil
	}
	if s.ended {
		s.over()
	} else {
		s.timer = time.AfterFunc(s.session.linger, s.abandon)
	}
	s.session.out.finish(&s.piece, frame{kind: kindWindow, flags: flagFIN, stream: s.id}) // if the session ends now, so does the stream
	return nil
}

// abandon ends a closed stream that the other side does not close.
func (s *Stream) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.ended {
		return
	}
	s.err = ErrReset
	s.over()
	s.session.out.control(frame{kind: kindWindow, flags: flagRST, stream: s.id}) // as above
}

// SetDeadline is as of [net.Conn], as the next two are; a time that has passed wakes
// who waits.
func (s *Stream) SetDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readBy, s.writeBy = t, t
	s.look()
	return nil
}

func (s *Stream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readBy = t
	s.look()
	return nil
}

func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeBy = t
	s.look()
	return nil
}

// LocalAddr and RemoteAddr tell the number of the stream.
func (s *Stream) LocalAddr() net.Addr  { return address(s.id) }
func (s *Stream) RemoteAddr() net.Addr { return address(s.id) }

type address uint32

func (a address) Network() string { return "mux" }
func (a address) String() string  { return "stream " + strconv.FormatUint(uint64(a), 10) }
