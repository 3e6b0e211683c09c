package gguf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"

	"lobstah/openai"
)

const (
	maxStops    = 16
	maxStopText = 1024 // bytes
	maxBiases   = 1024
)

// request is the body of a chat or a completion. Members that would change the
// answer and are not supported are read to be refused; all others are ignored.
type request struct {
	Model    string          `json:"model"`
	Messages []wireMessage   `json:"messages"`
	Prompt   json.RawMessage `json:"prompt"`

	MaxTokens           *int               `json:"max_tokens"`
	MaxCompletionTokens *int               `json:"max_completion_tokens"`
	Temperature         *float64           `json:"temperature"`
	TopP                *float64           `json:"top_p"`
	TopK                int                `json:"top_k"`
	FrequencyPenalty    float64            `json:"frequency_penalty"`
	PresencePenalty     float64            `json:"presence_penalty"`
	LogitBias           map[string]float64 `json:"logit_bias"`
	Seed                *int64             `json:"seed"`
	Stop                stopTexts          `json:"stop"`
	IgnoreEOS           bool               `json:"ignore_eos"` // llama-server's: go on after the answer's end

	Stream        bool `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`

	N              *int              `json:"n"`
	BestOf         *int              `json:"best_of"`
	Tools          []json.RawMessage `json:"tools"`
	ToolChoice     json.RawMessage   `json:"tool_choice"`
	Functions      []json.RawMessage `json:"functions"`
	ResponseFormat struct {
		Type string `json:"type"`
	} `json:"response_format"`
	Grammar  string          `json:"grammar"`
	Logprobs json.RawMessage `json:"logprobs"`
	Echo     bool            `json:"echo"`
	Suffix   string          `json:"suffix"`
}

// stopTexts is a string or an array of strings.
type stopTexts []string

func (s *stopTexts) UnmarshalJSON(data []byte) error {
	var list []string
	if len(data) > 0 && data[0] == '"' {
		list = make([]string, 1)
		if err := json.Unmarshal(data, &list[0]); err != nil {
			return err
		}
	} else if json.Unmarshal(data, &list) != nil {
		return openai.BadRequest("stop", "stop: want a string or an array of strings")
	}
	for _, text := range list {
		if text != "" {
			*s = append(*s, text)
		}
	}
	return nil
}

// wireMessage is a message whose content is a string, null, or parts of text.
type wireMessage struct {
	Role      string            `json:"role"`
	Content   json.RawMessage   `json:"content"`
	ToolCalls []json.RawMessage `json:"tool_calls"`
}

func (m wireMessage) text(index int) (string, error) {
	param := fmt.Sprintf("messages[%d].content", index)
	if len(m.ToolCalls) > 0 {
		return "", openai.BadRequest(fmt.Sprintf("messages[%d].tool_calls", index), "the embedded engine does not know tools")
	}
	if isNull(m.Content) {
		return "", nil
	}
	var text string
	if json.Unmarshal(m.Content, &text) == nil {
		return text, nil
	}
	var parts []struct{ Type, Text string }
	if json.Unmarshal(m.Content, &parts) != nil {
		return "", openai.BadRequest(param, "%s: want a string or an array of text parts", param)
	}
	var all strings.Builder
	for _, part := range parts {
		if part.Type != "text" {
			return "", openai.BadRequest(param, "%s: the embedded engine reads text only, not %.40q", param, part.Type)
		}
		all.WriteString(part.Text)
	}
	return all.String(), nil
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || bytes.Equal(raw, []byte("null")) }

// conversation is the messages in the roles that templates know.
func (r *request) conversation() ([]message, error) {
	if len(r.Messages) == 0 {
		return nil, openai.BadRequest("messages", "messages: want at least one")
	}
	out := make([]message, len(r.Messages))
	for i, m := range r.Messages {
		text, err := m.text(i)
		if err != nil {
			return nil, err
		}
		if m.Role == "developer" {
			m.Role = "system" // OpenAI's newer name for it
		}
		out[i] = message{m.Role, text}
	}
	return out, nil
}

// check refuses what would change the answer but is not supported: to ignore it
// would deceive.
func (r *request) check() error {
	toolsOff := string(r.ToolChoice) == `"none"`
	logprobs := !isNull(r.Logprobs) && string(r.Logprobs) != "false"
	for _, refused := range []struct {
		param string
		asked bool
	}{
		{"n", r.N != nil && *r.N != 1},
		{"best_of", r.BestOf != nil && *r.BestOf != 1},
		{"tools", len(r.Tools) > 0 && !toolsOff},
		{"functions", len(r.Functions) > 0},
		{"response_format", r.ResponseFormat.Type != "" && r.ResponseFormat.Type != "text"},
		{"grammar", r.Grammar != ""},
		{"logprobs", logprobs},
		{"echo", r.Echo},
		{"suffix", r.Suffix != ""},
	} {
		if refused.asked {
			return openai.BadRequest(refused.param, "%s: the embedded engine does not support this value; leave it out, or use a larger engine such as llama-server", refused.param)
		}
	}
	return nil
}

// order is what the request asks for, less the prompt. room is how many tokens the
// context has left for the answer.
func (r *request) order(prompt []int, room int) (order, error) {
	o := order{prompt: prompt, most: room, stops: r.Stop, endless: r.IgnoreEOS}
	for _, limit := range []*int{r.MaxTokens, r.MaxCompletionTokens} {
		if limit != nil && *limit < 1 {
			return o, openai.BadRequest("max_tokens", "max_tokens: want 1 or more")
		}
		if limit != nil {
			o.most = min(o.most, *limit)
		}
	}
	if len(r.Stop) > maxStops {
		return o, openai.BadRequest("stop", "stop: want at most %d texts", maxStops)
	}
	for _, text := range r.Stop {
		if len(text) > maxStopText {
			return o, openai.BadRequest("stop", "stop: want texts of at most %d bytes", maxStopText)
		}
	}
	var err error
	o.sampling, err = r.sampling()
	return o, err
}

func (r *request) sampling() (sampling, error) {
	s := sampling{
		temperature: 1, topP: 1, topK: r.TopK, seed: rand.Uint64(),
		frequencyPenalty: r.FrequencyPenalty, presencePenalty: r.PresencePenalty,
	}
	if r.Temperature != nil {
		s.temperature = *r.Temperature
	}
	if r.TopP != nil {
		s.topP = *r.TopP
	}
	if r.Seed != nil {
		s.seed = uint64(*r.Seed)
	}
	for _, number := range []struct {
		param              string
		value, least, most float64
	}{
		{"temperature", s.temperature, 0, 100},
		{"top_p", s.topP, 0, 1},
		{"top_k", float64(s.topK), 0, 1 << 30},
		{"frequency_penalty", s.frequencyPenalty, -2, 2},
		{"presence_penalty", s.presencePenalty, -2, 2},
	} {
		if number.value < number.least || number.value > number.most {
			return s, openai.BadRequest(number.param, "%s: want a number from %v to %v", number.param, number.least, number.most)
		}
	}
	return s, r.readBias(&s)
}

func (r *request) readBias(s *sampling) error {
	if len(r.LogitBias) == 0 {
		return nil
	}
	if len(r.LogitBias) > maxBiases {
		return openai.BadRequest("logit_bias", "logit_bias: want at most %d tokens", maxBiases)
	}
	s.bias = make(map[int]float64, len(r.LogitBias))
	for name, bias := range r.LogitBias {
		token, err := strconv.Atoi(name)
		if err != nil || token < 0 || bias < -100 || bias > 100 {
			return openai.BadRequest("logit_bias", "logit_bias: want token ids with numbers from -100 to 100, not %.20q: %v", name, bias)
		}
		s.bias[token] = bias
	}
	return nil
}

// promptOf reads a completion's prompt: a string, tokens, or an array of one of
// either.
func (h *Handler) promptOf(raw json.RawMessage) ([]int, error) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil && len(list) == 1 && (list[0][0] == '"' || list[0][0] == '[') {
		raw = list[0]
	}
	var text string
	if !isNull(raw) && json.Unmarshal(raw, &text) == nil {
		return h.encode(plain(text, false))
	}
	var tokens []int
	if json.Unmarshal(raw, &tokens) != nil || len(tokens) == 0 {
		return nil, openai.BadRequest("prompt", "prompt: want a string or an array of tokens, and one of them only")
	}
	for _, token := range tokens {
		if token < 0 || token >= h.model.config.vocabulary {
			return nil, openai.BadRequest("prompt", "prompt: there is no token %d", token)
		}
	}
	return tokens, h.fits(len(tokens))
}

// encode tokenizes a prompt. One that is certainly too long is refused before that.
func (h *Handler) encode(p *passage) ([]int, error) {
	if err := h.fits(h.model.tokens.atLeast(p)); err != nil {
		return nil, err
	}
	tokens := h.model.tokens.encode(p)
	if len(tokens) == 0 {
		return nil, openai.BadRequest("prompt", "the prompt is empty")
	}
	return tokens, h.fits(len(tokens))
}

// fits refuses a prompt that leaves no room for a token of the answer.
func (h *Handler) fits(tokens int) error {
	if tokens < h.context {
		return nil
	}
	return &openai.Error{
		Status: http.StatusBadRequest, Type: "invalid_request_error", Code: "context_length_exceeded", Param: "messages",
		Message: fmt.Sprintf("the prompt has %d tokens or more, the context %d, and the answer needs one at least; shorten the prompt", tokens, h.context),
		Extra:   map[string]any{"n_prompt_tokens": tokens, "n_ctx": h.context},
	}
}
