package ollama

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/grid/engine/openaiapi"
	"lobstah/internal/recording"
)

func newEngine(t *testing.T, handler http.Handler) *openaiapi.Engine {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	e, err := New(server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func TestHostURL(t *testing.T) {
	for variable, want := range map[string]string{
		"":                          "http://127.0.0.1:11434",
		"  ":                        "http://127.0.0.1:11434",
		"0.0.0.0":                   "http://127.0.0.1:11434",
		"0.0.0.0:8080":              "http://127.0.0.1:8080",
		"[::]:8080":                 "http://[::1]:8080",
		"::1":                       "http://[::1]:11434",
		"[::1]":                     "http://[::1]:11434",
		":56789":                    "http://127.0.0.1:56789",
		"gpu":                       "http://gpu:11434",
		"gpu:1234":                  "http://gpu:1234",
		"http://gpu":                "http://gpu:80",
		"https://gpu":               "https://gpu:443",
		"https://gpu:1234":          "https://gpu:1234",
		"http://gpu:11434/":         "http://gpu:11434",
		"http://gpu:11434/ollama/":  "http://gpu:11434/ollama",
		"gpu:99999":                 "http://gpu:11434",
		"gpu:-1":                    "http://gpu:11434",
		`"gpu:1234"`:                "http://gpu:1234",
		"http://[2001:db8::1]:1234": "http://[2001:db8::1]:1234",
	} {
		if got := HostURL(variable); got != want {
			t.Errorf("HostURL(%q) = %s; want %s", variable, got, want)
		}
	}
}

// The facts of four models as Ollama 0.33 told them, two of them after
// /api/show, one of them loaded with another context than its Modelfile's.
func TestModels(t *testing.T) {
	t.Parallel()
	info := recording.Load(t, "ollama-v0.33.0-info")
	loaded := recording.Find(t, "ollama-v0.33.0-chat", "/api/ps after the load")
	e := newEngine(t, recording.Handler([]recording.Exchange{loaded}, info))
	got, err := e.Models(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	model := func(id, digest, parameters string, context int, loaded bool, capabilities ...string) grid.Model {
		return grid.Model{
			ID: id, Digest: "sha256:" + digest, ContextLength: context, MaxContext: 2048, Loaded: loaded,
			Capabilities: capabilities, Family: "llama", Parameters: parameters, Quantization: "F16", Engine: "ollama",
		}
	}
	want := []grid.Model{
		model("tiny-slow:latest", "7870ed43064b80e25207ee4b6eabb8936b9a71c10e616ea4e4edbf861167c260", "14.69M", 2048, false, "completion"),
		model("tiny-tools:latest", "1c58af78c4cb045c0aef25258e0f074f3b4f4dbd989052f85771c4f814df582e", "56K", 2048, false, "completion", "tools", "thinking"),
		model("tiny-think:latest", "0bbcf4cb49c7d0af19e0e79e9b1d88136e67134a12c814e512e35151bbbb8388", "54K", 2048, false, "completion", "thinking"),
		model("tiny:latest", "e9778c9eef1111af2122c6d9c0de2987db793a942f3ba9a9f9d101cdcda15cb1", "366K", 1024, true, "completion"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Models() (-want +got):\n%s", diff)
	}
}

// /api/show costs Ollama a read of the model's file, so each digest is asked for
// once, however often the models are.
func TestShowOncePerDigest(t *testing.T) {
	t.Parallel()
	var shows atomic.Int32
	recorded := recording.Handler(recording.Load(t, "ollama-v0.33.0-info"))
	e := newEngine(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/show" {
			shows.Add(1)
		}
		recorded.ServeHTTP(w, r)
	}))
	for range 5 {
		if _, err := e.Models(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := shows.Load(); n != 4 {
		t.Errorf("asking 5 times for 4 models asked /api/show %d times; want 4", n)
	}
}

func TestChat(t *testing.T) {
	t.Parallel()
	e := newEngine(t, recording.Handler(recording.Load(t, "ollama-v0.33.0-info"), recording.Load(t, "ollama-v0.33.0-openai")))
	want := recording.Find(t, "ollama-v0.33.0-openai", "/v1/chat/completions, streaming, include_usage")
	answer, err := e.Do(t.Context(), engine.Call{Path: want.Path, Body: want.Body}) // it names "tiny", listed as tiny:latest
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil || string(got) != string(want.Answer()) || answer.ContentType != "text/event-stream" {
		t.Errorf("answer %s %q, %v; want the recorded stream", answer.ContentType, got, err)
	}
	if _, err := e.Do(t.Context(), engine.Call{Path: want.Path, Body: []byte(`{"model":"tiny:8b"}`)}); err == nil {
		t.Error("tiny:8b was served; Ollama has tiny:latest only")
	}
}

// An Ollama of before 0.1.33 has no /api/ps, one of before 0.6.4 tells no
// capabilities, and cloud models are nobody's to lend.
func TestOldAndCloud(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/tags", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"models":[{"name":"old:7b","digest":"aa","details":{"family":"llama","parameter_size":"7B","quantization_level":"Q4_0"}},
			{"name":"big:cloud","digest":"bb","remote_host":"https://ollama.com:443","remote_model":"big"}]}`)
	})
	mux.HandleFunc("POST /api/show", func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); !strings.Contains(string(body), "old:7b") {
			t.Errorf("/api/show was asked for %s", body)
		}
		io.WriteString(w, `{"parameters":"stop \"num_ctx 5\"\nnum_ctx 8192","model_info":{"general.architecture":"llama","llama.context_length":131072}}`)
	})
	got, err := newEngine(t, mux).Models(t.Context())
	want := []grid.Model{{
		ID: "old:7b", Digest: "sha256:aa", ContextLength: 8192, MaxContext: 131072, Family: "llama",
		Parameters: "7B", Quantization: "Q4_0", Engine: "ollama",
	}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Models() %v (-want +got):\n%s", err, diff)
	}
}
