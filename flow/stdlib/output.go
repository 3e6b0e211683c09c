package stdlib

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

const (
	outputLimitVar = "LOBSTER_MAX_OUTPUT_BYTES"
	// settleBytes is how much output is kept before a stage after the process starts to read it. Below it, a process has ended, and
	// its failure is known, before anything else happens.
	settleBytes = 1 << 20
	// settlePatience is how long a process that has begun to print may go on before a stage that may stop early reads it.
	settlePatience = 100 * time.Millisecond
	// itemLimit caps one line or one JSON item.
	itemLimit = 256 << 20
	// errorLimit is how much of what a process complains is kept.
	errorLimit = 1 << 20
)

// output is a running process and what it prints. Its goroutine ends with the process; whoever holds an output pulls its items to
// their end or breaks off, both of which wait for that.
type output struct {
	cancel context.CancelFunc
	begun  chan struct{} // closed at the first byte
	full   chan struct{} // closed when the buffer is full for the first time
	done   chan struct{} // closed at the end

	mu                  sync.Mutex // guards the following
	space               *sync.Cond // something was taken from buf, or reading ended
	data                *sync.Cond // something was put into buf, or the process ended
	buf                 bytes.Buffer
	written             int64
	taken               bool // a part of the output is gone from buf
	stopped             bool // nobody reads any more
	stderr              cappedBuffer
	ended               bool
	status              interp.Exit
	failure             error
	limit               int64 // of each stream, 0 for none
	stderrN             int64
	closing             sync.Once
	beginOnce, fillOnce sync.Once
}

// errStopped is what writes fail with once nobody reads.
var errStopped = errors.New("nobody reads the output")

func startOutput(ctx context.Context, call *interp.Call, p *interp.Process, limit int64) *output {
	ctx, cancel := context.WithCancel(ctx)
	o := &output{cancel: cancel, begun: make(chan struct{}), full: make(chan struct{}), done: make(chan struct{}), limit: limit}
	o.space, o.data = sync.NewCond(&o.mu), sync.NewCond(&o.mu)
	p.Stdout, p.Stderr = writerFunc(o.write), writerFunc(o.writeError)
	call.Go(func() {
		defer close(o.done)
		status, err := call.Start(ctx, p)
		o.mu.Lock()
		defer o.mu.Unlock()
		o.ended, o.status, o.failure = true, status, err
		o.data.Broadcast()
	})
	context.AfterFunc(ctx, func() { // a writer may wait for space
		o.mu.Lock()
		defer o.mu.Unlock()
		o.stopped = true
		o.space.Broadcast()
	})
	return o
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func (o *output) write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.beginOnce.Do(func() { close(o.begun) })
	if o.written += int64(len(b)); o.limit > 0 && o.written > o.limit {
		return 0, outputLimitError(o.limit)
	}
	for o.buf.Len() >= settleBytes && !o.stopped {
		o.fillOnce.Do(func() { close(o.full) })
		o.space.Wait()
	}
	if o.stopped {
		return 0, errStopped
	}
	o.data.Broadcast()
	return o.buf.Write(b)
}

func (o *output) writeError(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stderrN += int64(len(b)); o.limit > 0 && o.stderrN > o.limit {
		return 0, outputLimitError(o.limit)
	}
	return o.stderr.Write(b)
}

func outputLimitError(limit int64) error {
	return fmt.Errorf("Process output exceeded %d bytes", limit)
}

// settle waits until the process has ended or printed so much that it must be read, or, for a reader that may stop early, until it
// has begun and does not end soon.
func (o *output) settle(early bool) {
	begun := o.begun
	if !early {
		begun = nil
	}
	select {
	case <-o.done:
		return
	case <-o.full:
		return
	case <-begun:
	}
	t := time.NewTimer(settlePatience)
	defer t.Stop()
	select {
	case <-o.done:
	case <-o.full:
	case <-t.C:
	}
}

func (o *output) finished() bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}

// exit waits for the end of the process.
func (o *output) exit() (interp.Exit, error) {
	<-o.done
	return o.status, o.failure
}

// errors returns what the finished process complained.
func (o *output) errors() string { return value.Clean(o.stderr.String()) }

// head returns what is still kept of the finished process's output, "" if a part was handed on.
func (o *output) head() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.taken {
		return ""
	}
	return value.Clean(o.buf.String())
}

// Read waits for output. It returns io.EOF at the end of the process.
func (o *output) Read(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.buf.Len() == 0 && !o.ended {
		o.data.Wait()
	}
	if o.buf.Len() == 0 {
		return 0, io.EOF
	}
	o.taken = true
	defer o.space.Signal()
	return o.buf.Read(b)
}

// items yields what split makes of the output; check then says whether the process failed. Breaking off stops the process.
func (o *output) items(split func(io.Reader) interp.Seq, check func() error) interp.Seq {
	return func(yield func(value.Value, error) bool) {
		defer o.close()
		for v, err := range split(o) {
			if err != nil {
				yield(value.Undefined, o.preferred(err, check))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
		if err := check(); err != nil {
			yield(value.Undefined, err)
		}
	}
}

// preferred returns the process's own failure instead of a fault of its output, if it has ended with one.
func (o *output) preferred(err error, check func() error) error {
	if o.finished() {
		if own := check(); own != nil {
			return own
		}
	}
	return err
}

// close stops the process and waits for its end.
func (o *output) close() {
	o.closing.Do(func() {
		o.cancel()
		<-o.done
	})
}

// lines yields the lines that are not empty.
func lines(r io.Reader) interp.Seq {
	return func(yield func(value.Value, error) bool) {
		br := bufio.NewReaderSize(r, 64<<10)
		for {
			line, err := readLine(br)
			if line = strings.TrimSuffix(line, "\r"); line != "" && (err == nil || errors.Is(err, io.EOF)) {
				if !yield(value.String(value.Clean(line)), nil) {
					return
				}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					yield(value.Undefined, err)
				}
				return
			}
		}
	}
}

// readLine reads up to a line end, which it leaves out.
func readLine(r *bufio.Reader) (string, error) {
	var long []byte
	for {
		part, err := r.ReadSlice('\n')
		if err == nil && long == nil {
			return string(part[:len(part)-1]), nil
		}
		long = append(long, part...)
		switch {
		case err == nil:
			return string(long[:len(long)-1]), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return string(long), err
		case len(long) > itemLimit:
			return "", fmt.Errorf("a line of the output exceeded %d bytes", itemLimit)
		}
	}
}

// jsonItems yields the items of one JSON text. None may take more memory than the run may hold.
func jsonItems(r io.Reader, budget *interp.Budget) interp.Seq {
	return func(yield func(value.Value, error) bool) {
		d := value.NewDecoder(r)
		d.MaxItem = itemLimit
		if limit, _ := budget.Run(); limit > 0 {
			d.MaxHeld = min(limit, value.MaxParsed)
		}
		for v, err := range d.Items() {
			if err != nil {
				yield(value.Undefined, fmt.Errorf("exec --json could not parse stdout as JSON: %w", err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// cappedBuffer keeps the first errorLimit bytes.
type cappedBuffer struct{ bytes.Buffer }

func (c *cappedBuffer) Write(b []byte) (int, error) {
	if room := errorLimit - c.Len(); room > 0 {
		_, _ = c.Buffer.Write(b[:min(room, len(b))]) // never fails
	}
	return len(b), nil
}
