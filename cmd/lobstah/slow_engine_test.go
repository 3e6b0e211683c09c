package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"

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
type held struct{ engine *slowEngine }

type engineKey struct{}
