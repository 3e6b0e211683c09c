package gguf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"lobstah/internal/tinygguf"
)

// smallest is a whole model in some 1,500 bytes, so that a fuzzer changes what
// matters.
func smallest(tokenizer string) []byte {
	w := newWriter(3, 12, 17)
	text := func(key, value string) { w.put(key).put(8).put(value) }
	number := func(key string, value uint32) { w.put(key).put(4).put(value) }
	text("general.architecture", "llama")
	number("general.alignment", 8)
	number("llama.context_length", 64)
	number("llama.embedding_length", 2)
	number("llama.block_count", 1)
	number("llama.feed_forward_length", 2)
	number("llama.attention.head_count", 1)
	w.put("llama.attention.layer_norm_rms_epsilon").put(6).put(float32(1e-5))
	w.put("llama.rope.freq_base").put(12).put(float64(10000))
	text("tokenizer.ggml.model", tokenizer)
	text("tokenizer.ggml.pre", "llama-bpe")
	tokens := []string{"<unk>", "<s>", "</s>", "a", "b", "ab", "<0x41>"}
	w.put("tokenizer.ggml.tokens").put(9).put(8).put(uint64(len(tokens)))
	for _, token := range tokens {
		w.put(token)
	}
	w.put("tokenizer.ggml.token_type").put(9).put(5).put(uint64(len(tokens))).put([]int32{2, 3, 3, 1, 1, 1, 6})
	w.put("tokenizer.ggml.scores").put(9).put(6).put(uint64(len(tokens))).put(make([]float32, len(tokens)))
	w.put("tokenizer.ggml.merges").put(9).put(8).put(uint64(1)).put("a b")
	number("tokenizer.ggml.bos_token_id", 1)
	w.put("tokenizer.ggml.add_bos_token").put(7).put(true)
	vocabulary := uint64(len(tokens))
	for i, t := range []struct {
		name string
		dims []uint64
	}{
		{"token_embd.weight", []uint64{2, vocabulary}}, {"output_norm.weight", []uint64{2}}, {"output.weight", []uint64{2, vocabulary}},
		{"blk.0.attn_norm.weight", []uint64{2}}, {"blk.0.ffn_norm.weight", []uint64{2}},
		{"blk.0.attn_q.weight", []uint64{2, 2}}, {"blk.0.attn_k.weight", []uint64{2, 2}}, {"blk.0.attn_v.weight", []uint64{2, 2}},
		{"blk.0.attn_output.weight", []uint64{2, 2}}, {"blk.0.ffn_gate.weight", []uint64{2, 2}},
		{"blk.0.ffn_up.weight", []uint64{2, 2}}, {"blk.0.ffn_down.weight", []uint64{2, 2}},
	} {
		w.put(t.name).put(len(t.dims)).put(t.dims).put(0).put(uint64(i * 56))
	}
	return w.data(12*56 + 8).Bytes()
}

func TestSmallestModelRuns(t *testing.T) {
	t.Parallel()
	for _, tokenizer := range []string{"llama", "gpt2"} {
		file := smallest(tokenizer)
		m, err := read(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		if err := sayOne(t.Context(), m); err != nil {
			t.Error(err)
		}
	}
}

func sayOne(ctx context.Context, m *Model) error {
	prompt := append(m.tokens.encode(plain("ab </s> c A 12 é", false)), 0)
	_, err := newSession(m).answer(ctx, order{prompt: prompt, most: 1}, func(string) error { return nil })
	return err
}

func FuzzHeader(f *testing.F) {
	f.Add(smallest("llama"))
	f.Add(tensorHeader("t", []uint64{32, 2}, 8, 0).data(128).Bytes())
	f.Add(newWriter(2, 0, 1).put("k").put(9).put(8).put(uint64(2)).put("a").put("b").Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := readHeader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		for name, tensor := range h.tensors {
			if end := h.data + tensor.offset + tensor.typ.size(tensor.numbers()); end > int64(len(data)) || end < 0 {
				t.Errorf("tensor %q ends at %d in a file of %d bytes", name, end, len(data))
			}
		}
	})
}

// FuzzModel loads whole files and lets what loads say a token.
func FuzzModel(f *testing.F) {
	f.Add(smallest("llama"))
	f.Add(smallest("gpt2"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		if err := sayOne(t.Context(), m); err != nil && !errors.Is(err, errNotFinite) {
			t.Error(err)
		}
	})
}

// FuzzTokenize wants every text back from its tokens.
func FuzzTokenize(f *testing.F) {
	for _, text := range tokenizeTexts {
		f.Add(text)
	}
	models := []*Model{build(f, tinygguf.Words())}
	for _, pre := range []string{"gpt-2", "llama-bpe", "qwen2", "smollm"} {
		models = append(models, build(f, tinygguf.RandomBPE(1, pre)))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || strings.Contains(text, "think>") || strings.Contains(text, blank) {
			return // JSON has no other text; marks that everyone may say get a space after them
		}
		for i, m := range models {
			var back strings.Builder
			for _, token := range m.tokens.encode(plain(text, true)) {
				back.WriteString(m.tokens.shown[token])
			}
			got := back.String()
			if i == 0 {
				got = strings.TrimPrefix(got, " ") // SentencePiece puts one
			}
			if got != text {
				t.Errorf("model %d: %q comes back as %q", i, text, got)
			}
		}
	})
}

// FuzzRequest wants an answer that is JSON or a stream for every body.
func FuzzRequest(f *testing.F) {
	f.Add("/v1/chat/completions", `{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"stop":["x",""],"max_tokens":3}`)
	f.Add("/v1/chat/completions", `{"messages":[{"role":"user","content":null}],"stream":true,"logit_bias":{"3":-100},"seed":-1}`)
	f.Add("/v1/completions", `{"prompt":[[3,4]],"temperature":0,"top_p":0,"ignore_eos":true}`)
	f.Add("/v1/completions", `{"prompt":["ab"],"n":null,"frequency_penalty":2}`)
	file := smallest("llama")
	m, err := read(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		f.Fatal(err)
	}
	h := NewHandler(m, Options{})
	f.Fuzz(func(t *testing.T, path, body string) {
		if path != "/v1/completions" {
			path = "/v1/chat/completions"
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
		text := w.Body.String()
		if w.Header().Get("Content-Type") == "text/event-stream" {
			if !strings.HasSuffix(text, "data: [DONE]\n\n") {
				t.Errorf("%s: stream ends with %q", body, text)
			}
		} else if !json.Valid(w.Body.Bytes()) || w.Code >= http.StatusInternalServerError {
			t.Errorf("%s: %d %s", body, w.Code, text)
		}
	})
}
