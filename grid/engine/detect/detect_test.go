package detect

import (
	"cmp"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lobstah/internal/enginetest"
	"lobstah/internal/recording"
	"lobstah/internal/testport"
)

func start(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// answers serves fixed bodies by path.
func answers(bodies map[string]string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := bodies[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, body)
	})
}

// nothing is an address where nothing listens.
func nothing() string { return "127.0.0.1:" + testport.Free() }

func notInstalled() (string, bool) { return "", false }

// look searches given addresses only; no OLLAMA_HOST counts. It waits for answers
// as long as a busy machine takes.
func look(t *testing.T, config Config) []Finding {
	t.Helper()
	t.Setenv("OLLAMA_HOST", "")
	config.Timeout = cmp.Or(config.Timeout, 2*time.Minute)
	if config.Program == nil {
		config.Program = notInstalled
	}
	return Look(t.Context(), config)
}

func TestLookTellsEnginesApart(t *testing.T) {
	ollamaInfo := recording.Load(t, "ollama-v0.33.0-info")
	tests := []struct {
		name    string
		handler http.Handler
		kind    string
		models  int
		problem Problem
		text    string
	}{
		{"Ollama", recording.Handler(ollamaInfo), Ollama, 4, None, "ollama 0.0.0 at % with 4 models"},
		{"Ollama without models", answers(map[string]string{"/api/version": `{"version":"0.33.0"}`, "/api/tags": `{"models":[]}`}), Ollama, 0, NoModels, "ollama 0.33.0 at % runs but has no model"},
		{"llama-server", recording.Handler(recording.Load(t, "llama-server-info")), LlamaServer, 1, None, "llama-server at % with 1 model"},
		{"llama-server with several", recording.Handler(recording.Load(t, "llama-server-router")), LlamaServer, 2, None, "llama-server at % with 2 models"},
		{"loading", refusing(503, `{"error":{"message":"Loading model","type":"unavailable_error","code":503}}`), LlamaServer, 0, Loading, "llama-server at % is loading its model"},
		{"with a key", refusing(401, `{"error":{"message":"Invalid API Key"}}`), Other, 0, NeedsKey, "an engine at % wants a key"},
		{"vLLM", answers(map[string]string{"/v1/models": `{"data":[{"id":"m","owned_by":"vllm","max_model_len":4096}]}`}), VLLM, 1, None, "vllm at % with 1 model"},
		{"LM Studio", answers(map[string]string{"/v1/models": `{"data":[{"id":"m","owned_by":"organization_owner"}]}`, "/api/v0/models": `{"data":[{"id":"m","state":"loaded"}]}`}), LMStudio, 1, None, "lm-studio at % with 1 model"},
		{"some other", answers(map[string]string{"/v1/models": `{"data":[{"id":"m"}]}`}), Other, 1, None, "openai-compatible at % with 1 model"},
		{"a web site with a password", refusing(401, "<html>"), Other, 0, NotAnEngine, "what listens at % is not an engine"},
		{"a web site that forbids", refusing(403, "{}"), Other, 0, NotAnEngine, "what listens at % is not an engine"},
		{"a web site", answers(map[string]string{"/": "<html>", "/v1/models": "<html>"}), Other, 0, NotAnEngine, "what listens at % is not an engine"},
		{"not even HTTP", nil, Other, 0, NotAnEngine, "what listens at % is not an engine"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			address, config := "", Config{}
			if test.handler == nil {
				address, config.Timeout = mute(t), 500*time.Millisecond
			} else {
				address = start(t, test.handler)
			}
			config.Addresses = []string{address}
			found := look(t, config)
			if len(found) != 1 {
				t.Fatalf("Look found %v; want one", found)
			}
			f := found[0]
			want := strings.Replace(test.text, "%", "http://"+address, 1)
			if f.Kind != test.kind || len(f.Models) != test.models || f.Problem != test.problem || f.String() != want {
				t.Errorf("Look found %q (%s, %d models, %v: %v); want %q", f, f.Kind, len(f.Models), f.Problem, f.Err, want)
			}
			if canServe := f.Problem <= Loading; canServe != (f.Engine != nil) {
				t.Errorf("Engine is %v with problem %v", f.Engine, f.Problem)
			}
			if f.Problem != None && f.Problem != NotAnEngine && f.Hint() == "" {
				t.Errorf("no hint for %v", f)
			}
		})
	}
}

func refusing(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
}

// mute accepts connections and says nothing.
func mute(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String() // the system accepts on our behalf
}

// A worker or router of ours, which serves /v1/models too, is no engine.
func TestLookPassesOverOurOwn(t *testing.T) {
	ours := answers(map[string]string{
		"/pubkey":    `{"pubkey":"lob1` + strings.Repeat("ab", 32) + `"}`,
		"/v1/models": `{"data":[{"id":"m"}]}`,
	})
	if found := look(t, Config{Addresses: []string{start(t, ours)}}); len(found) != 0 {
		t.Errorf("Look found %v", found)
	}
	list := Config{Addresses: []string{"127.0.0.1:17474", "127.0.0.1:17475", "127.0.0.1:8080"}, OllamaHost: "127.0.0.1:17474"}.candidates()
	if len(list) != 1 || list[0].dial != "127.0.0.1:8080" {
		t.Errorf("candidates are %v; want port 8080 alone", list)
	}
}

func TestLookForOllama(t *testing.T) {
	installed := func() (string, bool) { return "/usr/local/bin/ollama", true }
	running := start(t, recording.Handler(recording.Load(t, "ollama-v0.33.0-info")))
	other := start(t, answers(map[string]string{"/v1/models": `{"data":[{"id":"m"}]}`}))

	found := look(t, Config{Addresses: []string{nothing()}, Program: installed})
	if len(found) != 1 || found[0].Problem != NotRunning || found[0].String() != "ollama is installed (/usr/local/bin/ollama) but not running" || !strings.Contains(found[0].Hint(), "ollama serve") {
		t.Errorf("with an Ollama that does not run: %v", found)
	}
	found = look(t, Config{Addresses: []string{running, other}, Program: installed})
	if len(found) != 2 || found[0].Kind != Ollama || found[1].Kind != Other {
		t.Errorf("with two engines: %v", found)
	}
	gone := nothing()
	found = look(t, Config{OllamaHost: gone, Addresses: []string{running}})
	if len(found) != 2 || found[0].URL != "http://"+running || found[1].Problem != Unreachable || !strings.Contains(found[1].String(), gone) {
		t.Errorf("with OLLAMA_HOST pointing nowhere: %v", found)
	}
	found = look(t, Config{OllamaHost: running, Addresses: []string{running}})
	if len(found) != 1 {
		t.Errorf("with OLLAMA_HOST at an address of the list: %v", found)
	}
	if found = look(t, Config{Addresses: []string{gone}}); len(found) != 0 {
		t.Errorf("with nothing: %v", found)
	}
}

// The key goes to an engine that demands it, and to nobody else who listens.
func TestLookKeepsTheKey(t *testing.T) {
	const key = "Bearer secret"
	demanding := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != key {
			refusing(401, `{"error":{"message":"Invalid API Key"}}`).ServeHTTP(w, r)
			return
		}
		answers(map[string]string{"/v1/models": `{"data":[{"id":"m"}]}`}).ServeHTTP(w, r)
	}))
	other := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "" {
			t.Errorf("%s was sent %q", r.URL.Path, got)
		}
		http.NotFound(w, r)
	}))
	found := look(t, Config{Addresses: []string{demanding, other}, Key: "secret"})
	if len(found) != 2 || !found[0].Usable() || found[0].URL != "http://"+demanding || found[1].Problem != NotAnEngine {
		t.Errorf("Look found %v", found)
	}
}

func TestLookAtLlamaServer(t *testing.T) {
	url := enginetest.LlamaServer(t, enginetest.Options{Alias: "tiny"})
	found := look(t, Config{Addresses: []string{strings.TrimPrefix(url, "http://")}})
	if len(found) != 1 || !found[0].Usable() || found[0].Kind != LlamaServer || found[0].Models[0].ID != "tiny" {
		t.Fatalf("Look found %v", found)
	}
	if models, err := found[0].Engine.Models(t.Context()); err != nil || len(models) != 1 {
		t.Errorf("its engine lists %v, %v", models, err)
	}
}
