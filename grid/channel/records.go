package channel

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
)

// A peer that answers faster than we forward sends many small TLS records, and
// tls.Conn gives one for each Read. Forwarding each by itself costs a write and
// a wake-up of the client, so what has arrived is put together first.

// secured is a TLS connection whose Read returns all whole records that have
// arrived and fit. It never waits for more than one.
type secured struct {
	*tls.Conn
	records *records
}

// openTLS makes the handshake on conn.
func openTLS(ctx context.Context, conn net.Conn, config *tls.Config) (net.Conn, error) {
	r := &records{Conn: conn, in: bufio.NewReaderSize(conn, recordBuffer)}
	s := &secured{tls.Client(r, config), r}
	if err := s.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *secured) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	for err == nil && n < len(p) && s.records.waiting() {
		var more int
		// An error after data is permanent: the next Read meets it again.
		more, err = s.Conn.Read(p[n:])
		n += more
	}
	if n > 0 {
		err = nil
	}
	return n, err
}

const (
	recordHeader = 5 // RFC 8446, section 5.1: type, version, length
	recordBuffer = 2 << 10
)

// records gives tls.Conn at most one record's bytes at a time, so that it
// buffers nothing itself and what is left here tells whether a whole one waits.
// It is read by one goroutine, as net/http does.
type records struct {
	net.Conn
	in   *bufio.Reader
	left int // bytes of the current record that were not given out
}

func (r *records) Read(p []byte) (int, error) {
	if r.left == 0 {
		head, err := r.in.Peek(recordHeader)
		if len(head) < recordHeader {
			if len(head) > 0 { // cut in the middle; tls.Conn tells
				return r.in.Read(p)
			}
			return 0, err
		}
		r.left = recordSize(head)
	}
	n, err := r.in.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}

// waiting reports whether a whole record can be read without blocking.
func (r *records) waiting() bool {
	if r.left > 0 || r.in.Buffered() < recordHeader {
		return false
	}
	head, err := r.in.Peek(recordHeader)
	return err == nil && r.in.Buffered() >= recordSize(head)
}

func recordSize(head []byte) int { return recordHeader + int(head[3])<<8 + int(head[4]) }
