package router

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"lobstah/openai"
	"lobstah/receipt"
)

// relay passes one stream on. It is owned by the handler's goroutine.
type relay struct {
	*attempt
	events  *openai.Scanner
	hash    receipt.StreamHash
	receipt string        // its text, from the stream's comment
	done    bool          // data: [DONE] came
	out     *bytes.Buffer // events that go out with the next write; nil between batches
}

// stream passes a stream of events on. Until the first data, whatever goes
// wrong leaves the client untouched and another peer may be asked.
func (a *attempt) stream(response *http.Response) outcome {
	if mediaType(response.Header) != "text/event-stream" {
		return a.noStream(response)
	}
	a.dog.alive(a.rt.Timeouts.Idle)
	r := &relay{attempt: a, events: openai.NewScanner(response.Body)}
	for {
		event, err := r.events.Next()
		if err != nil {
			return r.ended(err)
		}
		err = r.pass(event)
		if err == nil && !r.events.Buffered() {
			a.dog.alive(a.rt.Timeouts.Idle)
			err = r.flush()
		}
		if err != nil {
			return r.ended(err)
		}
		if r.done {
			r.finish()
			return r.ended(io.EOF)
		}
	}
}

// noStream judges an answer that is none: a web page, an error under status
// 200, or a whole answer that a stream's client could not read.
func (a *attempt) noStream(response *http.Response) outcome {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxRefusalBody))
	if err != nil {
		return a.lost(err)
	}
	said := &heardError{"no stream", ": " + openai.ParseError(http.StatusOK, body).Message}
	if a.meter.Body(body); a.meter.Failure == nil {
		said = &heardError{"no stream: it answered as a whole although a stream was asked for", ""}
	}
	return outcome{kind: failed, status: http.StatusOK, err: said}
}

var (
	errEnded     = errors.New("the stream ended before the answer was finished")
	errUnreached = errors.New("the client did not take the data")
)

// pass looks at one event and writes it on.
func (r *relay) pass(event openai.Event) error {
	raw := event.Raw
	if event.Data == nil || commented(raw) {
		if raw = r.comment(event); len(raw) == 0 {
			return nil
		}
	}
	if event.Data == nil {
		return r.write(raw)
	}
	if event.Done() {
		if r.dialect.OpenAI() && !r.meter.Ended() {
			return errEnded // a clean end of half an answer must not look whole
		}
		r.done = true
	} else if err := r.look(event.Data); err != nil {
		return err
	}
	if r.first.IsZero() {
		r.first = time.Now()
		r.client.begin(r.attempt)
	}
	return r.write(raw)
}

// look meters one payload.
func (r *relay) look(data []byte) error {
	r.meter.Event(data)
	if f := r.meter.Failure; f != nil {
		return &heardError{"the engine reported an error in the stream", ": " + f.Message}
	}
	if r.rt.Ledger != nil {
		r.hash.Data(data)
	}
	return nil
}

// comment takes the receipt out of an event that begins with a comment, and
// returns what is left for the client. Before the first data a comment is a
// sign that the peer has accepted; its text stays here, as the client gets
// comments of ours.
func (r *relay) comment(event openai.Event) []byte {
	left := make([]byte, 0, len(event.Raw))
	for line := range lines(event.Raw) {
		text, isReceipt := bytes.CutPrefix(line, []byte(receipt.CommentPrefix))
		if isReceipt {
			r.receipt = string(bytes.TrimSpace(text[:min(len(text), 2*receipt.MaxBytes)]))
			continue
		}
		if r.first.IsZero() && line[0] == ':' {
			continue
		}
		left = append(left, line...)
	}
	if event.Data == nil && r.first.IsZero() {
		if !r.events.Buffered() {
			r.client.accepted("", "")
		}
		return nil
	}
	if len(bytes.TrimSpace(left)) == 0 {
		return nil
	}
	return left
}

// commented reports whether a line of an event is a comment. Data that engines
// send are a single line, which is told at once.
func commented(raw []byte) bool {
	if raw[0] == 'd' && bytes.IndexByte(raw, '\n') >= len(raw)-2 && bytes.IndexByte(raw, '\r') < 0 {
		return false
	}
	for i := 0; i < len(raw); {
		if raw[i] == ':' {
			return true
		}
		next := bytes.IndexAny(raw[i:], "\r\n")
		if next < 0 {
			return false
		}
		i += next + 1
	}
	return false
}

// lines yields the lines of an event with their ends: LF, CRLF or CR.
func lines(raw []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(raw) > 0 {
			end := bytes.IndexAny(raw, "\r\n") + 1
			if end == 0 {
				end = len(raw)
			}
			if raw[end-1] == '\r' && end < len(raw) && raw[end] == '\n' {
				end++
			}
			if !yield(raw[:end]) {
				return
			}
			raw = raw[end:]
		}
	}
}

// maxBatch is how much is put together for one write.
const maxBatch = 32 << 10

// write forwards bytes. What has arrived together goes out in one write, and
// nothing waits for what has not.
func (r *relay) write(raw []byte) error {
	if r.events.Buffered() && len(raw) < maxBatch {
		if r.out == nil {
			r.out = buffers.Get().(*bytes.Buffer)
		}
		r.out.Write(raw)
		if r.out.Len() < maxBatch {
			return nil
		}
		return r.flush()
	}
	if r.out == nil {
		return r.sent(r.client.event(raw))
	}
	if len(raw) < maxBatch {
		r.out.Write(raw)
		return r.flush()
	}
	if err := r.flush(); err != nil {
		return err
	}
	return r.sent(r.client.event(raw))
}

// flush sends what was put together.
func (r *relay) flush() error {
	if r.out == nil {
		return nil
	}
	err := r.client.event(r.out.Bytes())
	r.out.Reset()
	buffers.Put(r.out)
	r.out = nil
	return r.sent(err)
}

func (r *relay) sent(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreached, err)
	}
	return nil
}

// finish sends what is left and reads the end of the body, so that the
// connection can be used again.
func (r *relay) finish() {
	_ = r.flush()            // a client that has left changes nothing any more
	r.dog.alive(time.Second) // for all that follows; the answer is complete, whatever that is
	for {
		if _, err := r.events.Next(); err != nil {
			return
		}
	}
}

// ended judges the end of a stream: [DONE], the end of the body, or a fault.
func (r *relay) ended(err error) outcome {
	whole := r.meter.Ended() || r.done
	if unreached := r.flush(); unreached != nil && err != io.EOF {
		err = unreached
	}
	switch {
	case err == io.EOF && whole:
		if r.dialect.OpenAI() && !r.done {
			// The answer has its finish reason; only the mark is missing.
			_ = r.client.event([]byte("data: " + openai.Done + "\n\n")) // the client may have left
		}
		r.paced()
		r.settle(r.receipt, r.hash.Hex())
		return outcome{kind: answered, status: http.StatusOK}
	case r.in.Context().Err() != nil || errors.Is(err, errUnreached):
		return outcome{kind: gone, status: http.StatusOK, err: errClientLeft}
	case err == io.EOF:
		err = errEnded
	}
	if cause := r.cause(); cause != nil {
		err = cause
	}
	o := outcome{kind: failed, status: http.StatusOK, err: err}
	if !r.first.IsZero() {
		o.kind = broken
		r.client.fail(brokenStream(r.peer, err, r.meter.Failure))
	}
	return o
}
