package worker

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"os"
	"time"

	"lobstah/grid/engine"
	"lobstah/openai"
	"lobstah/receipt"
)

// drainTime is how long the end of an engine's body is awaited after [DONE], so
// that its connection can be used again.
const drainTime = 100 * time.Millisecond

// stream passes events on as they come, until the dialect's end.
func (j *job) stream(answer *engine.Answer) {
	if !isStream(answer) {
		j.notStream(answer)
		return
	}
	scanner := openai.NewScanner(answer.Body)
	for {
		e, err := scanner.Next()
		switch {
		case errors.Is(err, io.EOF):
			j.endStream(nil)
			return
		case err != nil:
			j.broken(err)
			return
		case e.Done():
			j.endStream(e.Raw)
			j.drainEngine(scanner)
			return
		}
		j.silence.Reset(j.w.config.Silence)
		if e.Data != nil && !j.pass(e) {
			return
		}
		if scanner.Buffered() {
			continue // and flush them together
		}
		if err := j.reply.flush(); err != nil {
			j.lost(err)
			return
		}
	}
}

// notStream is what an engine that sends something else than events gets.
func (j *job) notStream(answer *engine.Answer) {
	body, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		j.fail(j.faultOf(err))
		return
	}
	if j.meter.Body(body); j.meter.Failure != nil && j.meter.Failure.Code != "malformed_answer" {
		j.fail(j.fromEngine(j.meter.Failure))
		return
	}
	j.fail(engineFault("no_stream", "the engine answered with %.40q where a stream was asked for", answer.ContentType))
}

// pass sends one event on, and reports whether the stream goes on.
func (j *job) pass(e openai.Event) bool {
	usageOnly := j.meter.Event(e.Data)
	if failure := j.meter.Failure; failure != nil {
		j.engineEvent(e, failure)
		return false
	}
	if usageOnly && !j.request.IncludeUsage {
		return true
	}
	if err := j.reply.event(withoutReceipt(e)); err != nil {
		j.lost(err)
		return false
	}
	j.hash.Data(e.Data)
	j.sent++
	return true
}

// lost ends a stream whose client takes no more.
func (j *job) lost(err error) {
	j.cancel(errLeft)
	j.broken(err)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		j.outcome = "client_stuck"
	}
}

// engineEvent ends a stream in which the engine reported a failure. Before the
// first event it becomes an HTTP error; in the dialects whose events have types
// the engine's own event is the best that can be said.
func (j *job) engineEvent(e openai.Event, failure *openai.Error) {
	fault := j.fromEngine(failure)
	if j.sent == 0 || j.dialect.OpenAI() || failure.Code == "malformed_event" {
		j.fail(fault)
		return
	}
	j.outcome, j.fault = fault.Code, fault.Message
	_ = j.reply.event(e.Raw) // if it cannot be told, the client sees no proper end
}

// endStream ends a stream whose engine sent its last event; done is the [DONE]
// as it came. The receipt is durable before it is sent, and sent before [DONE].
func (j *job) endStream(done []byte) {
	if !j.meter.Ended() {
		j.fail(engineFault("unfinished_stream", "the engine's stream ended before its answer did"))
		return
	}
	if j.dialect.OpenAI() && done == nil {
		done = []byte("data: " + openai.Done + "\n\n")
	}
	s := j.settle("", j.hash.Hex())
	var tail []byte
	if s != nil {
		tail = append(tail, receipt.CommentPrefix+s.Text()+"\n\n"...)
	}
	if err := cmp.Or(j.reply.event(append(tail, done...)), j.reply.flush()); err != nil {
		j.outcome = "client_left" // it has the whole answer; the receipt stands
	}
}

// broken ends a stream that failed on either side. What a client has got before
// it left is receipted; what an engine did not finish is not.
func (j *job) broken(err error) {
	fault := j.faultOf(err)
	switch {
	case fault != nil && errors.Is(err, openai.ErrEventTooLarge):
		j.fail(engineFault("event_too_large", "the engine sent an event of more than %d bytes", openai.MaxEvent))
	case fault != nil:
		j.fail(fault)
	case j.sent > 0:
		j.outcome = "cancelled"
		j.settle("cancelled", j.hash.Hex())
	}
}

// drainEngine reads to the end of the body behind [DONE].
func (j *job) drainEngine(scanner *openai.Scanner) {
	j.silence.Reset(drainTime)
	for range 8 {
		if _, err := scanner.Next(); err != nil {
			return
		}
	}
}

// withoutReceipt is the event's bytes. An engine that is a worker itself, or
// pretends to be, cannot slip a receipt of its own into the stream.
func withoutReceipt(e openai.Event) []byte {
	if !bytes.Contains(e.Raw, []byte(receipt.CommentPrefix)) {
		return e.Raw
	}
	var out []byte
	for line := range bytes.Lines(e.Raw) {
		if !bytes.HasPrefix(line, []byte(receipt.CommentPrefix)) {
			out = append(out, line...)
		}
	}
	return out
}
