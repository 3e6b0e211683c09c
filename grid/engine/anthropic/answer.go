package anthropic

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// An answer is what POST /v1/messages returns.
type answer struct {
	Type       string  `json:"type"`
	ID         string  `json:"id"`
	Model      string  `json:"model"`
	Content    []block `json:"content"`
	StopReason string  `json:"stop_reason"`
	Usage      usage   `json:"usage"`
}

type usage struct {
	Input      int64 `json:"input_tokens"`
	Output     int64 `json:"output_tokens"`
	CacheRead  int64 `json:"cache_read_input_tokens"`
	CacheWrite int64 `json:"cache_creation_input_tokens"`
}

// A chatAnswer is a chat.completion, or one of its chunks.
type chatAnswer struct {
	ID      string       `json:"id"`
	Object  string       `json:"object"`
	Created int64        `json:"created"` // Unix seconds
	Model   string       `json:"model"`
	Choices []chatChoice `json:"choices"`
	Usage   *chatUsage   `json:"usage,omitempty"`
}

type chatChoice struct {
	Index   int     `json:"index"`
	Message *said   `json:"message,omitempty"`
	Delta   *said   `json:"delta,omitempty"`
	Finish  *string `json:"finish_reason"`
}

// A said is a message, or what a chunk adds to it.
type said struct {
	Role      string     `json:"role,omitempty"`
	Content   *string    `json:"content,omitempty"`
	Reasoning string     `json:"reasoning_content,omitempty"`
	ToolCalls []toolCall `json:"tool_calls,omitempty"`
}

type chatUsage struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Total      int64 `json:"total_tokens"`
	Details    struct {
		Cached int64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

// whole translates an answer that did not stream.
func whole(raw []byte, asked *request, now int64) ([]byte, error) {
	var in answer
	if len(raw) > maxWhole {
		return nil, fmt.Errorf("the answer of Anthropic is larger than %d MiB", maxWhole>>20)
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("reading Anthropic's answer: %w", err)
	}
	if in.Type != "message" || in.StopReason == "" {
		return nil, errors.New("the answer of Anthropic is no finished message")
	}
	finish := finishReason(in.StopReason, asked.structured)
	out := chatAnswer{ID: in.ID, Object: "chat.completion", Created: now, Model: in.Model, Usage: in.Usage.chat()}
	out.Choices = []chatChoice{{Message: in.said(asked.structured), Finish: &finish}}
	return json.Marshal(out)
}

func (a *answer) said(structured bool) *said {
	m := &said{Role: "assistant"}
	var text, thought strings.Builder
	for _, b := range a.Content {
		switch {
		case b.Type == "text":
			text.WriteString(b.Text)
		case b.Type == "thinking":
			thought.WriteString(b.Thinking)
		case b.Type == "tool_use" && structured:
			text.Write(b.Input)
		case b.Type == "tool_use":
			m.ToolCalls = append(m.ToolCalls, toolCall{ID: b.ID, Type: "function", Function: function{b.Name, string(b.Input)}})
		}
	}
	m.Content, m.Reasoning = new(text.String()), thought.String()
	return m
}

func (u usage) chat() *chatUsage {
	c := &chatUsage{Prompt: u.Input + u.CacheRead + u.CacheWrite, Completion: u.Output}
	c.Total = c.Prompt + c.Completion
	c.Details.Cached = u.CacheRead
	return c
}

// finishReason tells in OpenAI's words why an answer ended. A structured
// answer's tool is of our making, so its call is a plain end.
func finishReason(reason string, structured bool) string {
	switch reason {
	case "max_tokens", "model_context_window_exceeded":
		return "length"
	case "refusal":
		return "content_filter"
	case "tool_use":
		if !structured {
			return "tool_calls"
		}
	}
	return "stop"
}
