package mux

import (
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Read waits for bytes. It returns io.EOF when the other side has closed the
// stream and all was read.
func (s *Stream) Read(p []byte) (int, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if err := s.await(nil); err != nil {
		return 0, err
	}
	return s.read(p)
}

func (s *Stream) read(p []byte) (int, error) {
	s.mu.Lock()
	n := s.inbox.read(p)
	more := s.repay(n)
	s.mu.Unlock()
	return n, s.allow(more)
}

// repay says how much more the other side may be allowed to send, now that n more
// bytes have left the stream; mu is held. Half a window is worth a frame.
func (s *Stream) repay(n int) (more uint32) {
	s.owed += uint32(n)
	if s.owed < Window/2 || s.closed || s.ended || s.err != nil {
		return 0
	}
	more, s.owed = s.owed, 0
	s.credit += more
	return more
}

func (s *Stream) allow(more uint32) error {
	if more == 0 {
		return nil
	}
	return s.session.out.control(frame{kind: kindWindow, stream: s.id, length: more})
}

// await waits until there is something to read. Meanwhile what comes goes to
// passOn, if that is not nil.
func (s *Stream) await(passOn *Stream) error {
	for {
		ready, by, err := s.mayRead(passOn)
		if ready || err != nil {
			return err
		}
		wait(s.readable, nil, by)
	}
}

func (s *Stream) mayRead(passOn *Stream) (ready bool, by time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passOn = nil
	switch {
	case s.closed:
		return false, by, net.ErrClosed
	case past(s.readBy):
		return false, by, os.ErrDeadlineExceeded
	case s.inbox.unread > 0:
		return true, by, nil
	case s.ended:
		return false, by, io.EOF
	case s.err != nil:
		return false, by, s.err
	}
	s.passOn = passOn
	return false, s.readBy, nil
}

// WriteTo sends all that comes to w until the stream ends, which is no error. If w
// is a stream too, what comes is passed on by the goroutine that reads the
// connection, as long as w takes it without waiting.
func (s *Stream) WriteTo(w io.Writer) (int64, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	passOn, _ := w.(*Stream)
	var n int64
	for {
		err := s.await(passOn)
		if err == nil {
			var m int
			m, err = s.drainTo(w)
			n += int64(m)
		}
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return n + s.handed(), err
		}
	}
}

// drainTo sends what is in the inbox, a piece at most.
func (s *Stream) drainTo(w io.Writer) (int, error) {
	c := chunks.Get().(*chunk)
	defer chunks.Put(c)
	n, err := s.read(c.data[:])
	if err != nil {
		return 0, err
	}
	return w.Write(c.data[:n])
}

func (s *Stream) handed() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.passed
	s.passOn, s.passed = nil, 0
	return n
}

// charge takes what comes from what the other side may send.
func (s *Stream) charge(length uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if length > s.credit {
		return &ProtocolError{fmt.Sprintf("stream %d got %d bytes more than its window", s.id, length-s.credit)}
	}
	s.credit -= length
	return nil
}

func (s *Stream) fill() *chunk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inbox.fill()
}

// filled takes n bytes that arrived in the chunk that fill gave.
func (s *Stream) filled(c *chunk, n int) error {
	s.mu.Lock()
	to := s.passOn
	if n == 0 || s.inbox.unread > 0 || s.closed || s.err != nil {
		to = nil // nothing may overtake what waits
	}
	s.mu.Unlock()
	// WriteTo waits, and will not write before this goroutine fills the inbox.
	passed := to != nil && to.offer(c.data[c.end:c.end+n])
	if passed {
		s.session.late.offered(&to.session.out)
	}
	return s.keep(n, passed)
}

func (s *Stream) keep(n int, passed bool) error {
	s.mu.Lock()
	var more uint32
	if passed {
		s.passed += int64(n)
		more = s.repay(n)
		n = 0
	}
	s.inbox.filled(n)
	if s.closed {
		s.inbox.drop()
	}
	s.mu.Unlock()
	if n > 0 {
		s.session.late.readable(s)
	}
	if more == 0 {
		return nil
	}
	out := &s.session.out
	s.session.late.offered(out)
	return out.controlLate(frame{kind: kindWindow, stream: s.id, length: more})
}
