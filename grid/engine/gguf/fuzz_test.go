package gguf

import (
	"bytes"
	"context"
	"testing"
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
		if err := sayOne(t.Context(), m); err != nil {
			t.Error(err)
		}
	})
}
