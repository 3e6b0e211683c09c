// Package enginetest starts real engines for tests: llama.cpp's llama-server and
// Ollama, with tiny models that package tinygguf builds. It is imported by tests
// only.
//
//	url := enginetest.LlamaServer(t, enginetest.Options{})             // speaks words
//	url := enginetest.LlamaServer(t, enginetest.Options{Model: tinygguf.Slow(), Slots: 2})
//	engine := enginetest.StartLlamaServer(t, enginetest.Options{})     // engine.Kill() crashes it
//	engine := enginetest.StartOllama(t, map[string]tinygguf.Spec{"tiny": tinygguf.Words()})
//
// llama-server is the program that LOBSTAH_TEST_LLAMA_SERVER names, else the one
// on PATH, else one that install.sh puts into the user's cache folder once
// (Debian and its like on amd64; 12 MB). Where it cannot be had, a test skips
// with the reason, but fails when CI is set: CI never skips it. Ollama is
// LOBSTAH_TEST_OLLAMA or on PATH; it takes minutes to build, so its tests skip
// without it, in CI too.
package enginetest

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"lobstah/internal/testport"
	"lobstah/internal/tinygguf"
)

const (
	startTimeout = 2 * time.Minute // of an engine, on a machine that is busy
	logTail      = 16 << 10        // bytes of an engine's log that a failed test shows
)

// Engine is a running engine. It ends with the test that started it.
type Engine struct {
	URL string // "http://127.0.0.1:PORT", without a slash at the end

	cmd     *exec.Cmd
	log     string        // path of what it printed
	exited  chan struct{} // closed when the process is gone
	killing sync.Once
}

// Kill ends the engine at once, as a crash would, and waits until it is gone.
func (e *Engine) Kill() {
	e.killing.Do(func() { killGroup(e.cmd) })
	<-e.exited
}

// Log is what the engine has printed so far, at most the last 16 KiB.
func (e *Engine) Log() string {
	text, err := os.ReadFile(e.log)
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	return string(text[max(0, len(text)-logTail):])
}

// ModelFile builds a model into the test's temporary folder.
func ModelFile(t testing.TB, spec tinygguf.Spec) string {
	t.Helper()
	data, err := spec.Build()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), spec.Name+".gguf")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatalf("writing the model %s: %v", spec.Name, err)
	}
	return path
}

// start runs cmd, which is to listen on the port of url, until the test ends, and
// waits until url+ready answers 200. It fails when the process ends before that.
func start(t testing.TB, cmd *exec.Cmd, url, ready string) (*Engine, error) {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "engine-*.log")
	if err != nil {
		return nil, fmt.Errorf("making a log file: %w", err)
	}
	defer log.Close() // the process has its own handle
	e := &Engine{URL: url, cmd: cmd, log: log.Name(), exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = log, log
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	go func() { // ends with the process; Kill, at the latest in the cleanup, waits for it
		defer close(e.exited)
		_ = cmd.Wait() // how it ended is in the log
	}()
	t.Cleanup(func() {
		e.Kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", cmd.Path, e.Log())
		}
	})
	if err := e.waitFor(ready); err != nil {
		e.Kill()
		return nil, fmt.Errorf("%s: %w; its log:\n%s", cmd.Path, err, e.Log())
	}
	return e, nil
}

func (e *Engine) waitFor(path string) error {
	deadline := time.After(startTimeout)
	client := http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true}, // leaves no goroutine behind
	}
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		response, err := client.Get(e.URL + path)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(pause):
		case <-e.exited:
			return fmt.Errorf("ended before it answered")
		case <-deadline:
			return fmt.Errorf("did not answer %s within %s", path, startTimeout)
		}
	}
}

// startTries covers the port that another program takes between the choice of it
// and the engine's start.
const startTries = 3

func startWithFreePort(t testing.TB, command func(port string) *exec.Cmd, ready string) *Engine {
	t.Helper()
	var err error
	for range startTries {
		port := testport.Free()
		var e *Engine
		if e, err = start(t, command(port), "http://127.0.0.1:"+port, ready); err == nil {
			return e
		}
	}
	t.Fatal(err)
	return nil
}
