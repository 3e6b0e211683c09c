package anthropic

import (
	"encoding/json"
	"fmt"
	"io"

	"lobstah/openai"
)

// A stream translates a Messages stream into a chat completion's while it is
// read. It is owned by the reader, as an answer's body is; it starts nothing.
type stream struct {
	io.Closer
	events *openai.Scanner
	asked  *request
	head   chatAnswer // id, model and time of every chunk
	usage  usage
	calls  map[int]int // tool calls by the index of their block
	ready  []byte      // translated and not read yet
	done   bool        // the message stopped, or failed
}

func newStream(body io.ReadCloser, asked *request, now int64) *stream {
	return &stream{
		Closer: body, events: openai.NewScanner(body), asked: asked, calls: map[int]int{},
		head: chatAnswer{Object: "chat.completion.chunk", Created: now, Model: asked.Model},
	}
}

// Read returns at most one event's translation. A stream that ends before its
// message does ends with io.ErrUnexpectedEOF.
func (s *stream) Read(p []byte) (int, error) {
	for len(s.ready) == 0 {
		if s.done {
			return 0, io.EOF
		}
		event, err := s.events.Next()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		if len(event.Data) == 0 {
			continue
		}
		if err := s.translate(event.Data); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.ready)
	s.ready = s.ready[n:]
	return n, nil
}

// An event is one of the stream's, whose type says which members it has.
type event struct {
	Type    string `json:"type"`
	Index   int    `json:"index"`
	Message answer `json:"message"`
	Block   block  `json:"content_block"`
	Delta   struct {
		Type       string `json:"type"`
		Text       string `json:"text"`
		Thinking   string `json:"thinking"`
		JSON       string `json:"partial_json"`
		StopReason string `json:"stop_reason"`
	} `json:"delta"`
	Usage *usage `json:"usage"`
}

func (s *stream) translate(data []byte) error {
	var e event
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("reading an event of Anthropic's stream: %w", err)
	}
	switch e.Type {
	case "message_start":
		s.head.ID, s.usage = e.Message.ID, e.Message.Usage
		if e.Message.Model != "" {
			s.head.Model = e.Message.Model
		}
		return s.emit(&said{Role: "assistant", Content: new("")}, "")
	case "content_block_start":
		return s.begin(e)
	case "content_block_delta":
		return s.grow(e)
	case "message_delta":
		return s.finish(e)
	case "message_stop":
		return s.end()
	case "error":
		s.done = true
		s.ready = openai.ParseError(502, data).Event(openai.Chat)
	}
	return nil // ping, content_block_stop and what is to come
}

func (s *stream) begin(e event) error {
	switch {
	case e.Block.Type == "text" && e.Block.Text != "":
		return s.emit(&said{Content: &e.Block.Text}, "")
	case e.Block.Type != "tool_use" || s.asked.structured:
		return nil
	}
	n := len(s.calls)
	s.calls[e.Index] = n
	call := toolCall{Index: &n, ID: e.Block.ID, Type: "function", Function: function{Name: e.Block.Name}}
	return s.emit(&said{ToolCalls: []toolCall{call}}, "")
}

func (s *stream) grow(e event) error {
	switch d := e.Delta; {
	case d.Type == "text_delta":
		return s.emit(&said{Content: &d.Text}, "")
	case d.Type == "thinking_delta":
		return s.emit(&said{Reasoning: d.Thinking}, "")
	case d.Type != "input_json_delta" || d.JSON == "":
		return nil // signatures, citations, an empty beginning
	case s.asked.structured:
		return s.emit(&said{Content: &d.JSON}, "")
	}
	n, known := s.calls[e.Index]
	if !known {
		return nil // input of a tool that the service runs itself
	}
	call := toolCall{Index: &n, Function: function{Arguments: e.Delta.JSON}}
	return s.emit(&said{ToolCalls: []toolCall{call}}, "")
}

func (s *stream) finish(e event) error {
	if e.Usage != nil {
		s.usage.Output = e.Usage.Output
		if e.Usage.Input > 0 {
			s.usage.Input, s.usage.CacheRead, s.usage.CacheWrite = e.Usage.Input, e.Usage.CacheRead, e.Usage.CacheWrite
		}
	}
	if e.Delta.StopReason == "" {
		return nil
	}
	return s.emit(&said{}, finishReason(e.Delta.StopReason, s.asked.structured))
}

func (s *stream) end() error {
	s.done = true
	if s.asked.usage {
		last := s.head
		last.Choices, last.Usage = []chatChoice{}, s.usage.chat()
		if err := s.write(last); err != nil {
			return err
		}
	}
	s.ready = append(s.ready, "data: "+openai.Done+"\n\n"...)
	return nil
}

func (s *stream) emit(delta *said, finish string) error {
	chunk := s.head
	chunk.Choices = []chatChoice{{Delta: delta}}
	if finish != "" {
		chunk.Choices[0].Finish = &finish
	}
	return s.write(chunk)
}

func (s *stream) write(chunk chatAnswer) error {
	raw, err := json.Marshal(chunk)
	if err != nil {
		return fmt.Errorf("encoding a chunk: %w", err)
	}
	s.ready = fmt.Appendf(s.ready[:0], "data: %s\n\n", raw)
	return nil
}
