package gguf

import (
	"strings"
	"testing"

	"lobstah/internal/tinygguf"
)

// benchModel has the layers of SmolLM-135M, a few of them: a file of that model has
// 30, and 49,152 tokens.
func benchModel(b *testing.B, typ tinygguf.Type) *Model {
	b.Helper()
	s := tinygguf.Random(1)
	s.Type, s.Width, s.Layers, s.FeedForward = typ, 576, 4, 1536
	s.Heads, s.KVHeads, s.HeadWidth = 9, 3, 64
	return build(b, s)
}

var benchTypes = []struct {
	name string
	typ  tinygguf.Type
}{{"F32", tinygguf.F32}, {"F16", tinygguf.F16}, {"Q8_0", tinygguf.Q8_0}}

func BenchmarkToken(b *testing.B) {
	for _, t := range benchTypes {
		b.Run(t.name, func(b *testing.B) {
			m := benchModel(b, t.typ)
			s := newSession(m)
			for b.Loop() {
				if len(s.tokens) > 256 {
					s.keep(0)
				}
				if _, err := s.feed(b.Context(), []int{300}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(m.params)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gmul/s")
		})
	}
}

func BenchmarkPrompt(b *testing.B) {
	for _, t := range benchTypes {
		b.Run(t.name, func(b *testing.B) {
			m := benchModel(b, t.typ)
			prompt := make([]int, 128)
			s := newSession(m)
			for b.Loop() {
				s.keep(0)
				if _, err := s.feed(b.Context(), prompt); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(prompt)*b.N)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}

func BenchmarkDemoToken(b *testing.B) {
	s := newSession(demo(b))
	for b.Loop() {
		if len(s.tokens) > 256 {
			s.keep(0)
		}
		if _, err := s.feed(b.Context(), []int{300}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTokenize(b *testing.B) {
	text := strings.Repeat("The queue is fair: no one waits for ever, and no one takes the whole grid. 12345\n", 100)
	for _, spec := range []tinygguf.Spec{tinygguf.Words(), tinygguf.RandomBPE(1, "llama-bpe")} {
		b.Run(spec.Name, func(b *testing.B) {
			m := build(b, spec)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				m.tokens.encode(plain(text, true))
			}
		})
	}
}
