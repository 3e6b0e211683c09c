package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"lobstah/grid/engine"
	"lobstah/grid/engine/detect"
	"lobstah/grid/engine/gguf"
	"lobstah/grid/engine/llamaserver"
	"lobstah/grid/engine/ollama"
	"lobstah/grid/engine/openaiapi"
	"lobstah/grid/engine/pool"
	"lobstah/internal/cli"
	"lobstah/internal/memnet"
)

const (
	engineAuto = "auto"
	engineDemo = "demo"
)

// engines are those that a worker serves, and what belongs to them. They are
// found before anything is served; after that only watch changes them.
type engines struct {
	list     []engine.Engine
	facts    []string // one line for each, for people
	advice   []string // what to do about those that cannot be used
	children []*llamaserver.Engine
	embedded []*embedded
	onlyDemo bool // nothing was found that answers
	live     liveEngine
	look     func(context.Context) []detect.Finding // how to look again; nil without --engine auto
}

// pool is all of them as one.
func (e *engines) pool() *pool.Pool { return pool.New(e.list...) }

func (e *engines) add(one engine.Engine, format string, args ...any) {
	e.list = append(e.list, one)
	e.facts = append(e.facts, fmt.Sprintf(format, args...))
}

// run keeps what runs in this process and its children alive until ctx ends.
func (e *engines) run(ctx context.Context, log *slog.Logger) error {
	var wg sync.WaitGroup
	if e.onlyDemo && e.look != nil {
		wg.Go(func() { e.watch(ctx, log) })
	}
	failures := make([]error, len(e.children)+len(e.embedded))
	for i, child := range e.children {
		wg.Go(func() { failures[i] = child.Run(ctx) })
	}
	for i, one := range e.embedded {
		wg.Go(func() { failures[len(e.children)+i] = one.run(ctx) })
	}
	wg.Wait()
	return errors.Join(failures...)
}

// findEngines does what the settings say: by default it looks around, and
// serves the demo model when there is nothing.
func (a *app) findEngines(ctx context.Context, s engineSettings) (*engines, error) {
	found, err := a.gather(ctx, s)
	if err == nil {
		found.live.set(found.pool(), found.facts)
	}
	return found, err
}

func (a *app) gather(ctx context.Context, s engineSettings) (*engines, error) {
	found := &engines{}
	names := s.Engine
	if len(names) == 0 && len(s.Model) == 0 {
		names = []string{engineAuto}
	}
	for _, model := range s.Model {
		if err := a.addModel(found, model, s.LlamaServer); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		var err error
		switch name {
		case engineAuto:
			a.detect(ctx, found, s)
		case engineDemo:
			err = found.addDemo()
		default:
			err = a.addURL(ctx, found, name, s.EngineKey)
		}
		if err != nil {
			return nil, err
		}
	}
	if !found.answers(ctx) && len(s.Engine) == 0 && len(s.Model) == 0 {
		found.onlyDemo = true
		return found, found.addDemo()
	}
	if len(found.list) == 0 {
		return nil, cli.Hintf(errors.New("there is no engine to serve"), "%s", strings.Join(append(found.advice, "--engine demo serves the built-in demo model"), "\n"))
	}
	return found, nil
}

// answers reports whether any engine has a model.
func (e *engines) answers(ctx context.Context) bool {
	if len(e.children) > 0 {
		return true // it loads
	}
	models, err := e.pool().Models(ctx)
	return err == nil && len(models) > 0
}

// detect looks for engines on this machine. Those without a model yet are taken
// too, so that one that is pulled later is served without a restart.
func (a *app) detect(ctx context.Context, found *engines, s engineSettings) {
	var at []string // nil is the usual ports
	for _, port := range s.EnginePorts {
		at = append(at, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
	found.look = func(ctx context.Context) []detect.Finding {
		return detect.Look(ctx, detect.Config{OllamaHost: a.Getenv("OLLAMA_HOST"), Addresses: at, Key: s.EngineKey})
	}
	done := a.Progress("looking for engines on this machine")
	findings := found.look(ctx)
	done()
	for _, f := range findings {
		if f.Engine != nil {
			found.add(f.Engine, "%s", f)
		} else {
			found.facts = append(found.facts, f.String())
		}
		if hint := f.Hint(); hint != "" {
			found.advice = append(found.advice, fmt.Sprintf("%s: %s", f, hint))
		}
	}
}

// addURL takes the engine at an address. One that does not answer now is kept,
// since it may be started later.
func (a *app) addURL(ctx context.Context, found *engines, address, key string) error {
	e, kind, err := open(ctx, address, key)
	if err != nil {
		return cli.Hintf(cli.Usagef("--engine %s: %v", address, err), "--engine takes auto, demo or a URL such as http://127.0.0.1:8080")
	}
	done := a.Progress("asking " + e.Address() + " for its models")
	models, err := e.Models(ctx)
	done()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		a.warn("%v; it is asked again while the worker runs", err)
		found.add(e, "%s at %s, which does not answer yet", kind, e.Address())
		return nil
	}
	if len(models) > 0 {
		kind = cmp.Or(models[0].Engine, kind)
	}
	found.add(e, "%s at %s with %s", kind, e.Address(), cli.Plural(len(models), "model"))
	return nil
}

// open tells an Ollama, which has more to say, from the others.
func open(ctx context.Context, address, key string) (*openaiapi.Engine, string, error) {
	e, err := openaiapi.New(openaiapi.Config{BaseURL: address, Key: key})
	if err != nil {
		return nil, "", err
	}
	if !isOllama(ctx, e.Address()) {
		return e, "an engine", nil
	}
	o, err := ollama.New(e.Address(), nil)
	return o, "ollama", err
}

// isOllama asks for what only Ollama has.
func isOllama(ctx context.Context, base string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/version", nil)
	if err != nil {
		return false
	}
	client := &http.Client{Timeout: engineLook, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK && strings.HasPrefix(response.Header.Get("Content-Type"), "application/json")
}

// addModel runs a llama-server for a model. Without one, a small file can be
// run by this program itself.
func (a *app) addModel(found *engines, model, program string) error {
	e, err := llamaserver.New(llamaserver.Config{Model: model, Program: program, Progress: a.childProgress(model)})
	if err == nil {
		found.children = append(found.children, e)
		found.add(e, "%s, run by this process", e.Name())
		return nil
	}
	missing, ok := errors.AsType[*llamaserver.NotInstalledError](err)
	if !ok {
		return err
	}
	own, openErr := gguf.Open(model)
	if openErr != nil || program != "" {
		return cli.Hintf(fmt.Errorf("--model %s: %s is not installed, which runs GGUF models", model, missing.Program), "%s", strings.Join(missing.Commands(), "\n"))
	}
	a.warn("llama-server is not installed, so the built-in runner takes %s, which is slow; get the fast one with: %s", model, missing.Commands()[0])
	return found.addEmbedded(own, fmt.Sprintf("%s, by the built-in runner", model))
}

func (a *app) childProgress(model string) func(llamaserver.Status) {
	return func(s llamaserver.Status) {
		switch s.Phase {
		case llamaserver.Loading:
			a.note("llama-server loads %s (%s)", model, cli.Duration(s.Elapsed))
		case llamaserver.Ready:
			a.note("llama-server is ready with %s after %s", model, cli.Duration(s.Elapsed))
		case llamaserver.Ended:
			a.warn("llama-server with %s ended: %v; it is started again in %s", model, s.Err, cli.Duration(s.Wait))
		}
	}
}

func (e *engines) addDemo() error {
	m, err := gguf.Demo()
	if err != nil {
		return err
	}
	return e.addEmbedded(m, "the built-in demo model, "+gguf.DemoID)
}

func (e *engines) addEmbedded(m *gguf.Model, fact string) error {
	own := &embedded{listener: memnet.Listen("embedded"), server: &http.Server{Handler: gguf.NewHandler(m, gguf.Options{})}}
	api, err := openaiapi.New(openaiapi.Config{
		BaseURL: "http://embedded", Kind: "lobstah", Name: fact, Demo: m.ID() == gguf.DemoID,
		Transport: &http.Transport{DialContext: own.listener.DialContext, DisableCompression: true},
	})
	if err != nil {
		return err
	}
	e.embedded = append(e.embedded, own)
	own.served.Go(func() { own.ended = own.server.Serve(own.listener) })
	e.add(api, "%s", fact)
	return nil
}

// embedded is the runner in this process, behind a network that only it sees.
type embedded struct {
	listener *memnet.Listener
	server   *http.Server
	served   sync.WaitGroup
	ended    error // owned by served
}

// run waits for ctx and ends the runner.
func (e *embedded) run(ctx context.Context) error {
	<-ctx.Done()
	err := e.server.Close()
	e.served.Wait()
	if !errors.Is(e.ended, http.ErrServerClosed) {
		err = errors.Join(err, e.ended)
	}
	return err
}
