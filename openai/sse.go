package openai

import (
	"bytes"
	"errors"
	"io"
)

// MaxEvent caps one server-sent event.
const MaxEvent = 16 << 20

// ErrEventTooLarge says that an event passed [MaxEvent].
var ErrEventTooLarge = errors.New("a stream event is larger than 16 MiB")

// burst is the buffer of a stream that comes faster than it is read: taking
// more at a time saves a read and a flush for each piece. Streams that trickle
// keep a small one.
const burst = 32 << 10

// Done is the data payload that ends OpenAI's streams.
const Done = "[DONE]"

// An Event is one block of a stream (WHATWG HTML, section 9.2): lines up to
// and including the blank one. It is valid until the next call of Next.
type Event struct {
	Raw  []byte // the bytes as they came; a last block gets its missing blank line
	Data []byte // the payload of its data lines joined by LF; nil when it has none
}

// Done reports whether e is data: [DONE].
func (e Event) Done() bool { return string(e.Data) == Done }

// A Scanner cuts a stream into events. Lines may end in LF, CRLF or CR, events
// may be cut across reads anywhere. It is owned by one goroutine.
type Scanner struct {
	r      io.Reader
	buf    []byte
	start  int  // of the event being collected
	pos    int  // next byte to look at
	line   int  // start of the line being collected
	lines  bool // the block so far holds more than blank lines
	filled bool // a whole event is collected
	behind bool // the last read filled the buffer, so more is probably waiting
	err    error
}

// NewScanner returns a scanner over r.
func NewScanner(r io.Reader) *Scanner { return &Scanner{r: r, buf: make([]byte, 0, 1<<10)} }

// Next returns the next event, [io.EOF] at a clean end, and otherwise what the
// reader failed with or [ErrEventTooLarge]. A last event without its blank line
// is returned before a clean end; before a failure it is dropped, as it may be
// cut.
func (s *Scanner) Next() (Event, error) {
	for {
		if s.scan() {
			return s.take(), nil
		}
		if s.err == io.EOF && s.lines {
			return s.takeLast(), nil
		}
		if s.err != nil {
			return Event{}, s.err
		}
		s.fill()
	}
}

// Buffered reports whether Next would return an event without reading, so that
// a forwarder can write several events and flush once.
func (s *Scanner) Buffered() bool { return s.scan() }

// scan looks for the end of an event in what is buffered, from where it last
// stopped. Blank lines before an event belong to it.
func (s *Scanner) scan() bool {
	for !s.filled && s.pos < len(s.buf) {
		i := lineEnd(s.buf[s.pos:])
		if i < 0 {
			s.pos, s.lines = len(s.buf), true
			return false
		}
		end := s.pos + i
		after := end + 1
		if s.buf[end] == '\r' {
			if after == len(s.buf) && s.err == nil {
				s.pos = end // CR or CRLF: the next byte tells
				return false
			}
			if after < len(s.buf) && s.buf[after] == '\n' {
				after++
			}
		}
		blank := end == s.line
		s.filled = blank && s.lines
		s.lines = s.lines || !blank
		s.pos, s.line = after, after
	}
	return s.filled
}

// lineEnd returns the index of the first CR or LF, -1 for none.
func lineEnd(b []byte) int {
	lf := bytes.IndexByte(b, '\n')
	if lf >= 0 {
		b = b[:lf]
	}
	if cr := bytes.IndexByte(b, '\r'); cr >= 0 {
		return cr
	}
	return lf
}

func (s *Scanner) take() Event {
	raw := s.buf[s.start:s.pos:s.pos]
	s.start, s.filled, s.lines = s.pos, false, false
	return Event{raw, payload(raw)}
}

func (s *Scanner) takeLast() Event {
	raw := append(bytes.TrimRight(s.buf[s.start:], "\r\n"), '\n', '\n')
	s.start, s.pos, s.line, s.lines = len(s.buf), len(s.buf), len(s.buf), false
	return Event{raw, payload(raw)}
}

// fill reads more, first moving the collected part to the front.
func (s *Scanner) fill() {
	if s.start > 0 {
		n := copy(s.buf[:cap(s.buf)], s.buf[s.start:])
		s.buf, s.pos, s.line, s.start = s.buf[:n], s.pos-s.start, s.line-s.start, 0
	}
	if len(s.buf) >= MaxEvent {
		s.err = ErrEventTooLarge
		return
	}
	if len(s.buf) == cap(s.buf) || s.behind && cap(s.buf) < burst {
		s.buf = append(make([]byte, 0, 2*cap(s.buf)), s.buf...)
	}
	n, err := s.r.Read(s.buf[len(s.buf):cap(s.buf)])
	s.buf = s.buf[:len(s.buf)+n]
	s.behind = len(s.buf) == cap(s.buf)
	s.err = err
}

// payload joins the data lines of an event; for the usual single line it is a
// part of raw and costs nothing.
func payload(raw []byte) []byte {
	var data []byte
	for len(raw) > 0 {
		end := lineEnd(raw)
		line := raw
		if end >= 0 {
			line, raw = raw[:end], raw[end+1:]
		} else {
			raw = nil
		}
		value, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok {
			continue
		}
		value = bytes.TrimPrefix(value, []byte(" "))
		if data == nil {
			data = value[:len(value):len(value)]
		} else {
			data = append(append(data, '\n'), value...)
		}
	}
	return data
}
