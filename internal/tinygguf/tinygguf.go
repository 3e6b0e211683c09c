// Package tinygguf builds tiny language models in the GGUF format, from
// nothing: no downloaded weights, no other program. Real engines (llama.cpp,
// Ollama) load them, so tests meet a real engine without a real model, and the
// embedded runner's demo model is one of them.
//
// Start from a constructor, change fields if you must, and call [Spec.Build]:
//
//	file, err := tinygguf.Words().Build()
//
// There are two kinds of weights. [Markov] makes embeddings one-hot, attention
// and feed-forward zero, and the output matrix log P(next word | word):
// RMSNorm makes the one-hot sqrt(width) long, so the logits are exactly the
// log-probabilities, and an engine runs a word-level Markov chain as a
// transformer. The answer is readable and stops by itself. [Gaussian] weights
// speak gibberish and use every part of the architecture; they compare two
// engines token by token.
//
// The same Spec gives the same bytes on every run: no clock, no map order.
// Anything may import this package; its input is trusted (our own tests and
// command lines), so it caps nothing.
package tinygguf

import (
	_ "embed"
	"fmt"
)

// Weights is the kind of a model's weights.
type Weights int

const (
	Markov   Weights = iota // a word-level Markov chain of Spec.Text
	Gaussian                // seeded random numbers
)

// Type is the type of a model's matrices; vectors are always F32.
// The values are ggml's tensor types.
type Type uint32

const (
	F32  Type = 0
	F16  Type = 1
	Q8_0 Type = 8
)

// Spec describes one model. Its zero value is not useful: begin with a
// constructor such as [Words] or [Random].
type Spec struct {
	Name    string  // general.name
	Weights Weights // Markov or Gaussian
	Type    Type
	Text    string // lines that a Markov model speaks; the vocabulary of both kinds
	Whole   bool   // split Text at spaces only: with one line, the model says exactly that line
	Seed    uint64 // of Gaussian weights

	Width               int // of an embedding of Gaussian models; 0 means 64
	Layers, FeedForward int
	Heads, KVHeads      int // KVHeads 0 means as many as Heads
	HeadWidth           int
	Context             int // tokens

	// PreTokenizer selects a byte-level BPE vocabulary ("gpt2") and names the
	// rule that splits text before merging ("llama-bpe", "gpt-2", "smollm").
	// Empty means a SentencePiece vocabulary ("llama").
	PreTokenizer string

	Tied        bool    // no output matrix: the embedding is used instead
	RopeScale   float32 // linear position scaling; 0 means none
	RopeFactors bool    // a rope_freqs tensor, as Llama 3.1 and later have
	MeanPooling bool    // an embedding model

	ChatTemplate   string // Jinja, stored in the file
	OllamaTemplate string // Go template, for [Spec.Modelfile]
}

//go:embed text/words.txt
var wordsText string

//go:embed text/demo.txt
var demoText string

//go:embed text/think.txt
var thinkText string

//go:embed text/tool.txt
var toolText string

//go:embed text/bytes.txt
var bytesText string

//go:embed template/plain.jinja
var plainJinja string

//go:embed template/plain.gotmpl
var plainOllama string

//go:embed template/think.jinja
var thinkJinja string

//go:embed template/think.gotmpl
var thinkOllama string

//go:embed template/tool.jinja
var toolJinja string

//go:embed template/tool.gotmpl
var toolOllama string

//go:embed template/chatml.jinja
var chatMLJinja string

// Words speaks readable word salad with a few emoji (four byte tokens each) and
// stops by itself after some dozen tokens. 750 KB.
func Words() Spec {
	return Spec{
		Name: "tiny-words", Type: F16, Text: wordsText,
		Layers: 2, FeedForward: 64, Heads: 2, HeadWidth: 32, Context: 2048,
		ChatTemplate: plainJinja, OllamaTemplate: plainOllama,
	}
}

// Demo is the model built into the embedded runner: it says in every answer
// that it answers nothing.
func Demo() Spec {
	s := Words()
	s.Name, s.Text = "lobstah-demo", demoText
	return s
}

// Random is a small transformer with seeded random weights: real attention,
// gibberish, never stops by itself. 310 KB.
func Random(seed uint64) Spec {
	s := Words()
	s.Name, s.Weights, s.Seed = "tiny-random", Gaussian, seed
	return s
}

// RandomBPE is [Random] with a byte-level BPE vocabulary, the ChatML template,
// and the parts that Llama 3 has: grouped queries, tied embeddings, RoPE factors.
func RandomBPE(seed uint64, preTokenizer string) Spec {
	s := Random(seed)
	s.Name, s.Text, s.PreTokenizer = "tiny-random-bpe", bytesText, preTokenizer
	s.Heads, s.KVHeads, s.Tied, s.RopeFactors = 4, 2, true, true
	s.ChatTemplate, s.OllamaTemplate = chatMLJinja, ""
	return s
}

// Slow speaks like [Words] through 400 layers, at some tens of tokens a second
// on one core: for tests of cancelling, queueing and crashing. 30 MB.
func Slow() Spec {
	s := Words()
	s.Name, s.Layers, s.Heads, s.FeedForward = "tiny-slow", 400, 1, 32
	return s
}

// Tool always says one tool call: add with the arguments {"unit": "cat", "ok": true}.
func Tool() Spec {
	s := Words()
	s.Name, s.Text, s.Whole = "tiny-tool", toolText, true
	s.ChatTemplate, s.OllamaTemplate = toolJinja, toolOllama
	return s
}

// Think always says a block of reasoning, then "Two words!".
func Think() Spec {
	s := Words()
	s.Name, s.Text, s.Whole = "tiny-think", thinkText, true
	s.ChatTemplate, s.OllamaTemplate = thinkJinja, thinkOllama
	return s
}

// Embed is a random embedding model: 64 numbers for a text, mean pooling.
func Embed() Spec {
	s := Random(1)
	s.Name, s.MeanPooling = "tiny-embed", true
	s.ChatTemplate, s.OllamaTemplate = "", ""
	return s
}

// Named are the constructors by the name that the command takes.
var Named = map[string]func() Spec{
	"words":  Words,
	"demo":   Demo,
	"random": func() Spec { return Random(1) },
	"bpe":    func() Spec { return RandomBPE(1, "llama-bpe") },
	"slow":   Slow,
	"tool":   Tool,
	"think":  Think,
	"embed":  Embed,
}

// Modelfile is what `ollama create -f` needs to serve the model file.
func (s Spec) Modelfile(file string) string {
	text := fmt.Sprintf("FROM %s\nPARAMETER num_thread 1\n", file)
	if s.OllamaTemplate == "" {
		return text
	}
	return text + fmt.Sprintf("PARAMETER num_ctx %d\nPARAMETER stop %s\nTEMPLATE \"\"\"%s\"\"\"\n", s.Context, endOfTurn, s.OllamaTemplate)
}
