package openai

import (
	"encoding/json"
	"net/http"
)

// responsesEvent reads an event of OpenAI's Responses API.
func (m *Meter) responsesEvent(e event) {
	switch e.Type {
	case "error":
		m.fail(&Error{Status: http.StatusBadGateway, Type: "engine_error", Message: "the engine reported an error in the stream"})
	case "response.completed", "response.incomplete", "response.failed":
		if e.Response != nil {
			m.response(*e.Response)
		}
	case "response.output_text.delta", "response.function_call_arguments.delta", "response.reasoning_text.delta":
		m.Deltas++
	}
}

// response reads the response object: a whole body, or the last event's.
func (m *Meter) response(e event) {
	if len(e.Error) > 0 && string(e.Error) != "null" {
		m.fail(ParseError(http.StatusBadGateway, mustJSON(map[string]any{"error": e.Error})))
		return
	}
	m.Model, m.Finish = e.Model, e.Status
	if u := e.Usage; u != nil {
		m.Usage = Usage{u.Input, u.Output, true, false}
	}
	m.ended = e.Status == "completed" || e.Status == "incomplete"
}

// messagesEvent reads an event of Anthropic's Messages API.
func (m *Meter) messagesEvent(e event) {
	switch e.Type {
	case "error":
		m.fail(ParseError(http.StatusBadGateway, mustJSON(map[string]any{"error": e.Error})))
	case "message_start":
		if e.Message != nil {
			m.Model = e.Message.Model
			m.messagesUsage(e.Message.Usage)
		}
	case "content_block_delta":
		m.Deltas++
	case "message_delta":
		var d struct {
			StopReason string `json:"stop_reason"`
		}
		if json.Unmarshal(e.Delta, &d) == nil {
			m.Finish = firstOf(d.StopReason, m.Finish)
		}
		m.messagesUsage(e.Usage)
	case "message_stop":
		m.ended = true
	}
}

func (m *Meter) messagesBody(e event) {
	if e.Type == "error" || len(e.Error) > 0 && string(e.Error) != "null" {
		m.fail(ParseError(http.StatusBadGateway, mustJSON(map[string]any{"error": e.Error})))
		return
	}
	m.Model, m.Finish = e.Model, e.StopReason
	m.messagesUsage(e.Usage)
	m.ended = e.StopReason != ""
}

// messagesUsage takes counts as they grow: input with the first event, output
// with the last.
func (m *Meter) messagesUsage(u *usage) {
	if u == nil {
		return
	}
	m.Usage.Known = true
	m.Usage.Input = max(m.Usage.Input, u.Input+u.CacheRead+u.CacheWrite)
	m.Usage.Output = max(m.Usage.Output, u.Output)
}
