package mux

import (
	"math"
	"net"
	"os"
	"time"
)

// Write waits until all of p is on its way, in pieces, so that bulk data takes
// turns with everything else.
func (s *Stream) Write(p []byte) (n int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	for len(p) > 0 {
		m, err := s.reserve(min(len(p), pieceBytes))
		if err != nil {
			return n, err
		}
		if err := s.send(p[:m]); err != nil {
			return n, err
		}
		n += m
		p = p[m:]
	}
	return n, nil
}

// reserve waits for a part of the window, of up to n bytes.
func (s *Stream) reserve(n int) (int, error) {
	for {
		m, by, err := s.spend(n, 1)
		if m > 0 || err != nil {
			return m, err
		}
		wait(s.writable, nil, by)
	}
}

// spend takes up to n bytes of the window, if at least as many are left as are worth it.
func (s *Stream) spend(n, least int) (m int, by time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayWrite(); err != nil || s.window < int64(least) {
		return 0, s.writeBy, err
	}
	m = int(min(int64(n), s.window))
	s.window -= int64(m)
	return m, s.writeBy, nil
}

func (s *Stream) mayWrite() error {
	switch {
	case s.closed:
		return net.ErrClosed
	case past(s.writeBy):
		return os.ErrDeadlineExceeded
	}
	return s.err
}

// send queues bytes for which the window was spent.
func (s *Stream) send(body []byte) error {
	s.piece.head, s.piece.body = frame{kind: kindData, stream: s.id, length: uint32(len(body))}, body
	queued, err := s.session.out.put(&s.piece)
	if !queued && err == nil {
		err = s.waitForTurn()
	}
	s.piece.body = nil
	if err != nil {
		s.widen(uint32(len(body)))
	}
	return err
}

// waitForTurn returns nil when the piece is in the queue.
func (s *Stream) waitForTurn() error {
	out := &s.session.out
	for {
		s.mu.Lock()
		by, err := s.writeBy, s.mayWrite()
		s.mu.Unlock()
		if err != nil {
			if out.withdraw(&s.piece) {
				return err
			}
			by = time.Time{} // its turn has come already
		}
		if wait(s.writable, s.piece.turn, by) {
			return out.result(&s.piece)
		}
	}
}

// offer sends bytes if that needs no waiting at all.
func (s *Stream) offer(body []byte) bool {
	if !s.writing.TryLock() {
		return false
	}
	defer s.writing.Unlock()
	if n, _, _ := s.spend(len(body), len(body)); n == 0 {
		return false
	}
	s.piece.head, s.piece.body = frame{kind: kindData, stream: s.id, length: uint32(len(body))}, body
	queued := s.session.out.offer(&s.piece)
	s.piece.body = nil
	if !queued {
		s.widen(uint32(len(body)))
	}
	return queued
}

// widen is a window update.
func (s *Stream) widen(more uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window = min(s.window+int64(more), math.MaxInt32)
	notify(s.writable)
}
