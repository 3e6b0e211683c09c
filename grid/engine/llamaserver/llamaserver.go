// Package llamaserver runs an installed llama-server as a child process, with a
// GGUF file of the user's or one from Hugging Face, and is an engine while it
// runs.
//
// Start from [New], which checks what can be checked, and give [Engine.Run] a
// goroutine: it owns the child until its context ends. Commands import it.
//
// The child listens on a free port of loopback and demands a random key, which
// it gets through its environment, where other users cannot read it. It has a
// process group of its own, so that Ctrl-C in the terminal reaches it through
// Run only, after running answers ended. It is started again when it dies,
// waiting longer each time. What it prints is kept while it starts, to say why
// it did not; later output, which could quote prompts, is dropped.
package llamaserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/grid/engine/openaiapi"
	"lobstah/openai"
)

// Config says what to run. Only Model is needed.
type Config struct {
	Model    string       // a GGUF file, or hf:USER/REPO[:QUANT]
	Name     string       // of the model on the wire; "": the file's or repository's
	Program  string       // llama-server; "": the one on PATH
	Args     []string     // more arguments for it
	Progress func(Status) // told what happens, by Run's goroutine; it must not block
}

// Phase is what the child is doing.
type Phase string

// The phases, in the order of a life.
const (
	Starting Phase = "starting"
	Loading  Phase = "loading" // or downloading
	Ready    Phase = "ready"
	Ended    Phase = "ended" // it died and will be started again
)

// Status is one step of the child's life.
type Status struct {
	Phase   Phase
	Elapsed time.Duration // since the child was started
	Err     error         // why it ended
	Wait    time.Duration // until it is started again
}

// An Engine is a llama-server that is kept running. It is safe for concurrent
// use; Run is called once.
type Engine struct {
	config  Config
	program string
	source  source
	port    func() (string, error) // chooses one for a child; tests have their own

	live  atomic.Pointer[serving] // nil while the child is not ready
	first sync.Once               // closes ready
	ready chan struct{}           // closed when it was ready for the first time
	ended chan struct{}           // closed when Run returned
}

// serving is a child that is ready, and the way to it.
type serving struct {
	*openaiapi.Engine
	child *child
}

// New checks the model and finds llama-server. The error of a missing program is
// a [*NotInstalledError].
func New(config Config) (*Engine, error) {
	from, err := parseModel(config.Model)
	if err != nil {
		return nil, err
	}
	if config.Name != "" {
		from.alias = config.Name
	}
	if name := from.alias; name == "" || name != wireName(name) || strings.HasPrefix(name, "/") {
		return nil, fmt.Errorf("model name %q: want one without commas, line breaks and spaces around it", name)
	}
	if err := checkArgs(config.Args); err != nil {
		return nil, err
	}
	name := config.Program
	if name == "" {
		name = "llama-server"
	}
	program, err := exec.LookPath(name)
	if err != nil {
		return nil, &NotInstalledError{Program: name, Err: err}
	}
	if config.Progress == nil {
		config.Progress = func(Status) {}
	}
	return &Engine{
		config: config, program: program, source: from, port: freePort,
		ready: make(chan struct{}), ended: make(chan struct{}),
	}, nil
}

// Name tells which model it runs.
func (e *Engine) Name() string { return "llama-server with " + e.source.alias }

// WaitReady waits until the model is loaded for the first time, which with a
// download may take an hour. It fails when ctx or Run ends before.
func (e *Engine) WaitReady(ctx context.Context) error {
	select {
	case <-e.ready:
		return nil
	case <-e.ended:
		return fmt.Errorf("%s ended before it was ready", e.Name())
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s: %w", e.Name(), ctx.Err())
	}
}

// Models asks the child; while it is not ready the error is an *openai.Error with
// status 503.
func (e *Engine) Models(ctx context.Context) ([]grid.Model, error) {
	live := e.live.Load()
	if live == nil {
		return nil, e.notReady()
	}
	return live.Models(ctx)
}

// Do sends a call to the child.
func (e *Engine) Do(ctx context.Context, call engine.Call) (*engine.Answer, error) {
	live := e.live.Load()
	if live == nil {
		return nil, e.notReady()
	}
	answer, err := live.Do(ctx, call)
	if refusal, ok := errors.AsType[*openai.Error](err); ok && refusal.Code == openaiapi.Unreachable {
		refusal.Message = e.Name() + " ended during this call; it is started again"
	}
	return answer, err
}

func (e *Engine) notReady() *openai.Error {
	return &openai.Error{
		Status: http.StatusServiceUnavailable, Type: "engine_error", Code: "engine_loading", RetryAfter: 3 * time.Second,
		Message: e.Name() + " is not ready yet; try again in a few seconds",
	}
}

// newKey makes the secret between us and the child.
func newKey() string { return rand.Text() }
