package gguf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"lobstah/internal/enginetest"
	"lobstah/internal/tinygguf"
)

// The tests in this file hold the runner against a real llama-server with the same
// model file. Caches are F32 there, as they are here.
var sameNumbers = []string{"-ctk", "f32", "-ctv", "f32", "-fa", "off"}

func build(t testing.TB, spec tinygguf.Spec) *Model {
	t.Helper()
	data, err := spec.Build()
	if err != nil {
		t.Fatal(err)
	}
	m, err := read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	m.id = spec.Name
	return m
}

func ask[T any](t *testing.T, url string, body any) T {
	t.Helper()
	sent, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Post(url, "application/json", bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s answered %s: %s", url, response.Status, text)
	}
	var out T
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return out
}

func with(spec tinygguf.Spec, change func(*tinygguf.Spec)) tinygguf.Spec {
	change(&spec)
	return spec
}

func ofType(spec tinygguf.Spec, typ tinygguf.Type) tinygguf.Spec {
	return with(spec, func(s *tinygguf.Spec) { s.Type = typ })
}

func TestTokensEqualLlamaServers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		spec      tinygguf.Spec
		tolerance float64 // of a log-probability
	}{
		{"f32", ofType(tinygguf.Random(1), tinygguf.F32), 1e-4},
		{"f16", tinygguf.Random(2), 2e-2}, // ggml rounds the inputs of F16 matrices to F16
		{"q8_0", ofType(tinygguf.Random(3), tinygguf.Q8_0), 5e-2},
		{"grouped tied factors f32", ofType(tinygguf.RandomBPE(4, "llama-bpe"), tinygguf.F32), 1e-4},
		{"grouped tied factors q8_0", ofType(tinygguf.RandomBPE(5, "smollm"), tinygguf.Q8_0), 5e-2},
		{"linear scaling", with(ofType(tinygguf.Random(6), tinygguf.F32), func(s *tinygguf.Spec) { s.RopeScale = 4 }), 1e-4},
		{"words", tinygguf.Words(), 1e-2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := enginetest.LlamaServer(t, enginetest.Options{Model: test.spec, Args: sameNumbers})
			compareTokens(t, build(t, test.spec), url, sentence, 200, test.tolerance)
		})
	}
}

// Far into the context, positions must turn queries and keys as they do in llama.cpp.
func TestTokensAfterALongPromptEqualLlamaServers(t *testing.T) {
	t.Parallel()
	spec := ofType(tinygguf.RandomBPE(7, "llama-bpe"), tinygguf.F32)
	url := enginetest.LlamaServer(t, enginetest.Options{Model: spec, Args: sameNumbers})
	compareTokens(t, build(t, spec), url, strings.Repeat(sentence+" ", 40), 30, 1e-3)
}

const sentence = "The queue gives the job to another worker, and the next token is 12345."

// completion is llama-server's answer to /completion with n_probs.
type completion struct {
	Tokens        []int
	Probabilities []struct { // none for a token that ends inside a character
		ID  int `json:"id"`
		Top []struct {
			ID      int     `json:"id"`
			Logprob float64 `json:"logprob"`
		} `json:"top_logprobs"`
	} `json:"completion_probabilities"`
}

// compareTokens feeds both engines the same prompt and compares count greedy tokens,
// and the log-probabilities of the five likeliest at each. Where two tokens are closer
// than the tolerance, either may be chosen.
func compareTokens(t *testing.T, m *Model, url, text string, count int, tolerance float64) {
	t.Helper()
	prompt := m.tokens.encode(plain(text, false))
	want := ask[completion](t, url+"/completion", map[string]any{
		"prompt": prompt, "n_predict": count, "temperature": 0, "n_probs": 5, "return_tokens": true, "ignore_eos": true, "cache_prompt": false,
	})
	if len(want.Tokens) != count || len(want.Probabilities) < count/2 {
		t.Fatalf("llama-server made %d tokens with %d probabilities, want %d and most", len(want.Tokens), len(want.Probabilities), count)
	}
	s, fed, worst, ties := newSession(m), prompt, 0.0, 0
	for i, token := range want.Tokens {
		logits, err := s.feed(t.Context(), fed)
		if err != nil {
			t.Fatal(err)
		}
		logs := logSoftmax(logits)
		m.tokens.bar(logits) // as ignore_eos does; the probabilities are from before
		best := slices.Max(logits)
		if float64(best-logits[token]) > tolerance { // closer ones are a tie
			t.Fatalf("llama-server's token %d is %d with the logit %v, the best has %v", i, token, logits[token], best)
		}
		if best != logits[token] {
			ties++
		}
		if next := want.Probabilities; len(next) > 0 && next[0].ID == token {
			for _, top := range next[0].Top {
				worst = max(worst, math.Abs(top.Logprob-logs[top.ID]))
			}
			want.Probabilities = next[1:]
		}
		fed = []int{token}
	}
	if n := len(want.Probabilities); n > 0 {
		t.Errorf("%d of llama-server's probabilities were not compared", n)
	}
	t.Logf("largest difference of a log-probability: %.2g; tokens chosen otherwise: %d of %d", worst, ties, count)
	if worst > tolerance {
		t.Errorf("a log-probability differs by %g, want at most %g", worst, tolerance)
	}
}

// bar makes the tokens that end an answer impossible.
func (t *tokenizer) bar(logits []float32) {
	for token := range t.endings {
		logits[token] = float32(math.Inf(-1))
	}
}

func logSoftmax(logits []float32) []float64 {
	peak := slices.Max(logits)
	sum := 0.0
	for _, l := range logits {
		sum += math.Exp(float64(l - peak))
	}
	out := make([]float64, len(logits))
	for i, l := range logits {
		out[i] = float64(l-peak) - math.Log(sum)
	}
	return out
}

func TestGreedyChatEqualsLlamaServers(t *testing.T) {
	t.Parallel()
	for _, spec := range []tinygguf.Spec{ofType(tinygguf.Random(9), tinygguf.F32), ofType(tinygguf.RandomBPE(9, "llama-bpe"), tinygguf.F32)} {
		ours, _ := serve(t, build(t, spec), Options{})
		theirs := enginetest.LlamaServer(t, enginetest.Options{Model: spec, Alias: spec.Name, Args: sameNumbers})
		body := `{"model":"` + spec.Name + `","temperature":0,"max_tokens":100,"messages":[{"role":"system","content":"Be short."},{"role":"user","content":"Which worker is free? 🙂"}]}`
		_, got := call(t, ours+"/v1/chat/completions", body)
		_, want := call(t, theirs+"/v1/chat/completions", body)
		g, w := decode[envelope](t, got), decode[envelope](t, want)
		if *g.Choices[0].Message.Content != *w.Choices[0].Message.Content || *g.Choices[0].Finish != *w.Choices[0].Finish {
			t.Errorf("%s answers\n%s\nllama-server\n%s", spec.Name, got, want)
		}
		if g.Usage.Prompt != w.Usage.Prompt || g.Usage.Completion != w.Usage.Completion {
			t.Errorf("%s counts %+v, llama-server %+v", spec.Name, *g.Usage, *w.Usage)
		}
	}
}

var tokenizeTexts = []string{
	"Hello world",
	"The queue is fair: no one waits for ever, and no one takes the whole grid.",
	" leading space", "trailing space ", "  two  spaces   three ", "\n\nlines\n \n  \r\n\tand tabs\t\n", "   ", "\n", " \n x",
	"I'm sure they've said: it's 12345 words, isn't it? We'll see what he'd DO. THEY'RE here, I'VE been there.",
	"func main() {  fmt.Println(\"hello, world\", 3.14159, 2026)  }    // four spaces",
	"price: $1,234.56 (20% off!!!)\ta tab\t\tand; e-mail: someone@example.org -- see [1], [22], [333], [4444].",
	"café naïve Ünïcödé Größe Straße, señor. Привет мир, как дела? 你好世界，今天好吗？ こんにちは 🙂🙃 x² ½ Ⅷ ١٢٣",
	"e\u0301 combining, zero\u200bwidth, nbsp\u00a0here, em\u2003space, \U0001F468\u200D\U0001F469\u200D\U0001F467 family",
	"'S 'T 're'll'x''s 'ſ 'K", "a1b22c333d4444 1 22  333   4444", "...!?...\n\n...\r\n.", "!\n?", " !\n ?",
	"<|im_start|>user\nhi<|im_end|>", "<|user|>hello<|end|> <think>so</think>", "<s>a</s><unk>", "<0x41>",
	"", "ab<|end|>", strings.Repeat("the next token ", 40), strings.Repeat("a", 300), strings.Repeat(" ", 70) + "x",
	"\x00\x01\x7f", "mixed中文and英文123数字", "٣٤٥٦٧", "x\u0085y\u2028z",
}

func TestTokenizationEqualsLlamaServers(t *testing.T) {
	t.Parallel()
	for _, pre := range []string{"", "gpt-2", "llama-bpe", "qwen2", "smollm", "starcoder"} {
		t.Run("pre "+pre, func(t *testing.T) {
			t.Parallel()
			spec := tinygguf.Words()
			if pre != "" {
				spec = tinygguf.RandomBPE(1, pre)
			}
			m, url := build(t, spec), enginetest.LlamaServer(t, enginetest.Options{Model: spec})
			for _, text := range tokenizeTexts {
				for _, special := range []bool{true, false} {
					compareTokenization(t, m, url, text, special)
				}
			}
		})
	}
}

func compareTokenization(t *testing.T, m *Model, url, text string, special bool) {
	t.Helper()
	want := ask[struct{ Tokens []int }](t, url+"/tokenize", map[string]any{
		"content": text, "parse_special": special, "add_special": true,
	}).Tokens
	got := m.tokens.encode(plain(text, !special))
	if !slices.Equal(got, want) && len(got)+len(want) > 0 {
		t.Errorf("%q (special %v) is %s, llama-server says %s", text, special, m.pieces(got), m.pieces(want))
	}
}

func (m *Model) pieces(tokens []int) string {
	var out []string
	for _, token := range tokens {
		out = append(out, fmt.Sprintf("%d:%q", token, m.tokens.text[token]))
	}
	return strings.Join(out, " ")
}
