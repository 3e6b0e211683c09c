package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"
)

// slowEngine serves OpenAI's API until the script ends: each answer begins, and
// goes on only when the script says "release".
type slowEngine struct {
	*httptest.Server
	once sync.Once
	open chan struct{} // closed by release
}

func newSlowEngine() *slowEngine {
	e := &slowEngine{open: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"object":"list","data":[{"id":"slow","object":"model"}]}`)
	})
	mux.HandleFunc("POST /v1/chat/completions", e.answer)
	e.Server = httptest.NewServer(mux)
	return e
}

func (e *slowEngine) answer(w http.ResponseWriter, r *http.Request) {
	const chunk = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"slow","choices":[{"index":0,"delta":{"content":%q},"finish_reason":%s}]}` + "\n\n"
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(w, chunk, "first ", "null")
	if err := http.NewResponseController(w).Flush(); err != nil {
		return
	}
	select {
	case <-e.open:
	case <-r.Context().Done():
		return
	}
	fmt.Fprintf(w, chunk, "last", `"stop"`)
	fmt.Fprint(w, `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"slow","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`+"\n\ndata: [DONE]\n\n")
}

func (e *slowEngine) release() { e.once.Do(func() { close(e.open) }) }

func slow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: slow VAR")
	}
	e := newSlowEngine()
	ts.Defer(func() {
		e.release()
		e.CloseClientConnections()
		e.Close()
	})
	ts.Setenv(args[0], e.URL)
	ts.Value(engineKey{}).(*held).engine = e
}

func releaseSlow(ts *testscript.TestScript, neg bool, args []string) {
	ts.Value(engineKey{}).(*held).engine.release()
}

// held is a script's engine.
type held struct {
	engine *slowEngine
	pulled atomic.Bool
}

type engineKey struct{}

// emptyOllama serves what a fresh Ollama without models does; "pull" gives it one.
// Calls themselves are tested with real engines elsewhere.
func emptyOllama(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ollama VAR")
	}
	h := ts.Value(engineKey{}).(*held)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/version", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"version":"0.33.0"}`)
	})
	mux.HandleFunc("GET /api/tags", func(w http.ResponseWriter, r *http.Request) {
		models := "[]"
		if h.pulled.Load() {
			models = `[{"name":"late:1b","model":"late:1b","digest":"` + strings.Repeat("ab", 32) + `","details":{}}]`
		}
		fmt.Fprintf(w, `{"models":%s}`, models)
	})
	server := httptest.NewServer(mux)
	ts.Defer(func() {
		server.CloseClientConnections()
		server.Close()
	})
	ts.Setenv(args[0], server.URL)
}

func pullModel(ts *testscript.TestScript, neg bool, args []string) {
	ts.Value(engineKey{}).(*held).pulled.Store(true)
}
