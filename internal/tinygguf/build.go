package tinygguf

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
)

const gaussianWidth = 64 // numbers in an embedding, if nothing else is asked for

// plan is a Spec with everything that follows from it.
type plan struct {
	Spec
	vocabulary *vocabulary
	width      int // of an embedding
	chain      *chain
	random     *rand.Rand
}

// Build gives the bytes of the GGUF file.
func (s Spec) Build() ([]byte, error) {
	p, err := s.plan()
	if err != nil {
		return nil, fmt.Errorf("building the model %s: %w", s.Name, err)
	}
	f := &file{}
	p.describe(f)
	p.tokenizer(f)
	p.weights(f)
	return f.bytes(), nil
}

func (s Spec) plan() (*plan, error) {
	if s.KVHeads == 0 {
		s.KVHeads = s.Heads
	}
	p := &plan{Spec: s, width: cmp.Or(s.Width, gaussianWidth), random: rand.New(rand.NewPCG(s.Seed, 7))}
	switch {
	case s.PreTokenizer != "" && s.Weights == Markov:
		return nil, fmt.Errorf("a Markov model needs a SentencePiece vocabulary: leave PreTokenizer empty")
	case s.Tied && s.Weights == Markov:
		return nil, fmt.Errorf("a Markov model's output matrix is not its embedding: leave Tied false")
	case s.Heads%s.KVHeads != 0 || s.HeadWidth%2 != 0:
		return nil, fmt.Errorf("%d heads of width %d do not share %d key heads", s.Heads, s.HeadWidth, s.KVHeads)
	case s.Type == Q8_0 && (s.FeedForward%q8Block != 0 || s.Heads*s.HeadWidth%q8Block != 0 || p.width%q8Block != 0):
		return nil, fmt.Errorf("Q8_0 needs rows of a multiple of %d numbers", q8Block)
	}
	if s.PreTokenizer != "" {
		p.vocabulary = byteLevel(s.Text)
		return p, nil
	}
	spoken := spokenTokens(s.Text, s.Whole)
	p.vocabulary = sentencePiece(spoken)
	if s.Weights == Markov {
		p.chain = newChain(p.vocabulary, spoken)
		p.width = p.chain.width
	}
	return p, nil
}

func (p *plan) describe(f *file) {
	f.set("general.architecture", "llama")
	f.set("general.name", p.Name)
	f.set("general.file_type", map[Type]int{F32: 0, F16: 1, Q8_0: 7}[p.Type])
	f.set("general.license", "CC0-1.0")
	f.set("llama.vocab_size", len(p.vocabulary.text))
	f.set("llama.context_length", p.Context)
	f.set("llama.embedding_length", p.width)
	f.set("llama.block_count", p.Layers)
	f.set("llama.feed_forward_length", p.FeedForward)
	f.set("llama.attention.head_count", p.Heads)
	f.set("llama.attention.head_count_kv", p.KVHeads)
	f.set("llama.attention.key_length", p.HeadWidth)
	f.set("llama.attention.value_length", p.HeadWidth)
	f.set("llama.attention.layer_norm_rms_epsilon", float32(1e-5))
	f.set("llama.rope.dimension_count", p.HeadWidth)
	f.set("llama.rope.freq_base", float32(10000))
	if p.RopeScale != 0 {
		f.set("llama.rope.scaling.type", "linear")
		f.set("llama.rope.scaling.factor", p.RopeScale)
	}
	if p.MeanPooling {
		f.set("llama.pooling_type", 1)
	}
}

func (p *plan) tokenizer(f *file) {
	v := p.vocabulary
	f.set("tokenizer.ggml.tokens", v.text)
	f.set("tokenizer.ggml.token_type", v.kind)
	if p.PreTokenizer != "" {
		f.set("tokenizer.ggml.model", "gpt2")
		f.set("tokenizer.ggml.pre", p.PreTokenizer)
		f.set("tokenizer.ggml.merges", v.merges)
		f.set("tokenizer.ggml.bos_token_id", v.id["<|endoftext|>"])
		f.set("tokenizer.ggml.eos_token_id", v.id["<|im_end|>"])
		f.set("tokenizer.ggml.add_bos_token", false)
	} else {
		f.set("tokenizer.ggml.model", "llama")
		f.set("tokenizer.ggml.pre", "default")
		f.set("tokenizer.ggml.scores", v.score)
		f.set("tokenizer.ggml.bos_token_id", v.id["<s>"])
		f.set("tokenizer.ggml.eos_token_id", v.id[endOfTurn])
		f.set("tokenizer.ggml.unknown_token_id", v.id["<unk>"])
		f.set("tokenizer.ggml.add_bos_token", true)
		f.set("tokenizer.ggml.add_eos_token", false)
		f.set("tokenizer.ggml.add_space_prefix", true)
	}
	if p.ChatTemplate != "" {
		f.set("tokenizer.chat_template", p.ChatTemplate)
	}
}

func (p *plan) weights(f *file) {
	d, vocabulary := p.width, len(p.vocabulary.text)
	embed, output := p.ends()
	f.add("token_embd.weight", p.Type, embed, d, vocabulary)
	if p.RopeFactors {
		f.add("rope_freqs.weight", F32, ramp(p.HeadWidth/2), p.HeadWidth/2)
	}
	for i := range p.Layers {
		p.block(f, fmt.Sprintf("blk.%d.", i))
	}
	f.add("output_norm.weight", F32, ones(d), d)
	if !p.Tied {
		f.add("output.weight", p.Type, output, d, vocabulary)
	}
}

// ends are the embedding and the output matrix.
func (p *plan) ends() (embed, output []float32) {
	if p.Weights == Markov {
		return p.chain.matrices()
	}
	n := p.width * len(p.vocabulary.text)
	if p.Tied { // short, so that the layers decide more than the last token's own embedding
		return p.numbers(n, 0.3), nil
	}
	return p.numbers(n, 1), p.numbers(n, 0.3)
}

func (p *plan) block(f *file, name string) {
	d, q, kv, ff := p.width, p.Heads*p.HeadWidth, p.KVHeads*p.HeadWidth, p.FeedForward
	matrix := func(part string, in, out int) {
		f.add(name+part+".weight", p.Type, p.numbers(in*out, 1/math.Sqrt(float64(d))), in, out)
	}
	f.add(name+"attn_norm.weight", F32, ones(d), d)
	matrix("attn_q", d, q)
	matrix("attn_k", d, kv)
	matrix("attn_v", d, kv)
	matrix("attn_output", q, d)
	f.add(name+"ffn_norm.weight", F32, ones(d), d)
	matrix("ffn_gate", d, ff)
	matrix("ffn_up", d, ff)
	matrix("ffn_down", ff, d)
}

// numbers are n weights: random ones, or zeros in a Markov model.
func (p *plan) numbers(n int, scale float64) []float32 {
	out := make([]float32, n)
	if p.Weights == Gaussian {
		for i := range out {
			out[i] = float32(p.random.NormFloat64() * scale)
		}
	}
	return out
}

func ones(n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = 1
	}
	return out
}

// ramp grows from 1 to 8, as the factors of Llama 3.1 do.
func ramp(n int) []float32 {
	out := ones(n)
	for i := range out {
		out[i] += 7 * float32(i) / float32(n-1)
	}
	return out
}
