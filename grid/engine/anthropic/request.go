package anthropic

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strings"

	"lobstah/openai"
)

// defaultTokens is asked for where the client sets no limit: OpenAI's API needs
// none, Anthropic's does.
const defaultTokens = 8192

// answerTool is the tool that a structured answer is made through: the service
// keeps to a tool's schema, so its input is the answer.
const answerTool = "structured_answer"

// A request is the body of POST /v1/messages, as far as it is made here.
type request struct {
	Model       string          `json:"model"`
	MaxTokens   int             `json:"max_tokens"`
	System      string          `json:"system,omitempty"`
	Messages    []message       `json:"messages"`
	Stream      bool            `json:"stream,omitempty"`
	Temperature *float64        `json:"temperature,omitempty"`
	TopP        *float64        `json:"top_p,omitempty"`
	TopK        *int            `json:"top_k,omitempty"`
	Stop        []string        `json:"stop_sequences,omitempty"`
	Tools       []tool          `json:"tools,omitempty"`
	ToolChoice  *choice         `json:"tool_choice,omitempty"`
	Thinking    json.RawMessage `json:"thinking,omitempty"`
	Metadata    *metadata       `json:"metadata,omitempty"`

	structured bool // the answer is the input of answerTool
	usage      bool // a stream ends with its usage
}

type message struct {
	Role    string  `json:"role"`
	Content []block `json:"content"`
}

// A block is a piece of content, in requests and answers.
type block struct {
	Type      string          `json:"type"`
	Text      string          `json:"text,omitempty"`
	Thinking  string          `json:"thinking,omitempty"`
	Source    *source         `json:"source,omitempty"`      // image, document
	ID        string          `json:"id,omitempty"`          // tool_use
	Name      string          `json:"name,omitempty"`        // tool_use
	Input     json.RawMessage `json:"input,omitempty"`       // tool_use
	ToolUseID string          `json:"tool_use_id,omitempty"` // tool_result
	Content   []block         `json:"content,omitempty"`     // tool_result
}

type source struct {
	Type      string `json:"type"` // base64 or url
	MediaType string `json:"media_type,omitempty"`
	Data      string `json:"data,omitempty"`
	URL       string `json:"url,omitempty"`
}

type tool struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	InputSchema json.RawMessage `json:"input_schema"`
}

type choice struct {
	Type            string `json:"type"`
	Name            string `json:"name,omitempty"`
	DisableParallel bool   `json:"disable_parallel_tool_use,omitempty"`
}

type metadata struct {
	UserID string `json:"user_id"`
}

// A completion is the body of POST /v1/chat/completions. Members that only hint
// (seed, penalties, service tier) are left behind.
type completion struct {
	Model         string          `json:"model"`
	Messages      []chatMessage   `json:"messages"`
	Stream        bool            `json:"stream"`
	MaxTokens     int             `json:"max_tokens"`
	MaxCompletion int             `json:"max_completion_tokens"`
	Temperature   *float64        `json:"temperature"`
	TopP          *float64        `json:"top_p"`
	TopK          *int            `json:"top_k"`
	Stop          json.RawMessage `json:"stop"`
	N             int             `json:"n"`
	Logprobs      bool            `json:"logprobs"`
	User          string          `json:"user"`
	Thinking      json.RawMessage `json:"thinking"`
	Modalities    []string        `json:"modalities"`
	Tools         []chatTool      `json:"tools"`
	ToolChoice    json.RawMessage `json:"tool_choice"`
	Parallel      *bool           `json:"parallel_tool_calls"`
	Format        *format         `json:"response_format"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

type chatTool struct {
	Type     string `json:"type"`
	Function struct {
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Parameters  json.RawMessage `json:"parameters"`
	} `json:"function"`
}

type format struct {
	Type   string `json:"type"`
	Schema struct {
		Description string          `json:"description"`
		Schema      json.RawMessage `json:"schema"`
	} `json:"json_schema"`
}

// translate makes Anthropic's request of OpenAI's.
func translate(body []byte) (*request, *openai.Error) {
	var in completion
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, openai.BadRequest("", "the request cannot be read: %v", err)
	}
	if err := in.unsupported(); err != nil {
		return nil, err
	}
	out := &request{
		Model: in.Model, Stream: in.Stream, usage: in.StreamOptions.IncludeUsage,
		MaxTokens: cmp.Or(in.MaxCompletion, in.MaxTokens, defaultTokens),
		TopP:      in.TopP, TopK: in.TopK, Thinking: in.Thinking,
	}
	if in.Temperature != nil {
		out.Temperature = new(min(*in.Temperature, 1)) // OpenAI's scale goes to 2
	}
	if in.User != "" {
		out.Metadata = &metadata{in.User}
	}
	var failure *openai.Error
	if out.Stop, failure = stops(in.Stop); failure != nil {
		return nil, failure
	}
	if failure = out.addTools(&in); failure != nil {
		return nil, failure
	}
	if failure = out.addMessages(in.Messages); failure != nil {
		return nil, failure
	}
	return out, out.shape(in.Format)
}

func (c *completion) unsupported() *openai.Error {
	switch {
	case c.N > 1:
		return openai.BadRequest("n", "Anthropic's models give one choice; ask n times")
	case c.Logprobs:
		return openai.BadRequest("logprobs", "Anthropic's models tell no log probabilities")
	case len(c.Modalities) > 1 || len(c.Modalities) == 1 && c.Modalities[0] != "text":
		return openai.BadRequest("modalities", "Anthropic's models answer with text only")
	}
	return nil
}

func stops(raw json.RawMessage) ([]string, *openai.Error) {
	if isNull(raw) {
		return nil, nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, nil
	}
	var list []string
	if json.Unmarshal(raw, &list) != nil {
		return nil, openai.BadRequest("stop", "want a string or an array of strings")
	}
	return list, nil
}

func (r *request) addTools(in *completion) *openai.Error {
	for i, t := range in.Tools {
		if t.Type != "function" {
			return openai.BadRequest("tools", "tools[%d]: a tool of type %.40q cannot be carried over; want function", i, t.Type)
		}
		f := t.Function
		if isNull(f.Parameters) {
			f.Parameters = json.RawMessage(`{"type":"object","properties":{}}`)
		}
		r.Tools = append(r.Tools, tool{f.Name, f.Description, f.Parameters})
	}
	chosen, failure := toolChoice(in.ToolChoice)
	if failure != nil {
		return failure
	}
	if in.Parallel != nil && !*in.Parallel && len(r.Tools) > 0 && (chosen == nil || chosen.Type != "none") {
		if chosen == nil {
			chosen = &choice{Type: "auto"}
		}
		chosen.DisableParallel = true
	}
	r.ToolChoice = chosen
	return nil
}

func toolChoice(raw json.RawMessage) (*choice, *openai.Error) {
	if isNull(raw) {
		return nil, nil
	}
	var word string
	if json.Unmarshal(raw, &word) == nil {
		kind, ok := map[string]string{"auto": "auto", "none": "none", "required": "any"}[word]
		if !ok {
			return nil, openai.BadRequest("tool_choice", "want auto, none, required or a function")
		}
		return &choice{Type: kind}, nil
	}
	var named struct {
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if json.Unmarshal(raw, &named) != nil || named.Function.Name == "" {
		return nil, openai.BadRequest("tool_choice", "want auto, none, required or a function")
	}
	return &choice{Type: "tool", Name: named.Function.Name}, nil
}

// shape asks for an answer in the form that the client wants.
func (r *request) shape(f *format) *openai.Error {
	switch {
	case f == nil || f.Type == "text" || f.Type == "":
	case f.Type == "json_object":
		r.addSystem("Answer with one JSON object and nothing else, no code fence.")
	case f.Type != "json_schema":
		return openai.BadRequest("response_format", "want text, json_object or json_schema")
	case isNull(f.Schema.Schema):
		return openai.BadRequest("response_format", "json_schema has no schema")
	case len(r.Tools) > 0:
		return openai.BadRequest("response_format", "a json_schema together with tools cannot be carried over to Anthropic's API")
	default:
		r.structured = true
		description := cmp.Or(f.Schema.Description, "Give the answer.")
		r.Tools = []tool{{answerTool, description, f.Schema.Schema}}
		r.ToolChoice = &choice{Type: "tool", Name: answerTool}
	}
	return nil
}

func (r *request) addSystem(text string) {
	r.System = strings.TrimPrefix(r.System+"\n\n"+text, "\n\n")
}

func isNull(raw json.RawMessage) bool {
	return len(raw) == 0 || bytes.Equal(raw, []byte("null"))
}
