// Package openaiapi is the adapter for every engine that speaks OpenAI's API
// over HTTP: llama.cpp's llama-server, vLLM, SGLang, LM Studio, MLX, Ollama's
// /v1 surface and the embedded runner.
//
// Start from [New]; the [Engine] it returns is an engine.Engine. A dialect that
// lists its models elsewhere than at /v1/models sets [Config.List], which asks
// through the [Client] (package ollama does). Commands, and the other folders of
// grid/engine, import it.
//
// Requests and answers pass byte for byte. What is added is what real engines
// lack: a llama-server with one model answers to any name, so a model that is
// not listed is refused here; a web page under status 200 is a failure; a busy
// engine's refusal tells when to come back. An engine's key never appears in a
// name, an error or a log.
//
// Answers are hostile: whole bodies that are read here are capped, redirects
// are not followed, and only the paths of openai's dialects are forwarded, so
// that nobody reaches /slots or /props through it.
package openaiapi

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"unicode"

	"lobstah/grid"
)

// Config says where an engine is and how to talk to it.
type Config struct {
	BaseURL   string // such as http://127.0.0.1:8080; "/v1" at its end makes no difference
	Key       string // sent as bearer token; empty for none
	KeyAdvice string // what to do when the key is refused; empty: lobstah's settings
	Kind      string // of the engine, such as ollama; empty: as its list of models tells
	Name      string // for people; empty: the kind, if given, and the address
	Demo      bool   // its models answer nothing

	Transport http.RoundTripper // nil: one made for streams from an engine
	List      List              // nil: GET /v1/models
}

// A List asks an engine which models it serves. It is called by one goroutine at
// a time and not for each request: its answer is remembered for some seconds.
type List func(ctx context.Context, c *Client) ([]Entry, error)

// An Entry is a model as an engine lists it.
type Entry struct {
	grid.Model
	Wire    string   // the name that the engine wants, where Model.ID is another
	Aliases []string // other names that the engine takes, and that pass unchanged
}

// An Engine is one engine behind an address. It is safe for concurrent use.
type Engine struct {
	name    string
	client  *Client
	catalog catalog
}

// New checks the configuration; it asks nothing yet.
func New(config Config) (*Engine, error) {
	base, err := parseBase(config.BaseURL)
	if err != nil {
		return nil, err
	}
	key := strings.TrimSpace(config.Key) // a file's last line end, for example
	if strings.ContainsFunc(key, unicode.IsControl) {
		return nil, errors.New("engine key: it has a line break or control character in it")
	}
	client := newClient(base, key, config.Transport)
	client.keyAdvice = cmp.Or(config.KeyAdvice, client.keyAdvice)
	e := &Engine{
		name:   cmp.Or(config.Name, cmp.Or(config.Kind, "openai api")+" at "+base.String()),
		client: client,
	}
	list := config.List
	if list == nil {
		list = new(openAIList).entries
	}
	e.catalog.ask = func(ctx context.Context) ([]Entry, error) { return ask(ctx, list, client, config) }
	e.catalog.turn = make(chan struct{}, 1)
	return e, nil
}

// ask gets the list, leaving out what a worker could not announce.
func ask(ctx context.Context, list List, client *Client, config Config) ([]Entry, error) {
	entries, err := list(ctx, client)
	if err != nil {
		return nil, err
	}
	kept := make([]Entry, 0, len(entries))
	for _, e := range entries {
		if !usable(e.ID) || len(kept) == grid.MaxModels {
			continue
		}
		e.Engine = cmp.Or(config.Kind, e.Engine)
		e.Demo = config.Demo
		kept = append(kept, e)
	}
	return kept, nil
}

// Name returns the engine's kind and address.
func (e *Engine) Name() string { return e.name }

// Address returns the base URL, without /v1.
func (e *Engine) Address() string { return e.client.Address() }

// Models asks the engine for its models. An error is an *openai.Error (502 when
// nothing answers, 503 while a model is loading) or wraps ctx's.
func (e *Engine) Models(ctx context.Context) ([]grid.Model, error) {
	entries, err := e.catalog.refresh(ctx)
	if err != nil {
		return nil, err
	}
	models := make([]grid.Model, len(entries))
	for i, entry := range entries {
		models[i] = entry.Model
	}
	return models, nil
}

// Close gives up connections that nobody uses. Calls that run go on.
func (e *Engine) Close() error {
	e.client.http.CloseIdleConnections()
	return nil
}
