package openai

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
)

// event holds the members of all dialects' events and bodies that matter here.
type event struct {
	Model   string          `json:"model"`
	Choices *[]choice       `json:"choices"`
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

	InputTokens *tokens `json:"input_tokens"` // CountTokens
}

type choice struct {
	Index        int                        `json:"index"`
	FinishReason *string                    `json:"finish_reason"`
	Delta        map[string]json.RawMessage `json:"delta"`
	Text         string                     `json:"text"`
}

type usage struct {
	Prompt     *tokens `json:"prompt_tokens"`
	Completion *tokens `json:"completion_tokens"`
	Input      *tokens `json:"input_tokens"`
	Output     *tokens `json:"output_tokens"`
	CacheRead  *tokens `json:"cache_read_input_tokens"`
	CacheWrite *tokens `json:"cache_creation_input_tokens"`
}

// timings are llama-server's, in every answer even where usage is not.
type timings struct {
	Cache     *tokens `json:"cache_n"`
	Prompt    *tokens `json:"prompt_n"`
	Predicted *tokens `json:"predicted_n"`
}

// tokens is a count as engines write it. What cannot be a count is nonsense.
type tokens int64

const nonsense tokens = -1

// UnmarshalJSON takes whole numbers however they are written (7, 7.0, 7e0).
func (t *tokens) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseFloat(string(text), 64)
	if err != nil || n < 0 || n > 1<<40 || n != math.Trunc(n) {
		*t = nonsense
		return nil
	}
	*t = tokens(n)
	return nil
}

func (t *tokens) count() int64 {
	if !t.known() {
		return 0
	}
	return int64(*t)
}

// known reports whether the engine told a count.
func (t *tokens) known() bool { return t != nil && *t != nonsense }

// reported takes up a failure that an engine reports under status 200, in any
// dialect.
func (m *Meter) reported(e event, data []byte) bool {
	if len(e.Error) == 0 || string(e.Error) == "null" {
		return false
	}
	m.fail(ParseError(http.StatusBadGateway, data))
	return true
}

// output reports whether a chunk carries something that the model made: more
// than a role, a finish reason or empty members.
func (e event) output() bool {
	if e.Choices == nil {
		return false
	}
	for _, c := range *e.Choices {
		if c.Text != "" {
			return true
		}
		for name, value := range c.Delta {
			if name != "role" && !empty(value) {
				return true
			}
		}
	}
	return false
}

func empty(value json.RawMessage) bool {
	switch string(bytes.TrimSpace(value)) {
	case "null", `""`, "[]", "{}":
		return true
	}
	return false
}

// chat reads a chunk or a whole answer of chat and completions.
func (m *Meter) chat(e event) (usageOnly bool) {
	m.Model = firstOf(e.Model, m.Model)
	if t := e.Timings; t != nil && t.Predicted.known() && (!m.Usage.Known || m.Usage.Timings) {
		m.Usage = Usage{t.Cache.count() + t.Prompt.count(), t.Predicted.count(), true, true}
	}
	if u := e.Usage; u != nil && u.Prompt.known() {
		m.Usage = Usage{u.Prompt.count(), u.Completion.count(), true, false}
	}
	if e.Choices == nil {
		return false
	}
	for _, c := range *e.Choices {
		m.choice(c)
	}
	return len(*e.Choices) == 0 && e.Usage != nil
}

// choice notes that a choice began or finished. Indexes that no engine uses
// count as the last one.
func (m *Meter) choice(c choice) {
	bit := uint64(1) << min(max(c.Index, 0), 63)
	m.seen |= bit
	if c.FinishReason != nil && *c.FinishReason != "" {
		m.Finish = *c.FinishReason
		m.done |= bit
	}
}

func (m *Meter) embeddingsBody(e event) {
	m.Model = e.Model
	if u := e.Usage; u != nil && u.Prompt.known() {
		m.Usage = Usage{Input: u.Prompt.count(), Known: true}
	}
	m.ended = len(e.Data) > 0 && e.Data[0] == '['
}
