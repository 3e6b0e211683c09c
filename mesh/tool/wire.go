package tool

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode/utf8"
)

// The calls of a node's server, beneath Path:
//
//	GET  /mesh/v1/tools          {"executor":{...},"tools":[Info...]}: those that the caller may use
//	POST /mesh/v1/tools/invoke   a Request; the answer is JSON, or JSON Lines of Events when stream is set
//	POST /mesh/v1/tools/cancel   {"idempotencyKey"}: ends a call that outlives its connection
const Path = "/mesh/v1/tools"

// Limits of the wire.
const (
	MaxRequest    = 8 << 20  // bytes of a request
	maxLine       = 48 << 20 // bytes of one event
	maxErrorBytes = 64 << 10
	maxKey        = 128 // bytes of an idempotency key
	maxToolName   = 256
)

// A Request is the body of an invocation.
//
// A call under an IdempotencyKey happens at most once: the same caller with the
// same key joins the running call or gets the outcome again (of its output only what
// nobody was told yet; the result has it all), and the call lives on for a while
// when the connection is lost. A call without one ends with its
// connection.
type Request struct {
	Tool           string          `json:"tool"`
	Args           json.RawMessage `json:"args,omitempty"`
	IdempotencyKey string          `json:"idempotencyKey,omitempty"`
	DeadlineMS     int64           `json:"deadlineMs,omitempty"` // how long the caller will wait; 0 leaves it to the executor
	Stream         bool            `json:"stream,omitempty"`
}

// A Response is the answer to a Request without stream.
type Response struct {
	Executor Executor `json:"executor"`
	Result   *Result  `json:"result"`
	Replayed bool     `json:"replayed,omitempty"` // remembered from an earlier call under the key
}

// The types of events. A stream is: started; output, any number; then one
// result or error. A stream that ends without those was lost on its way.
const (
	EventStarted = "started"
	EventOutput  = "output"
	EventResult  = "result"
	EventError   = "error"
)

// An Event is one line of a streamed answer.
type Event struct {
	Type     string    `json:"type"`
	Executor *Executor `json:"executor,omitempty"` // of started, result and error
	Stream   string    `json:"stream,omitempty"`   // of output: stdout or stderr
	Text     string    `json:"text,omitempty"`     // of output, when it is UTF-8
	Base64   []byte    `json:"base64,omitempty"`   // of output, when it is not
	Result   *Result   `json:"result,omitempty"`
	Replayed bool      `json:"replayed,omitempty"`
	Error    *Error    `json:"error,omitempty"`
}

// Data is the bytes of an output event.
func (e *Event) Data() []byte {
	if e.Base64 != nil {
		return e.Base64
	}
	return []byte(e.Text)
}

func outputEvent(stream string, data []byte) Event {
	if utf8.Valid(data) {
		return Event{Type: EventOutput, Stream: stream, Text: string(data)}
	}
	return Event{Type: EventOutput, Stream: stream, Base64: data}
}

// last reports whether an event ends the stream.
func (e *Event) last() bool { return e.Type == EventResult || e.Type == EventError }

// ReadRequest reads and checks a request. Members that it does not know are
// refused, since what they ask for would not happen.
func ReadRequest(data []byte) (*Request, error) {
	r := new(Request)
	if err := ReadArgs(data, r); err != nil {
		return nil, err
	}
	switch {
	case r.Tool == "" || len(r.Tool) > maxToolName || !printable(r.Tool):
		return nil, refuse(CodeArguments, "", "%.300q is no name of a tool", r.Tool)
	case len(r.IdempotencyKey) > maxKey || !printable(r.IdempotencyKey):
		return nil, refuse(CodeArguments, "", "an idempotency key has at most %d printable ASCII characters", maxKey)
	case r.DeadlineMS < 0 || r.DeadlineMS > maxTimeout.Milliseconds():
		return nil, refuse(CodeArguments, "", "deadlineMs is %d; it may be 0 to %d", r.DeadlineMS, maxTimeout.Milliseconds())
	}
	if len(r.Args) == 0 || string(r.Args) == "null" {
		r.Args = json.RawMessage("{}")
	}
	if r.Args[0] != '{' {
		return nil, refuse(CodeArguments, "", "args is no JSON object")
	}
	return r, nil
}

func (r *Request) deadline() time.Duration { return time.Duration(r.DeadlineMS) * time.Millisecond }

func printable(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// ReadEvents calls on for each event until the last one. A stream that ends
// before that is an io.ErrUnexpectedEOF.
func ReadEvents(r io.Reader, on func(*Event) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		e := new(Event)
		if err := json.Unmarshal(lines.Bytes(), e); err != nil {
			return fmt.Errorf("read the events of a call: %w", err)
		}
		if err := e.check(); err != nil {
			return fmt.Errorf("read the events of a call: %w", err)
		}
		if err := on(e); err != nil || e.last() {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}

func (e *Event) check() error {
	if e.Type == EventResult && e.Result == nil || e.Type == EventError && e.Error == nil {
		return fmt.Errorf("the %s event is empty", e.Type)
	}
	return nil
}
