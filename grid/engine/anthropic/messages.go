package anthropic

import (
	"encoding/json"
	"strings"

	"lobstah/openai"
)

// A chatMessage is a message of a chat completion's request.
type chatMessage struct {
	Role       string          `json:"role"`
	Content    json.RawMessage `json:"content"`
	Refusal    string          `json:"refusal"`
	ToolCalls  []toolCall      `json:"tool_calls"`
	ToolCallID string          `json:"tool_call_id"`
}

type toolCall struct {
	Index    *int     `json:"index,omitempty"` // in streams
	ID       string   `json:"id,omitempty"`
	Type     string   `json:"type,omitempty"`
	Function function `json:"function"`
}

type function struct {
	Name      string `json:"name,omitempty"`
	Arguments string `json:"arguments"` // JSON
}

// A part is a piece of a message's content.
type part struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Refusal  string `json:"refusal"`
	ImageURL struct {
		URL string `json:"url"`
	} `json:"image_url"`
	File struct {
		Data string `json:"file_data"`
	} `json:"file"`
}

// addMessages carries the conversation over: system texts gather at its head,
// tools' results become the user's, and what one side says in a row becomes one
// message, as Anthropic's API wants results right after the calls.
func (r *request) addMessages(list []chatMessage) *openai.Error {
	for i, m := range list {
		blocks, err := m.blocks(i)
		if err != nil {
			return err
		}
		switch m.Role {
		case "system", "developer":
			for _, b := range blocks {
				r.addSystem(b.Text)
			}
		case "user":
			r.add("user", blocks)
		case "assistant":
			r.add("assistant", blocks)
		case "tool", "function":
			r.add("user", []block{{Type: "tool_result", ToolUseID: m.ToolCallID, Content: blocks}})
		default:
			return openai.BadRequest("messages", "messages[%d]: unknown role %.40q", i, m.Role)
		}
	}
	return nil
}

func (r *request) add(role string, blocks []block) {
	if len(blocks) == 0 {
		return
	}
	if last := len(r.Messages) - 1; last >= 0 && r.Messages[last].Role == role {
		r.Messages[last].Content = append(r.Messages[last].Content, blocks...)
		return
	}
	r.Messages = append(r.Messages, message{role, blocks})
}

// blocks are the message's content and calls. Empty texts, which Anthropic's API
// refuses, are left out.
func (m *chatMessage) blocks(at int) ([]block, *openai.Error) {
	blocks, err := content(m.Content, at)
	if err != nil {
		return nil, err
	}
	if m.Refusal != "" {
		blocks = append(blocks, block{Type: "text", Text: m.Refusal})
	}
	for _, call := range m.ToolCalls {
		input := json.RawMessage(call.Function.Arguments)
		if strings.TrimSpace(call.Function.Arguments) == "" {
			input = json.RawMessage("{}")
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(input, &object) != nil || object == nil {
			return nil, openai.BadRequest("messages", "messages[%d]: the arguments of the call %.80q are no JSON object", at, call.ID)
		}
		blocks = append(blocks, block{Type: "tool_use", ID: call.ID, Name: call.Function.Name, Input: input})
	}
	return blocks, nil
}

func content(raw json.RawMessage, at int) ([]block, *openai.Error) {
	if isNull(raw) {
		return nil, nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return appendText(nil, text), nil
	}
	var parts []part
	if json.Unmarshal(raw, &parts) != nil {
		return nil, openai.BadRequest("messages", "messages[%d].content: want a string or an array of parts", at)
	}
	var blocks []block
	for _, p := range parts {
		switch p.Type {
		case "text", "refusal":
			blocks = appendText(blocks, p.Text+p.Refusal)
		case "image_url":
			blocks = append(blocks, block{Type: "image", Source: sourceOf(p.ImageURL.URL)})
		case "file":
			blocks = append(blocks, block{Type: "document", Source: sourceOf(p.File.Data)})
		default:
			return nil, openai.BadRequest("messages", "messages[%d].content: a part of type %.40q cannot be carried over", at, p.Type)
		}
		if last := len(blocks) - 1; last >= 0 && blocks[last].Type != "text" && blocks[last].Source == nil {
			return nil, openai.BadRequest("messages", "messages[%d].content: want a data: URL in base64 or an https: one", at)
		}
	}
	return blocks, nil
}

func appendText(blocks []block, text string) []block {
	if text == "" {
		return blocks
	}
	return append(blocks, block{Type: "text", Text: text})
}

// sourceOf reads a data: URL (RFC 2397) or takes a web address; nil for others.
func sourceOf(url string) *source {
	if strings.HasPrefix(url, "https://") || strings.HasPrefix(url, "http://") {
		return &source{Type: "url", URL: url}
	}
	head, data, found := strings.Cut(strings.TrimPrefix(url, "data:"), ",")
	media, base64 := strings.CutSuffix(head, ";base64")
	if !strings.HasPrefix(url, "data:") || !found || !base64 {
		return nil
	}
	media, _, _ = strings.Cut(media, ";")
	return &source{Type: "base64", MediaType: media, Data: data}
}
