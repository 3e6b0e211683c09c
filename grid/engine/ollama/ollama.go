// Package ollama is the adapter for Ollama. Calls go to Ollama's /v1 surface, as
// package openaiapi sends them (chat, completions and embeddings in every
// version; /v1/responses since 0.13.3 and /v1/messages since 0.14; an older one
// answers those with a 404 that says so). What it adds are the facts that only
// Ollama's own API tells: digests, context in force, capabilities, what is
// loaded.
//
// Start from [New] with [HostURL] of the OLLAMA_HOST variable; [Program] finds an
// Ollama that is installed but not running. Commands and grid/engine/detect
// import it.
//
// Ollama's answers are capped and checked by package openaiapi. Models that run
// in Ollama's cloud are left out: offering them would lend an account away.
package ollama

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/grid/engine/openaiapi"
)

// New returns an engine for the Ollama at an address such as
// http://127.0.0.1:11434; transport nil means one made for engines.
func New(baseURL string, transport http.RoundTripper) (*openaiapi.Engine, error) {
	return Open(openaiapi.Config{BaseURL: baseURL, Transport: transport})
}

// Open is New for an Ollama of which more has to be said, such as the key that
// the proxy before it demands. Kind and List of the configuration are set here.
func Open(config openaiapi.Config) (*openaiapi.Engine, error) {
	config.Kind, config.List = "ollama", new(list).entries
	return openaiapi.New(config)
}

// list asks Ollama for its models. It is used by one goroutine at a time.
type list struct {
	shown   map[string]facts // by digest: what /api/show told, asked once
	inForce map[string]int   // by digest: the context when it last was loaded
}

// facts of a model that change only with its digest.
type facts struct {
	context      int // num_ctx of its Modelfile; 0 when it sets none
	maxContext   int
	capabilities []string
}

// tag is a model of GET /api/tags and GET /api/ps. Both tell digests of
// manifests: hex, without "sha256:".
type tag struct {
	Name       string `json:"name"`
	Digest     string `json:"digest"`
	RemoteHost string `json:"remote_host"` // it runs in the cloud
	Details    struct {
		Family       string `json:"family"`
		Parameters   string `json:"parameter_size"`
		Quantization string `json:"quantization_level"`
		MaxContext   int    `json:"context_length"` // since 0.3x
	} `json:"details"`
	Capabilities []string `json:"capabilities"`   // since 0.3x
	Context      int      `json:"context_length"` // of /api/ps
}

type tags struct {
	Models []tag `json:"models"`
}

func (l *list) entries(ctx context.Context, c *openaiapi.Client) ([]openaiapi.Entry, error) {
	var all tags
	if err := c.JSON(ctx, http.MethodGet, "/api/tags", nil, &all); err != nil {
		return nil, err
	}
	local := slices.DeleteFunc(all.Models, func(t tag) bool { return t.RemoteHost != "" })
	local = local[:min(len(local), grid.MaxModels)]
	l.show(ctx, c, local)
	loaded := l.loaded(ctx, c)
	entries := make([]openaiapi.Entry, len(local))
	for i, t := range local {
		entries[i] = l.entry(t, loaded[t.Digest])
	}
	return entries, nil
}

// entry takes the context that is in force from where it is known: the running
// model, its Modelfile, the last time it ran. Ollama's default differs by version
// and memory, so it is not guessed: a prompt beyond it would silently be cut.
func (l *list) entry(t tag, loaded bool) openaiapi.Entry {
	known := l.shown[t.Digest]
	e := openaiapi.Entry{Model: grid.Model{
		ID: t.Name, Loaded: loaded, Capabilities: t.Capabilities, Family: t.Details.Family,
		Parameters: t.Details.Parameters, Quantization: t.Details.Quantization,
		ContextLength: known.context, MaxContext: t.Details.MaxContext,
	}}
	if t.Digest != "" {
		e.Digest = "sha256:" + t.Digest
	}
	if context := l.inForce[t.Digest]; context > 0 {
		e.ContextLength = context
	}
	if e.MaxContext == 0 {
		e.MaxContext = known.maxContext
	}
	if e.Capabilities == nil {
		e.Capabilities = known.capabilities
	}
	if short, found := strings.CutSuffix(t.Name, ":latest"); found {
		e.Aliases = []string{short}
	}
	return e
}

// loaded asks which models are in memory. Ollama before 0.1.33 cannot tell.
func (l *list) loaded(ctx context.Context, c *openaiapi.Client) map[string]bool {
	var running tags
	if c.JSON(ctx, http.MethodGet, "/api/ps", nil, &running) != nil {
		return nil
	}
	if l.inForce == nil {
		l.inForce = map[string]int{}
	}
	loaded := map[string]bool{}
	for _, t := range running.Models {
		loaded[t.Digest] = true
		l.inForce[t.Digest] = t.Context
	}
	return loaded
}

const (
	showTimeout = 2 * time.Second // for all models; the rest is asked for next time
	showAtOnce  = 4
)

// show asks for the facts of digests that were not seen before and forgets
// those that are gone. What fails is asked for again next time.
func (l *list) show(ctx context.Context, c *openaiapi.Client, models []tag) {
	ctx, cancel := context.WithTimeout(ctx, showTimeout)
	defer cancel()
	var (
		mu    sync.Mutex // guards shown
		shown = make(map[string]facts, len(models))
		group sync.WaitGroup
		slots = make(chan struct{}, showAtOnce)
	)
	for _, t := range models {
		if known, ok := l.shown[t.Digest]; ok && t.Digest != "" {
			mu.Lock()
			shown[t.Digest] = known
			mu.Unlock()
			continue
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if f, ok := ask(ctx, c, t.Name); ok {
				mu.Lock()
				defer mu.Unlock()
				shown[t.Digest] = f
			}
		})
	}
	group.Wait()
	l.shown = shown
}
