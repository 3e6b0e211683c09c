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

	dialect Dialect
	ended   bool
}

// NewMeter returns a meter for answers of dialect d.
func NewMeter(d Dialect) *Meter { return &Meter{dialect: d} }

// Ended reports whether the answer came to the end that its dialect demands: a
// finish reason, response.completed, message_stop. A stream that closes
// cleanly without it was cut.
func (m *Meter) Ended() bool { return m.ended && m.Failure == nil }

// Event looks at one data payload. It reports whether the event carries usage
// and nothing else, as include_usage asks for; such an event is kept from
// clients that did not ask.
func (m *Meter) Event(data []byte) (usageOnly bool) {
	if len(data) == 0 || string(data) == Done {
		return false
	}
	if m.dialect.OpenAI() && plainDelta(data) {
		m.Deltas++
		return false
	}
	var e event
	if !decode(data, &e) {
		m.fail(&Error{Type: "engine_error", Code: "malformed_event", Message: "the engine sent an event that is not JSON"})
		return false
	}
	switch m.dialect {
	case Responses:
		m.responsesEvent(e)
	case Messages:
		m.messagesEvent(e)
	default:
		return m.chatEvent(e, data)
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
	switch m.dialect {
	case Responses:
		m.response(e)
	case Messages:
		m.messagesBody(e)
	case Embeddings:
		m.embeddingsBody(e)
	case CountTokens:
		m.Usage = Usage{Input: e.InputTokens, Known: true}
		m.ended = !m.reported(e, body)
	default:
		m.chatEvent(e, body)
	}
	if m.Failure == nil && !m.ended {
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

// plainDelta recognises the chunk of a chat or completion that holds neither
// finish reason, usage, timings nor error, from bytes that cannot occur inside
// a JSON string, where the quotes would be escaped.
func plainDelta(data []byte) bool {
	return bytes.Contains(data, []byte(`"choices":[{`)) &&
		onlyNull(data, `"finish_reason":`) && onlyNull(data, `"usage":`) &&
		!bytes.Contains(data, []byte(`"timings"`)) && !bytes.Contains(data, []byte(`"error"`)) &&
		data[0] == '{' && data[len(data)-1] == '}'
}

// onlyNull reports whether every occurrence of the member is followed by null.
func onlyNull(data []byte, member string) bool {
	for {
		_, after, found := bytes.Cut(data, []byte(member))
		if !found {
			return true
		}
		if !bytes.HasPrefix(after, []byte("null")) {
			return false
		}
		data = after
	}
}

// event holds the members of all dialects' events and bodies that matter here.
type event struct {
	Model   string `json:"model"`
	Choices *[]struct {
		FinishReason *string         `json:"finish_reason"`
		Delta        json.RawMessage `json:"delta"`
		Text         string          `json:"text"`
	} `json:"choices"`
	Usage   *usage          `json:"usage"`
	Timings *timings        `json:"timings"`
	Error   json.RawMessage `json:"error"`
	Data    json.RawMessage `json:"data"`

	Type     string `json:"type"`     // Responses and Messages
	Response *event `json:"response"` // Responses
	Status   string `json:"status"`

	Message    *event          `json:"message"` // Messages: message_start
	StopReason string          `json:"stop_reason"`
	Delta      json.RawMessage `json:"delta"`

	InputTokens int64 `json:"input_tokens"` // CountTokens
}

type usage struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Input      int64 `json:"input_tokens"`
	Output     int64 `json:"output_tokens"`
	CacheRead  int64 `json:"cache_read_input_tokens"`
	CacheWrite int64 `json:"cache_creation_input_tokens"`
}

// timings are llama-server's, in every answer even where usage is not.
type timings struct {
	Cache     int64 `json:"cache_n"`
	Prompt    int64 `json:"prompt_n"`
	Predicted int64 `json:"predicted_n"`
}

// reported takes up a failure that an engine reports under status 200.
func (m *Meter) reported(e event, data []byte) bool {
	if len(e.Error) == 0 || string(e.Error) == "null" {
		return false
	}
	m.fail(ParseError(http.StatusBadGateway, data))
	return true
}

// chatEvent reads a chunk or a whole answer of chat and completions.
func (m *Meter) chatEvent(e event, data []byte) (usageOnly bool) {
	if m.reported(e, data) {
		return false
	}
	m.Model = firstOf(e.Model, m.Model)
	if t := e.Timings; t != nil && !m.Usage.Known {
		m.Usage = Usage{t.Cache + t.Prompt, t.Predicted, true, true}
	}
	if u := e.Usage; u != nil {
		m.Usage = Usage{u.Prompt, u.Completion, true, false}
	}
	if e.Choices == nil {
		return false
	}
	for _, c := range *e.Choices {
		if c.FinishReason != nil && *c.FinishReason != "" {
			m.Finish, m.ended = *c.FinishReason, true
		} else {
			m.Deltas++
		}
	}
	return len(*e.Choices) == 0 && e.Usage != nil
}

func (m *Meter) embeddingsBody(e event) {
	m.Model = e.Model
	if u := e.Usage; u != nil {
		m.Usage = Usage{Input: u.Prompt, Known: true}
	}
	if len(e.Error) > 0 && string(e.Error) != "null" {
		m.fail(ParseError(http.StatusBadGateway, mustJSON(map[string]any{"error": e.Error})))
		return
	}
	m.ended = len(e.Data) > 0 && e.Data[0] == '['
}
