package openaiapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/internal/recording"
	"lobstah/internal/testport"
	"lobstah/openai"
)

var _ engine.Engine = (*Engine)(nil)

func start(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func newEngine(t *testing.T, config Config) *Engine {
	t.Helper()
	e, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// serve answers /v1/models with a list and everything else as handler does.
func serve(list string, handler http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, list)
	})
	if handler != nil {
		mux.HandleFunc("POST /", handler)
	}
	return mux
}

const oneModel = `{"object":"list","data":[{"id":"m","object":"model"}]}`

var chat = engine.Call{Path: "/v1/chat/completions", Body: []byte(`{"model":"m","messages":[]}`)}

func TestParseBase(t *testing.T) {
	for text, want := range map[string]string{
		"http://127.0.0.1:8080":     "http://127.0.0.1:8080",
		"http://127.0.0.1:8080/":    "http://127.0.0.1:8080",
		"http://127.0.0.1:8080/v1":  "http://127.0.0.1:8080",
		"http://127.0.0.1:8080/v1/": "http://127.0.0.1:8080",
		"localhost:1234":            "http://localhost:1234",
		"https://h.example/llm/v1":  "https://h.example/llm",
		"http://[::1]:8080":         "http://[::1]:8080",
		" http://h ":                "http://h",
		"":                          "",
		"ftp://h":                   "",
		"http://":                   "",
		"http://user:pass@h":        "",
		"http://h/?key=1":           "",
		"http://h:\x00":             "",
	} {
		got, err := parseBase(text)
		if err != nil {
			if want != "" {
				t.Errorf("parseBase(%q): %v; want %s", text, err, want)
			}
			if strings.Contains(err.Error(), "pass") && strings.Contains(text, "pass") && strings.Contains(err.Error(), "user:") {
				t.Errorf("parseBase(%q) repeats the password: %v", text, err)
			}
			continue
		}
		if got.String() != want {
			t.Errorf("parseBase(%q) = %s; want %q", text, got, want)
		}
	}
}

func TestNewChecksTheKey(t *testing.T) {
	if _, err := New(Config{BaseURL: "h", Key: "secret\r\nX-Evil: 1"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a key of two lines: %v; want an error that does not tell it", err)
	}
	e, err := New(Config{BaseURL: "h", Key: " secret\n"})
	if err != nil || e.client.key != "secret" {
		t.Errorf("a key from a file: %q, %v", e.client.key, err)
	}
}

// The lists are recorded from llama-server, and written after the documents of
// the engines that cannot be run here.
func TestModels(t *testing.T) {
	t.Parallel()
	info := recording.Load(t, "llama-server-info")
	router := recording.Load(t, "llama-server-router")
	tests := []struct {
		name    string
		handler http.Handler
		want    []grid.Model
	}{
		{"llama-server", recording.Handler(info), []grid.Model{{
			ID: "tiny", ContextLength: 2048, MaxContext: 2048, Loaded: true, Capabilities: []string{"completion"},
			Parameters: "366K", Quantization: "F16", Engine: "llama-server",
		}}},
		{"llama-server with several models", recording.Handler(router), []grid.Model{
			{ID: "tiny", ContextLength: 2048, Engine: "llama-server"},
			{ID: "tiny-think", ContextLength: 2048, Engine: "llama-server"},
		}},
		{"vLLM", serve(`{"object":"list","data":[{"id":"Qwen/Qwen3-8B","object":"model","created":1,"owned_by":"vllm","root":"/m","parent":null,"max_model_len":40960,"permission":[{}]}]}`, nil),
			[]grid.Model{{ID: "Qwen/Qwen3-8B", ContextLength: 40960, Loaded: true, Engine: "vllm"}}},
		{"LM Studio", studio(), []grid.Model{
			{ID: "qwen3-4b", ContextLength: 8192, MaxContext: 32768, Loaded: true, Capabilities: []string{"completion", "tools"}, Family: "qwen3", Quantization: "4bit", Engine: "lm-studio"},
			{ID: "text-embedding-nomic", MaxContext: 2048, Capabilities: []string{"embedding"}, Family: "nomic-bert", Quantization: "Q4_0", Engine: "lm-studio"},
		}},
		{"a path as name", serve(`{"data":[{"id":"/home/me/models/Qwen3-4B-Q4_K_M.gguf","aliases":["/home/me/models/Qwen3-4B-Q4_K_M.gguf","small"],"owned_by":"llamacpp"}]}`, nil), []grid.Model{
			{ID: "Qwen3-4B-Q4_K_M", Loaded: true, Engine: "llama-server"}, {ID: "small", Loaded: true, Engine: "llama-server"},
		}},
		{"names that cannot be announced", serve(`{"data":[{"id":""},{"id":"a\nb"},{"id":"ok","created":"a string"},{"id":7}]}`, nil), []grid.Model{{ID: "ok"}}},
		{"none", serve(`{"object":"list","data":[]}`, nil), []grid.Model{}},
		{"none, as Go programs say it", serve(`{"object":"list","data":null}`, nil), []grid.Model{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t, Config{BaseURL: start(t, test.handler) + "/v1/"})
			got, err := e.Models(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Models() (-want +got):\n%s", diff)
			}
		})
	}
}

func studio() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /v1/models", serve(`{"object":"list","data":[{"id":"qwen3-4b","object":"model","owned_by":"organization_owner"},{"id":"text-embedding-nomic","object":"model","owned_by":"organization_owner"}]}`, nil))
	mux.HandleFunc("GET /api/v0/models", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"object":"list","data":[
			{"id":"qwen3-4b","object":"model","type":"llm","publisher":"q","arch":"qwen3","compatibility_type":"mlx","quantization":"4bit","state":"loaded","max_context_length":32768,"loaded_context_length":8192,"capabilities":["tool_use"]},
			{"id":"text-embedding-nomic","object":"model","type":"embeddings","arch":"nomic-bert","quantization":"Q4_0","state":"not-loaded","max_context_length":2048}]}`)
	})
	return mux
}

func TestDoPassesBytes(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var body string
	url := start(t, serve(oneModel, func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		got, body = r, string(raw)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		io.WriteString(w, `{"any": "thing"}`)
	}))
	e := newEngine(t, Config{BaseURL: url, Key: "k1"})
	const sent = `{"model" : "m", "unknown":[1,  2], "stream":false}`
	answer, err := e.Do(t.Context(), engine.Call{Path: "/v1/messages", Body: []byte(sent), Header: http.Header{
		"Anthropic-Version": {"2023-06-01"}, "Authorization": {"Bearer of-a-client"}, "Cookie": {"c"}, "X-Api-Key": {"of-a-client"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || string(text) != `{"any": "thing"}` || answer.Status != 200 || answer.ContentType != "application/json; charset=utf-8" {
		t.Errorf("answer %d %s %q, %v", answer.Status, answer.ContentType, text, err)
	}
	if body != sent {
		t.Errorf("the engine got %s; want %s", body, sent)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer k1", "Anthropic-Version": "2023-06-01", "Content-Type": "application/json",
		"Cookie": "", "X-Api-Key": "", "Accept-Encoding": "",
	} {
		if value := got.Header.Get(name); value != want {
			t.Errorf("the engine got %s: %q; want %q", name, value, want)
		}
	}
}

// A digest in the name, and a name that is a path for the engine, change the
// model member alone.
func TestDoNamesTheModelAsTheEngineDoes(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("ab", 32)
	var body string
	url := start(t, serve(`{"data":[{"id":"/models/q.gguf","owned_by":"vllm"}]}`, func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		body = string(raw)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{}`)
	}))
	withDigest := func(context.Context, *Client) ([]Entry, error) {
		return []Entry{{Model: grid.Model{ID: "m", Digest: digest}, Aliases: []string{"also"}}}, nil
	}
	for _, test := range []struct {
		config     Config
		sent, want string
	}{
		{Config{BaseURL: url}, `{"model":"q","x":1.0}`, `{"model":"/models/q.gguf","x":1.0}`},
		{Config{BaseURL: url, List: withDigest}, `{"x":1.0, "model":"m@` + digest + `"}`, `{"x":1.0, "model":"m"}`},
		{Config{BaseURL: url, List: withDigest}, `{"model": "also"}`, `{"model": "also"}`},
	} {
		request, err := openai.ParseRequest([]byte(test.sent))
		if err != nil {
			t.Fatal(err)
		}
		for _, told := range []string{"", request.Model} {
			answer, err := newEngine(t, test.config).Do(t.Context(), engine.Call{Path: "/v1/completions", Body: request.Body, Model: told})
			if err != nil {
				t.Errorf("%s: %v", test.sent, err)
				continue
			}
			answer.Body.Close()
			if body != test.want {
				t.Errorf("the engine got %s; want %s", body, test.want)
			}
		}
	}
}

func TestDoRefusals(t *testing.T) {
	t.Parallel()
	answers := func(status int, kind, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.Header()["Content-Type"] = nil
			if kind != "" {
				w.Header().Set("Content-Type", kind)
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	const page = "<!doctype html><title>hi</title>"
	tests := []struct {
		name    string
		handler http.HandlerFunc
		call    engine.Call
		status  int
		message string // a part of it
		retry   time.Duration
	}{
		{"unknown model", nil, engine.Call{Path: chat.Path, Body: []byte(`{"model":"nope"}`)}, 404, `does not serve the model "nope"; it has m`, 0},
		{"no model", nil, engine.Call{Path: chat.Path, Body: []byte(`{}`)}, 400, "name the model", 0},
		{"no JSON", nil, engine.Call{Path: chat.Path, Body: []byte(`{`)}, 400, "not a JSON object", 0},
		{"private path", nil, engine.Call{Path: "/slots", Body: chat.Body}, 404, "nothing at this path", 0},
		{"its own 400", answers(400, "application/json", `{"error":{"code":400,"message":"'messages' is required","type":"invalid_request_error"}}`), chat, 400, "'messages' is required", 0},
		{"loading", answers(503, "application/json", `{"error":{"message":"Loading model","type":"unavailable_error","code":503}}`), chat, 503, "Loading model", 3 * time.Second},
		{"busy", answers(503, "application/json", `{"error":"server busy, please try again.  maximum pending requests exceeded"}`), chat, 503, "server busy", time.Second},
		{"told when", answers(429, "application/json", `{"error":{"message":"slow down"}}`, "Retry-After", "7"), chat, 429, "slow down", 7 * time.Second},
		{"told nonsense", answers(429, "application/json", `{"error":{"message":"slow down"}}`, "Retry-After", "-9e9"), chat, 429, "slow down", 0},
		{"our key", answers(401, "application/json", `{"error":{"message":"Invalid API Key"}}`), chat, 502, "--engine-key", 0},
		{"web page", answers(200, "text/html; charset=utf-8", page), chat, 502, "web page", 0},
		{"web page without a type", answers(200, "", "\n "+page), chat, 502, "web page", 0},
		{"web page as failure", answers(500, "text/html", page), chat, 500, "web page", 0},
		{"nothing", answers(200, "text/plain", ""), chat, 502, "with nothing", 0},
		{"compressed", answers(200, "application/json", "\x1f\x8b", "Content-Encoding", "gzip"), chat, 502, "compressed", 0},
		{"redirect", answers(302, "", "", "Location", "http://elsewhere.example/"), chat, 502, "redirects to", 0},
		{"no such path", answers(404, "text/plain", "404 page not found"), chat, 404, "does not have /v1/chat/completions", 0},
		{"gone", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, chat, 502, "closed the connection", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t, Config{BaseURL: start(t, serve(oneModel, test.handler)), Key: "secret-key"})
			_, err := e.Do(t.Context(), test.call)
			got, ok := errors.AsType[*openai.Error](err)
			if !ok {
				t.Fatalf("Do failed with %v; want an *openai.Error", err)
			}
			if got.Status != test.status || !strings.Contains(got.Message, test.message) || got.RetryAfter != test.retry {
				t.Errorf("Do failed with %d %q, retry after %v; want %d %q, %v", got.Status, got.Message, got.RetryAfter, test.status, test.message, test.retry)
			}
			if strings.Contains(got.Message, "secret-key") {
				t.Errorf("the message tells the key: %s", got.Message)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	url := "http://127.0.0.1:" + testport.Free()
	e := newEngine(t, Config{BaseURL: url})
	_, modelsErr := e.Models(t.Context())
	_, doErr := e.Do(t.Context(), chat)
	for _, err := range []error{modelsErr, doErr} {
		got, ok := errors.AsType[*openai.Error](err)
		if !ok || got.Status != 502 || !strings.Contains(got.Message, url) || !strings.Contains(got.Message, "start it") {
			t.Errorf("an engine that is not there: %v; want 502 with its address and what to do", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Models(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Models with an ended context: %v", err)
	}
	if _, err := e.Do(ctx, chat); !errors.Is(err, context.Canceled) {
		t.Errorf("Do with an ended context: %v", err)
	}
}

// An end of the context closes the connection at once, while the answer comes.
func TestCancelReachesTheEngine(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	url := start(t, serve(oneModel, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: {}\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answer, err := newEngine(t, Config{BaseURL: url}).Do(ctx, chat)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.ReadFull(answer.Body, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Error("the engine did not notice within a minute")
	}
	if _, err := io.ReadAll(answer.Body); !errors.Is(err, context.Canceled) {
		t.Errorf("reading on: %v; want the context's error", err)
	}
}

func TestModelsRefusesWhatIsNoList(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{}`, `[]`, `"x"`, `{"data":{"id":"m"}}`, `<html>`, ``, `{"data":[{"id":"` + strings.Repeat("x", maxList) + `"}]}`} {
		e := newEngine(t, Config{BaseURL: start(t, serve(body, nil))})
		models, err := e.Models(t.Context())
		if got, ok := errors.AsType[*openai.Error](err); !ok || got.Status != 502 {
			t.Errorf("Models of %.40q = %v, %v; want a failure", body, models, err)
		}
	}
}

func TestQuantization(t *testing.T) {
	for fileType, want := range map[string]string{
		"F16": "F16", "Q4_K - Medium": "Q4_K_M", "Q3_K - Large": "Q3_K_L", "Q8_0": "Q8_0", "all F32": "F32",
		"IQ2_XXS - 2.0625 bpw": "IQ2_XXS", "MXFP4 MoE": "MXFP4 MoE", "": "",
	} {
		if got := quantization(fileType); got != want {
			t.Errorf("quantization(%q) = %q; want %q", fileType, got, want)
		}
	}
	for file, want := range map[string]string{
		"Qwen3-4B-Q4_K_M.gguf": "Q4_K_M", "llama-3.1-8b.q8_0.gguf": "Q8_0", "gemma-IQ2_XXS.gguf": "IQ2_XXS",
		"phi-f16.gguf": "F16", "gpt-oss-20b-mxfp4.gguf": "MXFP4", "plain.gguf": "", "": "",
	} {
		if got := quantizationInName(file); got != want {
			t.Errorf("quantizationInName(%q) = %q; want %q", file, got, want)
		}
	}
}

// FuzzList feeds answers to GET /v1/models: whatever comes, every model can be
// announced.
func FuzzList(f *testing.F) {
	for _, e := range recording.Load(f, "llama-server-info") {
		f.Add(string(e.Answer()))
	}
	f.Add(`{"data":[{"id":"/a/b.gguf","aliases":["x",""],"meta":null,"status":{"value":"loaded"}}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		list := new(openAIList).entries
		transport := roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
		})
		base, _ := parseBase("http://fuzz")
		entries, err := ask(t.Context(), list, newClient(base, "", transport), Config{})
		if err == nil && !json.Valid([]byte(body)) {
			t.Errorf("a list was read from %q", body)
		}
		for _, e := range entries {
			if !usable(e.ID) {
				t.Errorf("a model is called %q", e.ID)
			}
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
