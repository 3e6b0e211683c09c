package link

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// A gulp is what is read at once while much arrives. The WebSocket below TLS asks
// for 4 KiB, and system calls are what a busy link costs most.
const (
	gulpBytes = 64 << 10
	sipBytes  = 4 << 10 // a read that got this much is followed by a gulp
)

var gulps = sync.Pool{New: func() any { return new([gulpBytes]byte) }}

// wire is the connection below a WebSocket, for one reader and any writers. What
// is written between hold and release goes out in one write: a WebSocket masks its
// messages in pieces of 4 KiB.
type wire struct {
	net.Conn

	proven atomic.Bool      // strangers get no large buffers
	gulp   *[gulpBytes]byte // nil unless unread is in it; owned by Read, as the next two
	unread []byte           // of gulp
	much   bool             // the last read filled what it was given

	mu   sync.Mutex
	held int     // guarded by mu
	out  *[]byte // guarded by mu; nil unless something is held back
}

func (w *wire) Read(p []byte) (int, error) {
	if len(w.unread) == 0 && (!w.much || len(p) >= gulpBytes || !w.proven.Load()) {
		n, err := w.Conn.Read(p)
		w.much = n >= sipBytes
		return n, err
	}
	if len(w.unread) == 0 {
		w.gulp = gulps.Get().(*[gulpBytes]byte)
		n, err := w.Conn.Read(w.gulp[:])
		w.unread, w.much = w.gulp[:n], n >= sipBytes
		if n == 0 {
			w.swallow()
			return 0, err
		}
		// An error that came with bytes comes again with the next read.
	}
	n := copy(p, w.unread)
	if w.unread = w.unread[n:]; len(w.unread) == 0 {
		w.swallow()
	}
	return n, nil
}

func (w *wire) swallow() {
	gulps.Put(w.gulp)
	w.gulp, w.unread = nil, nil
}

// hold keeps writes back until as many calls of release.
func (w *wire) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held++
}

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == 0 {
		return w.Conn.Write(p)
	}
	if w.out == nil {
		w.out = batches.Get().(*[]byte)
	}
	*w.out = append(*w.out, p...)
	return len(p), nil
}

func (w *wire) release() (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held--; w.held > 0 || w.out == nil {
		return nil
	}
	_, err = w.Conn.Write(*w.out)
	putBatch(w.out)
	w.out = nil
	return err
}

// upgrading gives the upgrade of a request a wire for its connection.
type upgrading struct {
	http.ResponseWriter
	wire *wire // set by Hijack
}

// Hijack is called by websocket.Accept.
func (u *upgrading) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	u.wire = &wire{Conn: conn}
	return u.wire, bufio.NewReadWriter(buffers.Reader, bufio.NewWriter(u.wire)), nil
}
