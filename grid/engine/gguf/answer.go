package gguf

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"lobstah/openai"
)

// envelope is an answer or one event of a stream, of a chat or a completion.
type envelope struct {
	ID      string   `json:"id"`
	Object  string   `json:"object"`
	Created int64    `json:"created"` // Unix seconds
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   *usage   `json:"usage,omitempty"`
}

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
	Details    struct {
		Cached int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

func usageOf(prompt int, o outcome) *usage {
	u := &usage{Prompt: prompt, Completion: o.tokens, Total: prompt + o.tokens}
	u.Details.Cached = o.cached
	return u
}

// choice has a message in a chat's answer, a delta in its stream, and a text in a
// completion.
type choice struct {
	Index   int     `json:"index"`
	Message *speech `json:"message,omitempty"`
	Delta   *speech `json:"delta,omitempty"`
	Text    *string `json:"text,omitempty"`
	Finish  *string `json:"finish_reason"`
}

type speech struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

// dialect is what differs between chats and completions.
type dialect struct {
	prefix, whole, chunk string // of the id; names of objects
	answer               func(text string) choice
	piece                func(text string) choice
	first, last          choice // of a stream; first is left out when it is empty
}

var chatDialect = dialect{
	prefix: "chatcmpl-", whole: "chat.completion", chunk: "chat.completion.chunk",
	answer: func(text string) choice { return choice{Message: &speech{"assistant", &text}} },
	piece:  func(text string) choice { return choice{Delta: &speech{Content: &text}} },
	first:  choice{Delta: &speech{"assistant", new("")}},
	last:   choice{Delta: &speech{}},
}

var completionDialect = dialect{
	prefix: "cmpl-", whole: "text_completion", chunk: "text_completion",
	answer: func(text string) choice { return choice{Text: &text} },
	piece:  func(text string) choice { return choice{Text: &text} },
	last:   choice{Text: new("")},
}

func (h *Handler) chat(w http.ResponseWriter, r *http.Request) error {
	req, err := h.receive(w, r)
	if err != nil {
		return err
	}
	if h.model.template == nil {
		return openai.BadRequest("messages", "the model's chat template is none that the embedded engine knows; use /v1/completions, or serve the file with llama-server")
	}
	messages, err := req.conversation()
	if err != nil {
		return err
	}
	p, err := h.model.template.apply(messages)
	if err != nil {
		return openai.BadRequest("messages", "%v", err)
	}
	prompt, err := h.encode(p)
	if err != nil {
		return err
	}
	return h.answer(w, r, req, prompt, chatDialect)
}

func (h *Handler) complete(w http.ResponseWriter, r *http.Request) error {
	req, err := h.receive(w, r)
	if err != nil {
		return err
	}
	prompt, err := h.promptOf(req.Prompt)
	if err != nil {
		return err
	}
	return h.answer(w, r, req, prompt, completionDialect)
}

// receive reads and checks the body of a chat or completion.
func (h *Handler) receive(w http.ResponseWriter, r *http.Request) (*request, error) {
	req := &request{}
	if err := receive(w, r, req); err != nil {
		return nil, err
	}
	if err := h.named(req.Model); err != nil {
		return nil, err
	}
	if h.model.config.pooled {
		return nil, openai.BadRequest("model", "%s is an embedding model: use /v1/embeddings", h.model.id)
	}
	return req, req.check()
}

// answer makes the answer to prompt and sends it as the request wants it.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, req *request, prompt []int, d dialect) error {
	o, err := req.order(prompt, h.context-len(prompt))
	if err != nil {
		return err
	}
	head := envelope{ID: d.prefix + rand.Text(), Object: d.whole, Created: time.Now().Unix(), Model: h.model.id}
	if req.Stream {
		head.Object = d.chunk
		return h.stream(w, r, req, o, d, head)
	}
	var text strings.Builder
	out, err := h.run(r.Context(), o, func(piece string) error {
		text.WriteString(piece)
		return nil
	})
	if err != nil {
		return stopped(err)
	}
	whole := d.answer(text.String())
	whole.Finish = &out.finish
	head.Choices, head.Usage = []choice{whole}, usageOf(len(prompt), out)
	return reply(w, head)
}

// stopped is what a client is told of an answer that was broken off. Nearly always
// the client itself did so, by leaving; else the server stops.
func stopped(err error) *openai.Error {
	if e, ok := errors.AsType[*openai.Error](err); ok {
		return e
	}
	if errors.Is(err, errNotFinite) {
		return &openai.Error{Status: http.StatusInternalServerError, Type: "server_error", Message: err.Error()}
	}
	return &openai.Error{Status: http.StatusServiceUnavailable, Type: "server_error",
		Message: fmt.Sprintf("the embedded engine stopped before the answer was complete: %v", err)}
}

// run waits for a slot and makes an answer in it.
func (h *Handler) run(ctx context.Context, o order, say func(string) error) (outcome, error) {
	s, err := h.slot(ctx, o.prompt)
	if err != nil {
		return outcome{}, err
	}
	defer h.slots.put(s)
	return s.answer(ctx, o, say)
}

func (h *Handler) slot(ctx context.Context, prompt []int) (*session, error) {
	s, err := h.slots.take(ctx, prompt)
	if errors.Is(err, errQueueFull) {
		return nil, &openai.Error{Status: http.StatusServiceUnavailable, Type: "overloaded_error", RetryAfter: 5 * time.Second,
			Message: fmt.Sprintf("%d requests wait for the embedded engine already; try again later", h.slots.queue)}
	}
	return s, err
}

// stream sends the answer as events, one for each piece of text. Nothing is sent
// before the first piece, so a refusal still has a status of its own.
func (h *Handler) stream(w http.ResponseWriter, r *http.Request, req *request, o order, d dialect, head envelope) error {
	s := &events{w: w, control: http.NewResponseController(w)}
	send := func(c choice) error {
		head.Choices = []choice{c}
		return s.send(head)
	}
	begin := func() error {
		if s.begun || d.first.Delta == nil {
			return nil
		}
		return send(d.first)
	}
	out, err := h.run(r.Context(), o, func(piece string) error {
		if err := begin(); err != nil {
			return err
		}
		return send(d.piece(piece))
	})
	if err != nil && s.begun {
		_ = s.write(string(stopped(err).JSON())) // in vain if the client is gone
		return nil
	}
	if err != nil {
		return stopped(err)
	}
	if err := begin(); err != nil { // the answer is empty
		return err
	}
	d.last.Finish = &out.finish
	if err := send(d.last); err != nil {
		return err
	}
	if req.StreamOptions.IncludeUsage {
		head.Choices, head.Usage = []choice{}, usageOf(len(o.prompt), out)
		if err := s.send(head); err != nil {
			return err
		}
	}
	return s.write(openai.Done)
}
