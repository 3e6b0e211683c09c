package router

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/openai"
	"lobstah/receipt"
)

const (
	writeTimeout  = 2 * time.Minute  // for a client that does not read
	deadlineEvery = 15 * time.Second // how often it is moved
)

// client is the answer's way to the client. The handler's goroutine and the
// keep-alive timer both write, under mu.
type client struct {
	w       http.ResponseWriter
	control *http.ResponseController
	dialect openai.Dialect
	every   time.Duration // between keep-alives

	mu        sync.Mutex // guards what follows, and the use of w
	timer     *time.Timer
	committed bool      // the status is sent
	began     bool      // so is data
	closed    bool      // nothing may be written any more
	peer      *peer     // being asked
	since     time.Time // the exchange began
	last      time.Time // of the latest write
	deadline  time.Time // of the connection
	deadlined bool      // a write deadline was set
}

// newClient makes the way; a stream gets keep-alives.
func newClient(w http.ResponseWriter, d openai.Dialect, streams bool, every time.Duration) *client {
	c := &client{w: w, control: http.NewResponseController(w), dialect: d, every: every, since: time.Now()}
	c.last = c.since
	if streams {
		c.mu.Lock()
		c.timer = time.AfterFunc(every, c.tick)
		c.mu.Unlock()
	}
	return c
}

// close ends keep-alives; the handler may return after it.
func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.deadlined {
		// The connection may be kept for another request. If this fails, it is
		// broken, which its next use shows.
		_ = c.control.SetWriteDeadline(time.Time{})
	}
}

// asking notes whom keep-alives name.
func (c *client) asking(p *peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peer = p
}

// tick writes a keep-alive when nothing was written for long enough.
func (c *client) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if rest := c.every - time.Since(c.last); rest > 0 {
		c.timer.Reset(rest)
		return
	}
	text := ": waiting"
	if c.peer != nil {
		text = ": waiting for " + c.peer.ID.Short()
	}
	if c.began {
		text = ": waiting for the next part"
	}
	c.comment(fmt.Sprintf("%s, %ds\n\n", text, int(time.Since(c.since).Seconds())))
	c.timer.Reset(c.every)
}

// accepted tells a stream's client at once that a peer has taken the request,
// as often as the peer says so.
func (c *client) accepted(position, eta string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.began || c.timer == nil || c.committed && time.Since(c.last) < c.every/2 {
		return
	}
	text := ": accepted by " + c.peer.ID.Short()
	if place, err := strconv.Atoi(position); err == nil && place > 0 {
		text += fmt.Sprintf(", queue %d", place)
		if seconds, err := strconv.Atoi(eta); err == nil && seconds > 0 {
			text += fmt.Sprintf(", eta %ds", seconds)
		}
	}
	c.comment(text + "\n\n")
}

// comment writes and flushes a comment, after the status if need be. What goes
// wrong the handler learns from the client's context.
func (c *client) comment(text string) {
	c.commit()
	c.extend(time.Now())
	if _, err := c.w.Write([]byte(text)); err == nil {
		_ = c.control.Flush()
	}
	c.last = time.Now()
}

// commit sends the head of a stream.
func (c *client) commit() {
	if c.committed {
		return
	}
	c.committed = true
	h := c.w.Header()
	h["Content-Type"] = []string{"text/event-stream"}
	h["Cache-Control"] = []string{"no-cache"}
	h["X-Accel-Buffering"] = []string{"no"} // or nginx in front would hold events back
	c.w.WriteHeader(http.StatusOK)
}

// extend moves the write deadline now and then, since moving it costs a little.
func (c *client) extend(now time.Time) {
	if now.Sub(c.deadline) < deadlineEvery {
		return
	}
	c.deadline = now
	// Without support for deadlines (tests, other servers) there are none.
	c.deadlined = c.control.SetWriteDeadline(now.Add(writeTimeout)) == nil
}

// begin announces the peer whose data follow: in the head, or in a comment when
// the head has gone.
func (c *client) begin(a *attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began = true
	if c.committed {
		c.extend(time.Now())
		fmt.Fprintf(c.w, ": answered by %s (%s)\n\n", a.ID, a.route)
		return
	}
	c.name(a)
	c.commit()
}

func (c *client) name(a *attempt) {
	h := c.w.Header()
	h[grid.PeerHeader] = []string{a.ID.String()}
	h[grid.RouteHeader] = []string{a.route}
}

// event writes bytes of a stream and sends them off.
func (c *client) event(raw []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = time.Now()
	c.extend(c.last)
	if _, err := c.w.Write(raw); err != nil {
		return err
	}
	return c.control.Flush()
}

// whole sends an answer that is complete.
func (c *client) whole(a *attempt, status int, contentType, receiptText string, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.committed { // a stream that got keep-alives: tell it there
		e := openai.ParseError(status, body)
		_, _ = c.w.Write(e.Event(c.dialect)) // the client may have left
		c.closed = true
		return
	}
	c.committed, c.closed = true, true
	c.name(a)
	h := c.w.Header()
	h["Content-Type"] = []string{contentType}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	if receiptText != "" {
		h[receipt.Header] = []string{receiptText}
	}
	c.extend(time.Now())
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // the client may have left, which changes nothing any more
}

// fail ends the exchange with an error: as an HTTP error, or as an event.
func (c *client) fail(e *openai.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	if c.committed {
		c.extend(time.Now())
		_, _ = c.w.Write(e.Event(c.dialect)) // the client may have left
		return
	}
	c.committed = true
	writeError(c.w, e, c.dialect)
}

// writeError answers with an error in the dialect's shape.
func writeError(w http.ResponseWriter, e *openai.Error, d openai.Dialect) {
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	body := e.Body(d)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.Status)
	_, _ = w.Write(body) // the client may have left
}
