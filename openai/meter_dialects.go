package openai

import (
	"encoding/json"
	"net/http"
)

// responsesEvent reads an event of OpenAI's Responses API.
func (m *Meter) responsesEvent(e event, data []byte) {
	switch e.Type {
	case "error":
		m.fail(ParseError(http.StatusBadGateway, data))
	case "response.completed", "response.incomplete", "response.failed":
		if e.Response != nil && !m.reported(*e.Response, mustJSON(map[string]any{"error": e.Response.Error})) {
			m.response(*e.Response)
		}
	case "response.output_text.delta", "response.function_call_arguments.delta",
		"response.reasoning_text.delta", "response.reasoning_summary_text.delta":
		m.Deltas++
	}
}

// response reads the response object: a whole body, or the last event's.
func (m *Meter) response(e event) {
	m.Model, m.Finish = e.Model, e.Status
	if u := e.Usage; u != nil && u.Input.known() {
		m.Usage = Usage{u.Input.count(), u.Output.count(), true, false}
	}
	m.ended = e.Status == "completed" || e.Status == "incomplete"
}

// messagesEvent reads an event of Anthropic's Messages API.
func (m *Meter) messagesEvent(e event) {
	switch e.Type {
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
		m.ended = m.Finish != "" // an end without a reason is none
	}
}

func (m *Meter) messagesBody(e event) {
	m.Model, m.Finish = e.Model, e.StopReason
	m.messagesUsage(e.Usage)
	m.ended = e.StopReason != ""
}

// messagesUsage takes what an event tells. The first event's input may be an
// estimate that the last one corrects; one that says nothing changes nothing.
func (m *Meter) messagesUsage(u *usage) {
	if u == nil || !u.Input.known() && !u.Output.known() {
		return
	}
	m.Usage.Known = true
	if input := u.Input.count() + u.CacheRead.count() + u.CacheWrite.count(); input > 0 {
		m.Usage.Input = input
	}
	if output := u.Output.count(); output > 0 {
		m.Usage.Output = output
	}
}
