package llamaserver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/grid/engine"
	"lobstah/internal/enginetest"
	"lobstah/internal/testport"
	"lobstah/internal/tinygguf"
	"lobstah/openai"
)

var _ engine.Engine = (*Engine)(nil)

// statuses collects what Run reports.
type statuses struct {
	mu   sync.Mutex
	list []Status
}

func (s *statuses) add(status Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, status)
}

func (s *statuses) count(phase Phase) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, status := range s.list {
		if status.Phase == phase {
			n++
		}
	}
	return n
}

// newEngine makes an engine whose ports no other test takes before its child does.
func newEngine(t *testing.T, config Config) *Engine {
	t.Helper()
	config.Args = append(config.Args, "-t", "1", "-tb", "1", "--offline")
	e, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	e.port = func() (string, error) { return testport.Free(), nil }
	return e
}

// run starts an engine and returns what ends it and waits.
func run(t *testing.T, config Config) (e *Engine, stop func() error) {
	t.Helper()
	config.Program = enginetest.LlamaServerProgram(t)
	e = newEngine(t, config)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- e.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-result })
	t.Cleanup(func() { stop() })
	return e, stop
}

func ask(t *testing.T, e *Engine, model string) (string, error) {
	t.Helper()
	answer, err := e.Do(t.Context(), engine.Call{
		Path: "/v1/chat/completions",
		Body: []byte(`{"model":"` + model + `","max_tokens":4,"ignore_eos":true,"messages":[{"role":"user","content":"Hello grid"}]}`),
	})
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}

func TestRun(t *testing.T) {
	t.Parallel()
	file := enginetest.ModelFile(t, tinygguf.Words())
	var told statuses
	e, stop := run(t, Config{Model: file, Name: "my/model:7b", Progress: told.add})
	if err := e.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	models, err := e.Models(t.Context())
	if err != nil || len(models) != 1 || models[0].ID != "my/model:7b" || models[0].Engine != "llama-server" {
		t.Errorf("Models() = %+v, %v", models, err)
	}
	if text, err := ask(t, e, "my/model:7b"); err != nil || !strings.Contains(text, `"finish_reason":"length"`) {
		t.Errorf("the answer is %s, %v", text, err)
	}
	if _, err := ask(t, e, "other"); err == nil {
		t.Error("a model that it does not have was served")
	}
	child := e.live.Load().child
	checkPrivate(t, e)
	if err := stop(); err != nil {
		t.Errorf("Run ended with %v; want nil, as its context ended", err)
	}
	if child.alive() {
		t.Error("the child outlives Run")
	}
	_, err = ask(t, e, "my/model:7b")
	if refusal, ok := errors.AsType[*openai.Error](err); !ok || refusal.Status != 503 || refusal.RetryAfter == 0 {
		t.Errorf("after the end: %v; want 503 with a time to come back", err)
	}
	if told.count(Starting) != 1 || told.count(Ready) != 1 || told.count(Ended) != 0 {
		t.Errorf("Run told %+v", told.list)
	}
}

// checkPrivate makes sure that other users of the machine cannot use the child,
// nor read its key where they can read: in its arguments.
func checkPrivate(t *testing.T, e *Engine) {
	t.Helper()
	live := e.live.Load()
	i := slices.IndexFunc(live.child.cmd.Env, func(v string) bool { return strings.HasPrefix(v, "LLAMA_API_KEY=") })
	if i < 0 {
		t.Fatal("the child has no key")
	}
	_, key, _ := strings.Cut(live.child.cmd.Env[i], "=")
	if args := strings.Join(live.child.cmd.Args, " "); len(key) < 20 || strings.Contains(args, key) {
		t.Errorf("the key %q is weak or among the arguments %s", key, args)
	}
	response, err := http.Get(live.Address() + "/v1/models")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("without the key: %s; want 401", response.Status)
	}
}

// A child that dies is started again, on another port with another key, and
// serves again.
func TestRestart(t *testing.T) {
	t.Parallel()
	var told statuses
	readyAgain := make(chan struct{})
	progress := func(s Status) {
		told.add(s)
		if s.Phase == Ready && told.count(Ready) == 2 {
			close(readyAgain)
		}
	}
	const name = "odd_ näme"
	file := filepath.Join(t.TempDir(), "odd, näme .gguf")
	if err := os.Rename(enginetest.ModelFile(t, tinygguf.Words()), file); err != nil {
		t.Fatal(err)
	}
	e, _ := run(t, Config{Model: file, Progress: progress})
	if err := e.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := e.live.Load()
	if err := kill(first.child.cmd); err != nil {
		t.Fatal(err)
	}
	select {
	case <-readyAgain:
	case <-time.After(2 * time.Minute):
		t.Fatalf("it was not started again: %+v", told.list)
	}
	if text, err := ask(t, e, name); err != nil || !strings.Contains(text, "choices") {
		t.Errorf("after a crash: %s, %v", text, err)
	}
	if again := e.live.Load(); again == first {
		t.Error("the engine of the dead child is still in use")
	}
	if told.count(Ended) != 1 {
		t.Errorf("Run told %+v; want one end", told.list)
	}
}

// A file that llama-server cannot load ends Run, with what it printed.
func TestRunGivesUpOnABrokenFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "broken.gguf")
	if err := os.WriteFile(file, []byte("GGUF and nothing more"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, Config{Model: file, Program: enginetest.LlamaServerProgram(t)})
	err := e.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "does not start") || !strings.Contains(err.Error(), "failed to load model") {
		t.Errorf("Run ended with %v; want what llama-server printed", err)
	}
	if err := e.WaitReady(t.Context()); err == nil {
		t.Error("WaitReady returned without an error")
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "text.gguf")
	good := filepath.Join(dir, "good.gguf")
	for path, content := range map[string]string{text: "hello", good: "GGUF"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{Model: filepath.Join(dir, "missing.gguf")}, "missing.gguf"},
		{Config{Model: dir}, dir},
		{Config{Model: text}, "not a GGUF file"},
		{Config{Model: "hf:"}, "hf:USER/REPO"},
		{Config{Model: "hf:--help/x"}, "hf:USER/REPO"},
		{Config{Model: "hf:user/repo:Q4 --host 0.0.0.0"}, "hf:USER/REPO"},
		{Config{Model: good, Name: "a,b"}, "without commas"},
		{Config{Model: good, Name: " "}, "without commas"},
		{Config{Model: good, Args: []string{"--alias", "x"}}, "--alias"},
		{Config{Model: good, Args: []string{"--host", "0.0.0.0"}}, "--host"},
		{Config{Model: good, Args: []string{"--api-key=x"}}, "--api-key"},
		{Config{Model: good, Program: filepath.Join(dir, "no-such-program")}, "is not installed"},
	} {
		if _, err := New(test.config); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("New(%+v) = %v; want an error with %q", test.config, err, test.want)
		}
	}
	_, err := New(Config{Model: good, Program: "no-such-llama-server"})
	missing, ok := errors.AsType[*NotInstalledError](err)
	if !ok || len(missing.Commands()) == 0 {
		t.Errorf("a missing program: %v; want the commands that install it", err)
	}
}

func TestParseModel(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "big, model-00001-of-00003.gguf")
	if err := os.WriteFile(file, []byte("GGUF"), 0o600); err != nil {
		t.Fatal(err)
	}
	for model, want := range map[string]string{
		file:                                    "big_ model",
		"hf:ggml-org/gemma-3-4b-it-GGUF:Q4_K_M": "ggml-org/gemma-3-4b-it-GGUF:Q4_K_M",
	} {
		if got, err := parseModel(model); err != nil || got.alias != want {
			t.Errorf("parseModel(%q) = %+v, %v; want the name %q", model, got, err, want)
		}
	}
}

func TestStartLogKeepsTheEnd(t *testing.T) {
	var l startLog
	for range 3000 {
		io.WriteString(&l, "line\n")
	}
	io.WriteString(&l, strings.Repeat("x", 3*maxLog)+"\nlast")
	if got := l.String(); len(got) > maxLog || !strings.HasSuffix(got, "x\nlast") {
		t.Errorf("the log keeps %d bytes, ending in %q", len(got), got[max(0, len(got)-10):])
	}
	l.close()
	io.WriteString(&l, "a prompt")
	if got := l.String(); got != "" {
		t.Errorf("after close it keeps %q", got)
	}
}
