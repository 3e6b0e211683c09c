package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// startEngine serves two models by OpenAI's API, each telling its own name, and
// below /locked the same to those who have the key.
func startEngine(t *testing.T) string {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"object":"list","data":[{"id":"tiny","object":"model"},{"id":"secret","object":"model"}]}`)
	})
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Model string }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			http.Error(w, "{}", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":"c","object":"chat.completion","created":1,"model":%q,"choices":[{"index":0,"message":{"role":"assistant","content":"an answer of %s"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, asked.Model, asked.Model)
	})
	mux.HandleFunc("/locked/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer open-sesame" {
			http.Error(w, `{"error":{"message":"no"}}`, http.StatusUnauthorized)
			return
		}
		http.StripPrefix("/locked", mux).ServeHTTP(w, r)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// substitute puts variables into files: sub VAR... FILE..., where a file has a
// slash in its name.
func substitute(ts *testscript.TestScript, neg bool, args []string) {
	var pairs []string
	for _, arg := range args {
		if !strings.Contains(arg, "/") {
			pairs = append(pairs, "$"+arg, ts.Getenv(arg))
			continue
		}
		text, err := os.ReadFile(ts.MkAbs(arg))
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(arg), []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o600))
	}
}

// get prints what a port of this machine answers: get PORT PATH.
func get(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: get PORT PATH")
	}
	tell(ts, http.MethodGet, args[0], args[1], "")
}

// awaitPage gets a page until it matches: await PORT PATH PATTERN.
func awaitPage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: await PORT PATH PATTERN")
	}
	wanted := regexp.MustCompile(args[2])
	client := &http.Client{Timeout: patienceInTests}
	defer client.CloseIdleConnections()
	for deadline := time.Now().Add(patienceInTests); ; time.Sleep(pollInTests) {
		response, err := client.Get("http://127.0.0.1:" + args[0] + args[1])
		ts.Check(err)
		text, err := io.ReadAll(response.Body)
		ts.Check(err)
		ts.Check(response.Body.Close())
		if wanted.Match(text) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s never matched %q; it says %s", args[1], args[2], text)
		}
	}
}

// ask asks a model at a port of this machine: ask PORT MODEL.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ask PORT MODEL")
	}
	tell(ts, http.MethodPost, args[0], "/v1/chat/completions", fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hi"}]}`, args[1]))
}

func tell(ts *testscript.TestScript, method, port, path, body string) {
	r, err := http.NewRequest(method, "http://127.0.0.1:"+port+path, strings.NewReader(body))
	ts.Check(err)
	client := &http.Client{Timeout: patienceInTests}
	defer client.CloseIdleConnections()
	deadline := time.Now().Add(patienceInTests)
	for {
		response, err := client.Do(r)
		ts.Check(err)
		text, err := io.ReadAll(response.Body)
		ts.Check(err)
		ts.Check(response.Body.Close())
		if response.StatusCode != http.StatusServiceUnavailable || time.Now().After(deadline) {
			fmt.Fprintln(ts.Stdout(), response.Status, string(text))
			return
		}
		time.Sleep(pollInTests) // the peers are still to be asked what they have
		r, err = http.NewRequest(method, r.URL.String(), strings.NewReader(body))
		ts.Check(err)
	}
}
