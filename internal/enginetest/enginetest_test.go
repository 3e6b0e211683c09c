package enginetest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"lobstah/internal/enginetest"
	"lobstah/internal/tinygguf"
)

func post(t *testing.T, url, key, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

const hello = `{"model":"tiny","max_tokens":24,"messages":[{"role":"user","content":"Hello grid"}]`

func TestModelsInLlamaServer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		options    enginetest.Options
		want       string
	}{
		{"words", hello + `}`, enginetest.Options{}, `"content":" `},
		{"tool call", hello + `,"tools":[{"type":"function","function":{"name":"add","parameters":{"type":"object"}}}]}`,
			enginetest.Options{Model: tinygguf.Tool()}, `"finish_reason":"tool_calls"`},
		{"reasoning", hello + `}`, enginetest.Options{Model: tinygguf.Think()}, `"reasoning_content":" I should say two words.`},
		{"alias and slots", hello + `}`, enginetest.Options{Alias: "tiny", Slots: 2, Context: 512}, `"model":"tiny"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := enginetest.LlamaServer(t, test.options)
			status, got := post(t, url+"/v1/chat/completions", "", test.body)
			if status != http.StatusOK || !strings.Contains(got, test.want) {
				t.Errorf("answer is %d %s, want one with %s", status, got, test.want)
			}
		})
	}
}

func TestEmbeddingsAndKeyInLlamaServer(t *testing.T) {
	t.Parallel()
	url := enginetest.LlamaServer(t, enginetest.Options{
		Model: tinygguf.Embed(), APIKey: "secret", Args: []string{"--embeddings"},
	})
	if status, got := post(t, url+"/v1/embeddings", "", `{"input":"hello"}`); status != http.StatusUnauthorized {
		t.Errorf("without the key: %d %s, want 401", status, got)
	}
	_, got := post(t, url+"/v1/embeddings", "secret", `{"input":"hello"}`)
	var answer struct {
		Data []struct{ Embedding []float32 }
	}
	if err := json.Unmarshal([]byte(got), &answer); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if len(answer.Data) != 1 || len(answer.Data[0].Embedding) != 64 {
		t.Errorf("answer is %s, want one embedding of 64 numbers", got)
	}
}

func TestKillEndsTheEngine(t *testing.T) {
	t.Parallel()
	e := enginetest.StartLlamaServer(t, enginetest.Options{})
	e.Kill()
	if response, err := http.Get(e.URL + "/health"); err == nil {
		response.Body.Close()
		t.Errorf("GET /health after Kill answered %s, want no connection", response.Status)
	}
	if log := e.Log(); !strings.Contains(log, "llama") {
		t.Errorf("Log() = %q, want llama-server's output", log)
	}
}

func TestModelsInOllama(t *testing.T) {
	t.Parallel()
	e := enginetest.StartOllama(t, map[string]tinygguf.Spec{
		"tiny": tinygguf.Words(), "think": tinygguf.Think(), "tool": tinygguf.Tool(), "embed": tinygguf.Embed(),
	})
	tests := []struct{ path, body, want string }{
		{"/v1/chat/completions", hello + `}`, `"role":"assistant"`},
		{"/api/chat", strings.Replace(hello, "tiny", "think", 1) + `,"stream":false}`, `"thinking":"I should`},
		{"/api/chat", strings.Replace(hello, "tiny", "tool", 1) + `,"stream":false,"tools":[{"type":"function","function":{"name":"add","description":"adds","parameters":{"type":"object","properties":{"unit":{"type":"string"}}}}}]}`, `"tool_calls"`},
		{"/api/embed", `{"model":"embed","input":"hello"}`, `"embeddings":[[`},
	}
	for _, test := range tests {
		status, got := post(t, e.URL+test.path, "", test.body)
		if status != http.StatusOK || !strings.Contains(got, test.want) {
			t.Errorf("%s %s: %d %s, want %s", test.path, test.body, status, got, test.want)
		}
	}
}
