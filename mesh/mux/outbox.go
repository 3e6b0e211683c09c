package mux

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
)

const (
	queueBytes   = 68 << 10 // waits to be written, at most: four pieces with their headers; then writers wait
	controlBytes = 64 << 10 // of frames without data beyond that, which nobody waits for
)

// outbox turns many frames into few writes without a timer: while one batch is
// being written the next frames gather, and go out together. Who finds no room
// waits for its turn, in the order of coming. An idle one holds no buffer.
type outbox struct {
	conn   io.Writer
	prompt Conn          // conn, if its Write never waits; else nil
	wake   chan struct{} // of capacity 1: run shall look again

	mu      sync.Mutex
	queue   *[]byte  // all guarded by mu; of batches, nil while nothing waits
	waiting []*piece // for room, first come first served
	idle    bool     // run waits for wake, and nobody else writes
	behind  bool     // conn has kept something, which run has to drain
	err     error    // why nothing can be written any more
}

// piece is what a stream has to write: its data goes into the queue at once or
// later, when there is room. It belongs to the stream's writer, except while it
// waits; then its bytes must not change.
type piece struct {
	turn chan struct{} // of capacity 1: the wait is over

	head   frame
	body   []byte
	queued bool // guarded by the outbox, as the next
	closed bool // nothing may be written after the end of the stream
}

var batches = sync.Pool{New: func() any { return new([]byte) }}

var errUnread = errors.New("the other side does not read the answers that it causes")

// put queues a piece, or lets it wait for its turn and reports false.
func (o *outbox) put(p *piece) (queued bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.err != nil:
		return false, o.err
	case p.closed:
		return false, net.ErrClosed
	case o.room(p):
		o.add(p)
		o.signal()
		return true, nil
	}
	p.queued = false
	o.waiting = append(o.waiting, p)
	return false, nil
}

// offer queues a piece if that needs no waiting. It leaves it to the caller to
// call flush soon.
func (o *outbox) offer(p *piece) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil || p.closed || !o.room(p) {
		return false
	}
	o.add(p)
	return true
}

// withdraw takes a waiting piece back. It reports false if the wait is over, which
// turn tells or has told.
func (o *outbox) withdraw(p *piece) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.Index(o.waiting, p)
	if i >= 0 {
		o.waiting = slices.Delete(o.waiting, i, i+1)
	}
	return i >= 0
}

// result tells how the wait of a piece ended.
func (o *outbox) result(p *piece) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case p.queued:
		return nil
	case o.err != nil:
		return o.err
	}
	return net.ErrClosed
}

// control queues a frame without data. It never waits, so that reading a
// connection does not depend on writing it.
func (o *outbox) control(f frame) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.addControl(f); err != nil {
		return err
	}
	o.signal()
	return nil
}

// controlLate is control, but leaves it to the caller to call flush soon.
func (o *outbox) controlLate(f frame) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.addControl(f)
}

// finish queues the end of a stream, after which none of its data may follow.
func (o *outbox) finish(p *piece, f frame) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	p.closed = true
	if i := slices.Index(o.waiting, p); i >= 0 {
		o.waiting = slices.Delete(o.waiting, i, i+1)
		p.turn <- struct{}{}
	}
	if err := o.addControl(f); err != nil {
		return err
	}
	o.signal()
	return nil
}

func (o *outbox) addControl(f frame) error {
	if o.err != nil {
		return o.err
	}
	if o.queue != nil && len(*o.queue) > queueBytes+controlBytes {
		o.stop(errUnread)
		return errUnread
	}
	b := o.open()
	*b = f.appendTo(*b)
	return nil
}

func (o *outbox) room(p *piece) bool {
	return o.queue == nil || len(o.waiting) == 0 && len(*o.queue)+headerBytes+len(p.body) <= queueBytes
}

func (o *outbox) open() *[]byte {
	if o.queue == nil {
		o.queue = batches.Get().(*[]byte)
	}
	return o.queue
}

func (o *outbox) add(p *piece) {
	b := o.open()
	*b = append(p.head.appendTo(*b), p.body...)
	p.queued = true
}

func (o *outbox) signal() {
	if o.idle {
		o.idle = false
		o.wake <- struct{}{}
	}
}

// flush sends what was offered: at once if nobody else writes, else by run.
func (o *outbox) flush() {
	batch := o.claim()
	if batch == nil {
		return
	}
	err := o.send(batch)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil && o.err == nil {
		o.stop(err)
	}
	o.idle = true
	if o.queue != nil || o.behind || o.err != nil {
		o.signal()
	}
}

// claim takes what is to be sent if this goroutine may send it.
func (o *outbox) claim() *[]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.queue == nil || !o.idle || o.err != nil:
		return nil
	case o.prompt == nil:
		o.signal()
		return nil
	}
	o.idle = false
	return o.take()
}

// fallBehind notes that conn has kept something.
func (o *outbox) fallBehind() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.behind = true
	o.signal()
}

// run writes until nothing can be written any more, and returns why.
func (o *outbox) run() error {
	for {
		batch, err := o.next()
		if err == nil && batch != nil {
			err = o.send(batch)
		}
		if err == nil && o.prompt != nil {
			err = o.prompt.Drain()
		}
		if err != nil {
			return err
		}
	}
}

func (o *outbox) send(batch *[]byte) error {
	_, err := o.conn.Write(*batch)
	*batch = (*batch)[:0]
	batches.Put(batch)
	return err
}

// next waits for something to write or drain.
func (o *outbox) next() (*[]byte, error) {
	for {
		if batch, found, err := o.look(); found || err != nil {
			return batch, err
		}
		<-o.wake
	}
}

func (o *outbox) look() (batch *[]byte, found bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.err != nil:
		return nil, false, o.err
	case o.behind: // first, since what was kept comes before all else
		o.behind = false
		return nil, true, nil
	case o.queue != nil:
		return o.take(), true, nil
	}
	o.idle = true
	return nil, false, nil
}

// take empties the queue and gives those who wait their turn; mu is held.
func (o *outbox) take() *[]byte {
	batch := o.queue
	o.queue = nil
	for len(o.waiting) > 0 && o.fits(o.waiting[0]) {
		o.add(o.waiting[0])
		o.waiting[0].turn <- struct{}{}
		o.waiting = slices.Delete(o.waiting, 0, 1)
	}
	return batch
}

func (o *outbox) fits(p *piece) bool {
	return o.queue == nil || len(*o.queue)+headerBytes+len(p.body) <= queueBytes
}

func (o *outbox) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.stop(err)
	}
}

func (o *outbox) stop(err error) {
	o.err = err
	for _, p := range o.waiting {
		p.turn <- struct{}{}
	}
	o.waiting = nil
	o.signal()
}
