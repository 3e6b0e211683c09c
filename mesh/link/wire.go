package link

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
)

// A gulp is what is read at once while much arrives. The WebSocket below TLS asks
// for 4 KiB, and system calls are what a busy link costs most.
const (
	gulpBytes = 64 << 10
	sipBytes  = 4 << 10   // a read that got this much is followed by a gulp
	keptBytes = 512 << 10 // waits for the system to take it, at most: a batch is less
)

var gulps = sync.Pool{New: func() any { return new([gulpBytes]byte) }}

// wire is the connection below a WebSocket, for one reader and any writers. What
// is written between hold and release goes out in one write: a WebSocket masks its
// messages in pieces of 4 KiB.
//
// Once prompt has been called writing never waits: what the system does not take at
// once is kept, and sent by drain. So any goroutine may write to any link, such as
// the one that reads another.
type wire struct {
	net.Conn
	bare bool // the WebSocket is right above; else there is TLS between

	proven     atomic.Bool      // strangers get no large buffers
	beforeRead func()           // if not nil, called before each read of Conn; owned by Read
	gulp       *[gulpBytes]byte // nil unless unread is in it; owned by Read, as the next two
	unread     []byte           // of gulp
	much       bool             // the last read filled what it was given

	behind  func()   // if not nil, writing does not wait
	attempt *attempt // how it is tried

	mu       sync.Mutex
	held     int     // guarded by mu, as all below
	out      *[]byte // nil unless something is held back or kept
	draining bool    // drain has taken what comes before out
	err      error   // of an earlier write
}

func (w *wire) Read(p []byte) (int, error) {
	if len(w.unread) == 0 && (!w.much || len(p) >= gulpBytes || !w.proven.Load()) {
		n, err := w.read(p)
		w.much = n >= sipBytes
		return n, err
	}
	if len(w.unread) == 0 {
		w.gulp = gulps.Get().(*[gulpBytes]byte)
		n, err := w.read(w.gulp[:])
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

func (w *wire) read(p []byte) (int, error) {
	if w.beforeRead != nil {
		w.beforeRead()
	}
	return w.Conn.Read(p)
}

func (w *wire) swallow() {
	gulps.Put(w.gulp)
	w.gulp, w.unread = nil, nil
}

// prompt makes writing never wait; behind is called, with locks held, when
// something is kept. It comes before any other goroutine may write.
func (w *wire) prompt(behind func()) {
	w.behind = behind
	w.attempt = attemptOn(w.Conn)
}

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == 0 && w.behind == nil {
		return w.Conn.Write(p)
	}
	sent := 0
	if w.held == 0 && w.out == nil && !w.draining && w.err == nil {
		if sent, w.err = w.attempt.write(p); w.err != nil || sent == len(p) {
			return sent, w.err
		}
	}
	if w.out == nil {
		w.out = batches.Get().(*[]byte)
	}
	*w.out = append(*w.out, p[sent:]...)
	if w.held > 0 {
		return len(p), nil
	}
	return len(p), w.push()
}

// hold keeps writes back until as many calls of release.
func (w *wire) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held++
}

func (w *wire) release() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held--; w.held > 0 || w.out == nil {
		return nil
	}
	return w.push()
}

// push sends what is in out, or as much as the system takes; mu is held.
func (w *wire) push() error {
	switch {
	case w.err != nil:
		return w.err
	case w.behind == nil:
		_, w.err = w.Conn.Write(*w.out)
		*w.out = (*w.out)[:0]
	case !w.draining:
		var n int
		n, w.err = w.attempt.write(*w.out)
		*w.out = slices.Delete(*w.out, 0, n)
	}
	switch {
	case len(*w.out) == 0:
		putBatch(w.out)
		w.out = nil
	case w.err == nil && len(*w.out) > keptBytes:
		w.err = errors.New("the other side does not read the answers that it causes")
	case w.err == nil:
		w.behind()
	}
	return w.err
}

// drain waits until the system has taken all that was kept.
func (w *wire) drain() error {
	for {
		out, err := w.kept()
		if out == nil {
			return err
		}
		_, err = w.Conn.Write(*out)
		putBatch(out)
		if err != nil {
			w.fail(err)
		}
	}
}

// kept is what is to be sent first; nil when there is nothing, and no draining.
func (w *wire) kept() (out *[]byte, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		out, w.out = w.out, nil
	}
	w.draining = out != nil
	return out, w.err
}

func (w *wire) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
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
	u.wire = &wire{Conn: conn, bare: true}
	return u.wire, bufio.NewReadWriter(buffers.Reader, bufio.NewWriter(u.wire)), nil
}
