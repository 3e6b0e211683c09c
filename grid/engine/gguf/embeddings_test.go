package gguf

import (
	"strings"
	"testing"

	"lobstah/internal/enginetest"
	"lobstah/internal/tinygguf"
)

func TestEmbeddingsEqualLlamaServers(t *testing.T) {
	t.Parallel()
	spec := ofType(tinygguf.Embed(), tinygguf.F32)
	ours, _ := serve(t, build(t, spec), Options{})
	theirs := enginetest.LlamaServer(t, enginetest.Options{Model: spec, Args: append([]string{"--embeddings"}, sameNumbers...)})
	body := `{"input":["The queue is fair.","` + strings.Repeat("the grid ", 30) + `"]}`
	type answer struct {
		Data  []struct{ Embedding []float32 }
		Usage struct {
			Prompt int `json:"prompt_tokens"`
		}
	}
	_, text := call(t, ours+"/v1/embeddings", body)
	got := decode[answer](t, text)
	_, text = call(t, theirs+"/v1/embeddings", body)
	want := decode[answer](t, text)
	if len(got.Data) != 2 || len(want.Data) != 2 || got.Usage != want.Usage {
		t.Fatalf("%d vectors for %d tokens, llama-server %d for %d", len(got.Data), got.Usage.Prompt, len(want.Data), want.Usage.Prompt)
	}
	for i := range got.Data {
		if same := dot(got.Data[i].Embedding, want.Data[i].Embedding); same < 0.99999 {
			t.Errorf("embedding %d has the cosine %g with llama-server's, want 1", i, same)
		}
	}
	if status, text := call(t, ours+"/v1/embeddings", `{"input":"x","encoding_format":"base64"}`); status != 200 || !strings.Contains(text, `"embedding":"`) {
		t.Errorf("as base64: %d %s", status, text)
	}
	if status, text := call(t, ours+"/v1/chat/completions", `{"messages":[{"role":"user","content":"x"}]}`); status != 400 || !strings.Contains(text, "/v1/embeddings") {
		t.Errorf("a chat with an embedding model: %d %s", status, text)
	}
}
