package ollama

import (
	"io"
	"slices"
	"strings"
	"testing"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/internal/enginetest"
	"lobstah/internal/tinygguf"
	"lobstah/openai"
)

const hello = `"messages":[{"role":"user","content":"Hello grid"}]`

// A real Ollama: its facts, and each dialect, whole and streamed, metered.
func TestRealOllama(t *testing.T) {
	t.Parallel()
	server := enginetest.StartOllama(t, map[string]tinygguf.Spec{
		"tiny": tinygguf.Words(), "tool:v1": tinygguf.Tool(), "embed": tinygguf.Embed(),
	})
	e, err := New(server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	for _, test := range []struct{ path, body string }{
		{"/v1/chat/completions", `{"model":"tiny","temperature":0,"max_tokens":6,"stream_options":{"include_usage":true},` + hello + `}`},
		{"/v1/completions", `{"model":"tiny:latest","temperature":0,"max_tokens":6,"stream_options":{"include_usage":true},"prompt":"The grid"}`},
		{"/v1/responses", `{"model":"tiny","temperature":0,"max_output_tokens":6,"input":"Hello grid"}`},
		{"/v1/messages", `{"model":"tiny","temperature":0,"max_tokens":6,` + hello + `}`},
	} {
		meter := openai.NewMeter(openai.DialectOf(test.path))
		meter.Body([]byte(read(t, e, test.path, test.body)))
		if !meter.Ended() || meter.Usage.Input == 0 || meter.Usage.Output == 0 || meter.Usage.Output > 6 {
			t.Errorf("%s: metered as %+v, failure %v", test.path, meter, meter.Failure)
		}
		meter = openai.NewMeter(openai.DialectOf(test.path))
		text := read(t, e, test.path, strings.Replace(test.body, "{", `{"stream":true,`, 1))
		for scanner := openai.NewScanner(strings.NewReader(text)); ; {
			event, err := scanner.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			meter.Event(event.Data)
		}
		if !meter.Ended() || !meter.Usage.Known || meter.Usage.Output == 0 || meter.Deltas == 0 {
			t.Errorf("%s, streaming: metered as %+v, failure %v:\n%s", test.path, meter, meter.Failure, text)
		}
	}
	meter := openai.NewMeter(openai.Embeddings)
	meter.Body([]byte(read(t, e, "/v1/embeddings", `{"model":"embed","input":"hello"}`)))
	if !meter.Ended() || meter.Usage.Input == 0 {
		t.Errorf("embeddings: metered as %+v, failure %v", meter, meter.Failure)
	}
	checkFacts(t, e)
}

// checkFacts looks at the list once tiny is in memory.
func checkFacts(t *testing.T, e engine.Engine) {
	t.Helper()
	models, err := e.Models(t.Context())
	if err != nil || len(models) != 3 {
		t.Fatalf("Models() = %v, %v; want 3", models, err)
	}
	facts := map[string]grid.Model{}
	for _, m := range models {
		facts[m.ID] = m
		if len(m.Digest) != len("sha256:")+64 || m.Engine != "ollama" || m.MaxContext == 0 {
			t.Errorf("facts of %s: %+v", m.ID, m)
		}
	}
	if m := facts["tiny:latest"]; !m.Loaded || m.ContextLength == 0 || m.Family != "llama" || m.Quantization != "F16" {
		t.Errorf("facts of the model in memory: %+v", m)
	}
	if m := facts["tool:v1"]; m.Loaded || !slices.Contains(m.Capabilities, "tools") {
		t.Errorf("facts of the tool model: %+v", m)
	}
	if m := facts["embed:latest"]; !slices.Contains(m.Capabilities, "embedding") {
		t.Errorf("facts of the embedding model: %+v", m)
	}
}

func read(t *testing.T, e engine.Engine, path, body string) string {
	t.Helper()
	answer, err := e.Do(t.Context(), engine.Call{Path: path, Body: []byte(body)})
	if err != nil {
		t.Fatalf("%s %s: %v", path, body, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
