package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
)

// Usage is what an answer cost, as far as it told.
type Usage struct {
	Input, Output int64
	Known         bool // the engine counted
	Timings       bool // it counted in llama-server's timings member, not in usage
}

// A Meter watches one answer pass by and keeps what it says about its cost, its
// end and its failure. Feed it every event's data ([Meter.Event]) or the whole
// body ([Meter.Body]). Most events are recognised as plain deltas without being
// parsed. It is owned by one goroutine.
type Meter struct {
	Usage   Usage
	Finish  string // finish reason as the engine spells it
	Deltas  int64  // events that carried output, to estimate by when nobody counts
	Model   string // the model that the engine says it used
	Failure *Error // the engine reported a failure inside a 200 answer

	dialect    Dialect
	ended      bool   // Responses, Messages and whole answers without choices
	seen, done uint64 // choices by index, as bits: those that began, those that finished
}

// NewMeter returns a meter for answers of dialect d.
func NewMeter(d Dialect) *Meter { return &Meter{dialect: d} }

// Ended reports whether the answer came to the end that its dialect demands: a
// finish reason for every choice, response.completed, message_stop. A stream
// that closes cleanly without it was cut.
func (m *Meter) Ended() bool {
	finished := m.done != 0 && m.seen&^m.done == 0
	return (m.ended || finished) && m.Failure == nil
}

// Event looks at one data payload. It reports whether the event carries usage
// and nothing else, as include_usage asks for; such an event is kept from
// clients that did not ask.
func (m *Meter) Event(data []byte) (usageOnly bool) {
	if len(data) == 0 || string(data) == Done {
		return false
	}
	if m.dialect.OpenAI() && plainDelta(data) {
		m.Deltas++
		m.seen |= 1
		return false
	}
	return m.parsed(data)
}

// parsed is Event for what is not a plain delta.
func (m *Meter) parsed(data []byte) (usageOnly bool) {
	var e event
	if !decode(data, &e) {
		m.fail(&Error{Type: "engine_error", Code: "malformed_event", Message: "the engine sent an event that is not JSON"})
		return false
	}
	if m.reported(e, data) {
		return false
	}
	switch m.dialect {
	case Responses:
		m.responsesEvent(e, data)
	case Messages:
		m.messagesEvent(e)
	default:
		if e.output() {
			m.Deltas++
		}
		return m.chat(e)
	}
	return false
}

// Body looks at a whole answer. An answer that its engine did not finish
// (no finish reason, done:false, an error under status 200) is a failure.
func (m *Meter) Body(body []byte) {
	var e event
	if !decode(body, &e) {
		m.fail(&Error{
			Status: http.StatusBadGateway, Type: "engine_error", Code: "malformed_answer",
			Message: firstOf(clip(plain(body)), "the engine answered with nothing"),
		})
		return
	}
	if m.reported(e, body) {
		return
	}
	switch m.dialect {
	case Responses:
		m.response(e)
	case Messages:
		m.messagesBody(e)
	case Embeddings:
		m.embeddingsBody(e)
	case CountTokens:
		m.Usage = Usage{Input: e.InputTokens.count(), Known: e.InputTokens.known()}
		m.ended = e.InputTokens != nil
	default:
		m.chat(e)
	}
	if m.Failure == nil && !m.Ended() {
		m.fail(&Error{
			Status: http.StatusBadGateway, Type: "engine_error", Code: "unfinished_answer",
			Message: "the engine answered 200 but did not finish its answer",
		})
	}
}

func (m *Meter) fail(e *Error) {
	if m.Failure == nil {
		m.Failure = e
	}
}

// decode reports whether data is JSON. A member of another kind than expected
// is left out, since a dialect may use its name for something else.
func decode(data []byte, e *event) bool {
	err := json.Unmarshal(data, e)
	_, otherKind := errors.AsType[*json.UnmarshalTypeError](err)
	return err == nil || otherKind
}

// plainDelta recognises the chunk of a chat or completion that holds output of
// the first choice and neither finish reason, usage, timings nor error. It looks
// at what stands around each colon: inside a string, a name's closing quote would
// be escaped. A chunk that it does not recognise is parsed, so it may say no too
// often, as to engines that put spaces between tokens.
func plainDelta(data []byte) bool {
	if data[0] != '{' || data[len(data)-1] != '}' {
		return false
	}
	var choices, output bool
	for i := 1; ; i++ {
		n := bytes.IndexByte(data[i:], ':')
		if n < 0 {
			return choices && output
		}
		i += n
		name, ok := nameBefore(data[:i])
		if !ok {
			return false
		}
		value := data[i+1:]
		switch string(name) {
		case "choices":
			choices = bytes.HasPrefix(value, openChoices)
		case "content", "text", "reasoning", "reasoning_content", "arguments":
			output = output || len(value) > 1 && value[0] == '"' && value[1] != '"'
		case "finish_reason", "usage", "error":
			ok = bytes.HasPrefix(value, null)
		case "index":
			ok = value[0] == '0'
		case "timings":
			ok = false
		}
		if !ok {
			return false
		}
	}
}

var (
	openChoices = []byte("[{")
	null        = []byte("null")
)

// nameBefore returns the name of the member whose colon follows data, nothing
// for a colon within a string. It is not ok with a space between the two, which
// plainDelta does not see through.
func nameBefore(data []byte) (name []byte, ok bool) {
	end := len(data) - 1
	switch data[end] {
	case '"':
		return data[bytes.LastIndexByte(data[:end], '"')+1 : end], true
	case ' ', '\t', '\n', '\r':
		return nil, false
	}
	return nil, true
}
