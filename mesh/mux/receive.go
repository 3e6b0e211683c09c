package mux

import (
	"io"
	"slices"
	"sync"
)

// receive reads the connection until it fails or the other side breaks the
// protocol. It never waits for anything but the connection.
func (s *Session) receive() error {
	var header [headerBytes]byte
	for {
		if _, err := io.ReadFull(s.conn, header[:]); err != nil {
			return err
		}
		f, err := parseFrame(&header)
		if err != nil {
			return err
		}
		if err := s.take(f); err != nil {
			return err
		}
	}
}

func (s *Session) take(f frame) error {
	if f.flags&flagSYN != 0 {
		if err := s.admit(f.stream); err != nil {
			return err
		}
	}
	st := s.find(f.stream)
	if st == nil { // we gave it up, and the other side did not know
		if f.kind == kindData {
			return s.skip(f.length)
		}
		return nil
	}
	if err := st.flagged(f.flags); err != nil {
		return err
	}
	if f.kind == kindWindow {
		st.widen(f.length)
		return nil
	}
	return s.data(st, f.length)
}

// data reads what came for a stream, which may be no more than its window.
func (s *Session) data(st *Stream, length uint32) error {
	if err := st.charge(length); err != nil {
		return err
	}
	for length > 0 {
		c := st.fill()
		n := min(int(length), len(c.data)-c.end)
		if _, err := io.ReadFull(s.conn, c.data[c.end:c.end+n]); err != nil {
			st.filled(c, 0)
			return err
		}
		if err := st.filled(c, n); err != nil {
			return err
		}
		length -= uint32(n)
	}
	return nil
}

func (s *Session) skip(length uint32) error {
	c := chunks.Get().(*chunk)
	defer chunks.Put(c)
	for length > 0 {
		n := min(int(length), len(c.data))
		if _, err := io.ReadFull(s.conn, c.data[:n]); err != nil {
			return err
		}
		length -= uint32(n)
	}
	return nil
}

// late are those who wait for what the connection has brought. All that comes with
// one read of it wakes them once, before the next read.
type late struct {
	told bool // someone calls wake; else nobody is made to wait

	mu      sync.Mutex
	streams []*Stream // guarded by mu, as Stream.late; they have something to read
	outs    []*outbox // guarded by mu; they were offered something
}

func (l *late) readable(st *Stream) {
	if !l.told {
		notify(st.readable)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !st.late {
		st.late = true
		l.streams = append(l.streams, st)
	}
}

func (l *late) offered(o *outbox) {
	if !l.told {
		o.flush()
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(l.outs, o) {
		l.outs = append(l.outs, o)
	}
}

func (l *late) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.outs {
		o.flush()
	}
	for _, st := range l.streams {
		st.late = false
		notify(st.readable)
	}
	clear(l.outs)
	clear(l.streams)
	l.outs, l.streams = l.outs[:0], l.streams[:0]
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
