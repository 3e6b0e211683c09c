// Package engine says what an inference engine is to a worker: something that
// lists models and answers OpenAI-compatible calls.
//
// Implementations live in folders of their own: engine/openaiapi for everything
// that speaks the API over HTTP, engine/ollama which adds Ollama's facts,
// engine/llamaserver which runs a llama-server as a child, engine/gguf which
// is a runner of our own. cmd/ picks; the worker takes an [Engine] and knows
// none of them.
//
// What an engine answers is not trusted: adapters cap and check it.
package engine

import (
	"context"
	"io"
	"net/http"

	"lobstah/grid"
)

// An Engine answers calls. All methods are safe for concurrent use and give up
// when their context ends.
type Engine interface {
	// Name tells people which engine this is, such as "ollama at
	// http://127.0.0.1:11434". It never contains a key.
	Name() string
	// Models asks for the models that can be served now. An error means that
	// the engine cannot be reached; it says what to do.
	Models(ctx context.Context) ([]grid.Model, error)
	// Do sends one call. An answer below 300 is returned with its body open,
	// which the caller closes, and which fails when ctx ends. Any other answer
	// is an *openai.Error with the engine's status; when the engine could not
	// be reached, one with status 502.
	Do(ctx context.Context, call Call) (*Answer, error)
}

// A Call is one request for an engine, in the dialect that its path tells.
type Call struct {
	Path   string      // such as /v1/chat/completions
	Header http.Header // content-type and dialect headers (anthropic-version); nil is fine
	Body   []byte
	Model  string // that Body names, for adapters to read without parsing it; empty: not told
}

// An Answer is what came back, untouched.
type Answer struct {
	Status      int
	ContentType string
	Body        io.ReadCloser
}
