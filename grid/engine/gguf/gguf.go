// Package gguf is the embedded engine: it runs small llama-architecture models
// (Llama, TinyLlama, SmolLM and their like) from GGUF files, in Go without cgo and on
// the processor alone, behind OpenAI's HTTP API. It is for a first run without any
// engine, for tests, and for a person's own small file. On amd64 with AVX2 it is
// about as fast as llama-server on the same cores; elsewhere it takes some ten times
// as long. llama-server runs on graphics cards and takes every other model.
//
//	m, err := gguf.Open("SmolLM2-135M-Instruct-Q8_0.gguf")   // or gguf.Demo()
//	http.Serve(listener, gguf.NewHandler(m, gguf.Options{}))
//
// It reads F32, F16 and Q8_0 tensors and keeps them as they are, so a model needs
// about as much memory as its file has bytes, and its context besides. It knows
// SentencePiece ("llama") tokenizers and byte-level BPE ("gpt2") with the splitting
// rules of GPT-2, Llama 3, Qwen 2 and SmolLM; grouped queries, tied embeddings,
// linear RoPE scaling and Llama 3's; and the chat templates of ChatML, Llama 2,
// Llama 3, Zephyr and Phi 3 by their marks, not by running the file's template.
// Whatever else a file asks for is refused by [Open] with an error that names it,
// rather than run wrongly; with a template of another family, chats are refused and
// completions work. What a file's template does beyond its family (a system prompt
// of its own, dates, tools) is left out.
//
// Answers equal llama.cpp's token by token, and tests hold them against it.
//
// Composition (cmd/) imports it, and tests. Files and requests are hostile: every
// count, length, size and offset is checked before memory is taken for it, the
// text of a message can never forge a turn of the conversation, and prompt,
// answer, queue and time a client holds a slot are bounded.
package gguf

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Model is a loaded model. It does not change and is safe for concurrent use.
type Model struct {
	id     string
	digest string
	size   int64
	params int64
	file   tensorType // of the first layer's matrices, which stands for the file's

	config   config
	tokens   *tokenizer
	template *template // nil when the file's template is none that is known

	embedding  matrix
	output     matrix // the embedding again when a file has none
	outputNorm []float32
	layers     []layer
	rope       ropeTable
}

// layer is one transformer block.
type layer struct {
	attentionNorm, forwardNorm []float32
	query, key, value, merge   matrix
	gate, up, down             matrix
}

// Open reads a model file. Its id is the file's name without ".gguf".
func Open(path string) (*Model, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the model: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening the model: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("opening the model: %s is not a file", path)
	}
	m, err := read(file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("loading the model %s: %w", path, err)
	}
	m.id = strings.TrimSuffix(filepath.Base(path), ".gguf")
	return m, nil
}

// read loads a model from size bytes.
func read(file io.ReaderAt, size int64) (*Model, error) {
	whole := io.NewSectionReader(file, 0, size)
	h, err := readHeader(whole, size)
	if err != nil {
		return nil, err
	}
	m := &Model{size: size}
	if err := m.readMetadata(h.meta); err != nil {
		return nil, err
	}
	if err := m.readTensors(&loader{file: file, header: h, used: map[string]bool{}}); err != nil {
		return nil, err
	}
	m.digest, err = digest(whole)
	return m, err
}

func digest(file io.ReadSeeker) (string, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("reading the file for its digest: %w", err)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("reading the file for its digest: %w", err)
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil)), nil
}

func (m *Model) readMetadata(meta metadata) error {
	architecture, err := meta.stringOr("general.architecture", "")
	if err != nil {
		return err
	}
	if architecture != "llama" {
		return fmt.Errorf("the architecture is %q: the embedded engine runs \"llama\" only; serve the file with llama-server", architecture)
	}
	if m.tokens, err = readTokenizer(meta); err != nil {
		return err
	}
	if m.config, err = readConfig(meta, len(m.tokens.text)); err != nil {
		return err
	}
	m.template, err = readTemplate(meta, m.tokens)
	return err
}

func (m *Model) readTensors(l *loader) error {
	c := m.config
	var err error
	if m.embedding, err = l.matrix("token_embd.weight", c.width, c.vocabulary); err != nil {
		return err
	}
	if m.outputNorm, err = l.vector("output_norm.weight", c.width); err != nil {
		return err
	}
	m.output = m.embedding
	if l.has("output.weight") {
		if m.output, err = l.matrix("output.weight", c.width, c.vocabulary); err != nil {
			return err
		}
	}
	var factors []float32
	if l.has("rope_freqs.weight") {
		if factors, err = l.vector("rope_freqs.weight", c.rope.dims/2); err != nil {
			return err
		}
	}
	m.rope = c.rope.table(factors)
	for i := range c.layers {
		one, err := l.layer(fmt.Sprintf("blk.%d.", i), c)
		if err != nil {
			return err
		}
		m.layers = append(m.layers, one)
	}
	m.params, m.file = l.count, m.layers[0].query.typ()
	return l.unused()
}

// layer reads one block's tensors.
func (l *loader) layer(name string, c config) (layer, error) {
	var out layer
	for _, v := range []struct {
		part string
		to   *[]float32
	}{{"attn_norm", &out.attentionNorm}, {"ffn_norm", &out.forwardNorm}} {
		var err error
		if *v.to, err = l.vector(name+v.part+".weight", c.width); err != nil {
			return out, err
		}
	}
	for _, m := range []struct {
		part        string
		width, rows int
		to          *matrix
	}{
		{"attn_q", c.width, c.queryWidth(), &out.query},
		{"attn_k", c.width, c.kvWidth(), &out.key},
		{"attn_v", c.width, c.kvWidth(), &out.value},
		{"attn_output", c.queryWidth(), c.width, &out.merge},
		{"ffn_gate", c.width, c.hidden, &out.gate},
		{"ffn_up", c.width, c.hidden, &out.up},
		{"ffn_down", c.hidden, c.width, &out.down},
	} {
		var err error
		if *m.to, err = l.matrix(name+m.part+".weight", m.width, m.rows); err != nil {
			return out, err
		}
	}
	return out, nil
}

// unused refuses a file with tensors that were not read, such as biases: a model
// that runs without parts of itself would answer wrongly.
func (l *loader) unused() error {
	for name := range l.header.tensors {
		if !l.used[name] {
			return fmt.Errorf("the embedded engine has no use for tensor %s, so the model would run wrongly; serve the file with llama-server", name)
		}
	}
	return nil
}

// ID is the model's name on the wire.
func (m *Model) ID() string { return m.id }

// Digest is the SHA-256 of the file, as "sha256:" and 64 hex digits.
func (m *Model) Digest() string { return m.digest }

// Architecture is the name that the file gives, always "llama".
func (m *Model) Architecture() string { return "llama" }

// Parameters counts the numbers in the model's tensors.
func (m *Model) Parameters() int64 { return m.params }

// Type is the type of the file's matrices: "F32", "F16" or "Q8_0".
func (m *Model) Type() string { return m.file.String() }

// TrainedContext is the number of tokens that the model was trained to handle. A
// handler serves at most this and at most its own [Options.Context].
func (m *Model) TrainedContext() int { return m.config.context }
