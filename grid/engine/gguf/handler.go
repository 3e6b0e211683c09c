package gguf

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"lobstah/openai"
)

// Options bound what a handler does at a time. Zero values mean the defaults.
type Options struct {
	Context int // tokens of a prompt and its answer; default 4096, at most what the model was trained for
	Slots   int // answers made at a time, default 2; each keeps its conversation's context in memory
	Queue   int // requests that wait for a slot, default 64, negative for none; more are refused with 503
}

const (
	defaultContext = 4096
	defaultSlots   = 2
	defaultQueue   = 64

	maxBody      = 8 << 20
	writeTimeout = 30 * time.Second // of a client that does not read; it holds a slot
)

// Handler serves a model as OpenAI's API does: GET /health, GET /v1/models, POST
// /v1/chat/completions, /v1/completions, and for models that pool, /v1/embeddings.
// It stops an answer when its client leaves.
type Handler struct {
	model   *Model
	context int
	slots   *slots
	mux     *http.ServeMux
	created int64 // Unix seconds, of the model in lists
}

// NewHandler serves m.
func NewHandler(m *Model, o Options) *Handler {
	h := &Handler{
		model:   m,
		context: min(cmp.Or(o.Context, defaultContext), m.TrainedContext()),
		slots:   newSlots(m, max(cmp.Or(o.Slots, defaultSlots), 1), max(cmp.Or(o.Queue, defaultQueue), 0)),
		mux:     http.NewServeMux(),
		created: time.Now().Unix(),
	}
	h.handle("GET", "/health", h.health)
	h.handle("GET", "/v1/models", h.models)
	h.handle("GET", "/v1/models/{id...}", h.oneModel)
	h.handle("POST", "/v1/chat/completions", h.chat)
	h.handle("POST", "/v1/completions", h.complete)
	h.handle("POST", "/v1/embeddings", h.embed)
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, &openai.Error{Status: http.StatusNotFound, Type: "not_found_error",
			Message: fmt.Sprintf("the embedded engine has no %s; it serves /v1/models, /v1/chat/completions and /v1/completions", r.URL.Path)})
	})
	return h
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// handle serves a path for one method and refuses the others in OpenAI's shape. An
// error of serve that is an *openai.Error becomes the answer; any other means that
// the client is gone.
func (h *Handler) handle(method, path string, serve func(w http.ResponseWriter, r *http.Request) error) {
	h.mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) {
		if e, ok := errors.AsType[*openai.Error](serve(w, r)); ok {
			refuse(w, e)
		}
	})
	h.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", method)
		refuse(w, &openai.Error{Status: http.StatusMethodNotAllowed, Type: "invalid_request_error",
			Message: fmt.Sprintf("%s %s is not served, only %s", r.Method, r.URL.Path, method)})
	})
}

func refuse(w http.ResponseWriter, e *openai.Error) {
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(int(e.RetryAfter.Seconds())))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	w.Write(e.JSON()) //nolint:errcheck // a client that is gone needs no answer
}

// reply sends a whole answer.
func reply(w http.ResponseWriter, v any) error {
	body, err := encode(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(body)
	return err
}

// encode is JSON without escapes for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding an answer: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// receive reads a request's body into v.
func receive(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return &openai.Error{Status: http.StatusRequestEntityTooLarge, Type: "invalid_request_error",
			Message: fmt.Sprintf("the body is larger than %d MiB", maxBody>>20)}
	}
	if err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	err = json.Unmarshal(body, v)
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return openai.BadRequest(e.Field, "%s: a %s cannot stand here", cmp.Or(e.Field, "the body"), e.Value)
	}
	if e, ok := errors.AsType[*openai.Error](err); ok {
		return e
	}
	if err != nil {
		return openai.BadRequest("", "the body is not JSON: %v", err)
	}
	return nil
}

func (h *Handler) health(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, map[string]string{"status": "ok"})
}

// card is a model in a list; meta has the members of llama-server's and ours.
type card struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	Owner   string `json:"owned_by"`
	Meta    facts  `json:"meta"`
}

type facts struct {
	Vocabulary     int    `json:"n_vocab"`
	Context        int    `json:"n_ctx"`
	TrainedContext int    `json:"n_ctx_train"`
	Width          int    `json:"n_embd"`
	Parameters     int64  `json:"n_params"`
	Size           int64  `json:"size"`
	Type           string `json:"ftype"`
	Digest         string `json:"digest"`
	Architecture   string `json:"architecture"`
}

func (h *Handler) card() card {
	m := h.model
	return card{m.id, "model", h.created, "lobstah", facts{
		Vocabulary: m.config.vocabulary, Context: h.context, TrainedContext: m.config.context, Width: m.config.width,
		Parameters: m.params, Size: m.size, Type: m.Type(), Digest: m.digest, Architecture: m.Architecture(),
	}}
}

func (h *Handler) models(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, map[string]any{"object": "list", "data": []card{h.card()}})
}

func (h *Handler) oneModel(w http.ResponseWriter, r *http.Request) error {
	if err := h.named(r.PathValue("id")); err != nil {
		return err
	}
	return reply(w, h.card())
}

// named refuses the name of another model; none at all means this one.
func (h *Handler) named(name string) error {
	if name == "" || name == h.model.id {
		return nil
	}
	return &openai.Error{Status: http.StatusNotFound, Type: "not_found_error", Code: "model_not_found", Param: "model",
		Message: fmt.Sprintf("there is no model %.100q here, only %q", name, h.model.id)}
}
