package worker

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/openai"
	"lobstah/receipt"
)

const (
	firstBeat     = time.Second // a signed request that runs is told so after this
	nextBeat      = 5 * time.Second
	commentAfter  = 10 * time.Second // unsigned streams get comments, this far apart
	deadlineEvery = time.Second      // how often the write deadline is moved
)

// A reply is what goes back for one request. It owns the ResponseWriter: the
// job's goroutine and the heartbeat's timer both write, under mu.
type reply struct {
	mu       sync.Mutex
	w        http.ResponseWriter
	control  *http.ResponseController
	dialect  openai.Dialect
	timeout  time.Duration // for one write
	deadline time.Time     // of the connection, as set last

	status    int // as sent; 0 before
	streaming bool
	unsent    bool // written and not flushed
	closed    bool // nothing may be written any more
	first     time.Time

	beat  *time.Timer
	place func() (position, depth int, eta time.Duration)
	mode  beatMode
}

type beatMode uint8

const (
	silent        beatMode = iota // whole answers
	informational                 // 102 for those who sign
	comments                      // 200 and comments for those who do not
)

func newReply(w http.ResponseWriter, d openai.Dialect, timeout time.Duration) *reply {
	return &reply{w: w, control: http.NewResponseController(w), dialect: d, timeout: timeout}
}

// accept starts the heartbeat of a request that was accepted; place says how
// it stands.
func (r *reply) accept(mode beatMode, queued bool, place func() (int, int, time.Duration)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	after := firstBeat
	switch {
	case mode == silent:
		return
	case mode == comments:
		after = commentAfter
	case queued:
		after = 0
	}
	r.mode, r.place = mode, place
	r.beat = time.AfterFunc(after, r.heartbeat)
}

// heartbeat runs on the timer until the answer begins.
func (r *reply) heartbeat() {
	position, depth, wait := r.place()
	eta := ""
	if wait > 0 { // else nothing was measured yet, or it runs
		eta = strconv.Itoa(int(math.Ceil(wait.Seconds())))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.beat == nil {
		return
	}
	if r.mode == informational {
		h := r.w.Header()
		h.Set(grid.PositionHeader, strconv.Itoa(position))
		if eta != "" {
			h.Set(grid.EtaHeader, eta)
		}
		r.extend()
		r.w.WriteHeader(http.StatusProcessing)
		h.Del(grid.PositionHeader)
		h.Del(grid.EtaHeader)
		r.beat.Reset(nextBeat)
		return
	}
	line := ": waiting for the engine"
	if position > 0 {
		line = fmt.Sprintf(": queue %d of %d", position, depth)
	}
	if eta != "" {
		line += ", eta " + eta + "s"
	}
	r.open()
	r.extend()
	if _, err := r.w.Write([]byte(line + "\n\n")); err == nil && r.control.Flush() == nil {
		r.beat.Reset(commentAfter)
	}
}

// fail answers with e: as an HTTP error, or as an event that ends a stream that
// has begun.
func (r *reply) fail(e *openai.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopBeat()
	if r.closed {
		return
	}
	r.extend()
	if r.streaming {
		_, _ = r.w.Write(e.Event(r.dialect)) // if it cannot be told, the client sees no [DONE]
		return
	}
	h := r.w.Header()
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Seconds())))
	}
	if at := timeOf(e); at != "" {
		h.Set(grid.TimeHeader, at)
	}
	r.whole(e.Status, "application/json", e.Body(r.dialect))
}

// answer sends a whole answer with its receipt, if any.
func (r *reply) answer(status int, contentType string, body []byte, s *receipt.Signed) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopBeat()
	r.extend()
	if s != nil {
		r.w.Header().Set(receipt.Header, s.Text())
	}
	r.first = time.Now()
	return r.whole(status, contentType, body)
}

// event writes bytes of a stream; they leave with the next flush.
func (r *reply) event(raw []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopBeat()
	r.open()
	if r.first.IsZero() {
		r.first = time.Now()
	}
	r.extend()
	r.unsent = true
	_, err := r.w.Write(raw)
	return err
}

// flush sends what was written.
func (r *reply) flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.unsent {
		return nil
	}
	r.unsent = false
	return r.control.Flush()
}

// close makes sure that the timer writes no more.
func (r *reply) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopBeat()
	r.closed = true
}

// The methods below want the lock held.

func (r *reply) whole(status int, contentType string, body []byte) error {
	h := r.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	r.status = status
	r.w.WriteHeader(status)
	_, err := r.w.Write(body)
	return err
}

// open sends a stream's head once.
func (r *reply) open() {
	if r.streaming {
		return
	}
	h := r.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no") // proxies of nginx's kind pass events on at once
	r.streaming, r.status = true, http.StatusOK
	r.w.WriteHeader(http.StatusOK)
}

// extend moves the write deadline, so that a client that takes nothing is
// noticed and one that takes slowly is not.
func (r *reply) extend() {
	now := time.Now()
	if want := now.Add(r.timeout); want.Sub(r.deadline) > min(deadlineEvery, r.timeout/8) {
		r.deadline = want
		// A connection that knows no deadlines ends by its own rules.
		_ = r.control.SetWriteDeadline(want)
	}
}

func (r *reply) stopBeat() {
	if r.beat != nil {
		r.beat.Stop()
		r.beat = nil
	}
}
