package gguf

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/http"

	"lobstah/openai"
)

const maxInputs = 256 // texts in one request for embeddings

// embeddingRequest asks for a vector for each input: a string, or an array of them.
type embeddingRequest struct {
	Model      string          `json:"model"`
	Input      json.RawMessage `json:"input"`
	Format     string          `json:"encoding_format"` // "float" or "base64"
	Dimensions *int            `json:"dimensions"`
}

func (r *embeddingRequest) texts() ([]string, error) {
	var one string
	if !isNull(r.Input) && json.Unmarshal(r.Input, &one) == nil {
		return []string{one}, nil
	}
	var list []string
	if json.Unmarshal(r.Input, &list) != nil || len(list) == 0 || len(list) > maxInputs {
		return nil, openai.BadRequest("input", "input: want a string or an array of 1 to %d strings", maxInputs)
	}
	return list, nil
}

func (r *embeddingRequest) check() error {
	if r.Dimensions != nil {
		return openai.BadRequest("dimensions", "dimensions: the embedded engine cannot shorten embeddings")
	}
	if r.Format != "" && r.Format != "float" && r.Format != "base64" {
		return openai.BadRequest("encoding_format", "encoding_format: want float or base64")
	}
	return nil
}

// vector is an embedding in an answer, as numbers or packed.
type vector struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"`
}

func (h *Handler) embed(w http.ResponseWriter, r *http.Request) error {
	if !h.model.config.pooled {
		return &openai.Error{Status: http.StatusNotFound, Type: "not_found_error",
			Message: fmt.Sprintf("%s is not an embedding model", h.model.id)}
	}
	req := &embeddingRequest{}
	if err := receive(w, r, req); err != nil {
		return err
	}
	if err := h.named(req.Model); err != nil {
		return err
	}
	if err := req.check(); err != nil {
		return err
	}
	texts, err := req.texts()
	if err != nil {
		return err
	}
	data, tokens := make([]vector, len(texts)), 0
	for i, text := range texts {
		numbers, n, err := h.embedding(r.Context(), text)
		if err != nil {
			return stopped(err)
		}
		tokens += n
		data[i] = vector{"embedding", i, numbers}
		if req.Format == "base64" {
			data[i].Embedding = packed(numbers)
		}
	}
	return reply(w, map[string]any{
		"object": "list", "model": h.model.id, "data": data,
		"usage": map[string]int{"prompt_tokens": tokens, "total_tokens": tokens},
	})
}

// embedding is a text's vector of length 1, and how many tokens the text has.
func (h *Handler) embedding(ctx context.Context, text string) ([]float32, int, error) {
	prompt, err := h.encode(plain(text, true))
	if err != nil {
		return nil, 0, err
	}
	s, err := h.slot(ctx, prompt)
	if err != nil {
		return nil, 0, err
	}
	defer h.slots.put(s)
	numbers, err := s.mean(ctx, prompt)
	return numbers, len(prompt), err
}

func packed(numbers []float32) string {
	var b []byte
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(n))
	}
	return base64.StdEncoding.EncodeToString(b)
}

// mean runs tokens through the model and returns the mean of what comes out for
// each, scaled to length 1.
func (s *session) mean(ctx context.Context, tokens []int) ([]float32, error) {
	s.keep(0)
	m, width := s.model, s.model.config.width
	sum, one := make([]float32, width), make([]float32, width)
	for len(tokens) > 0 {
		n := min(len(tokens), prefillBatch)
		if err := s.batch(ctx, tokens[:n]); err != nil {
			return nil, err
		}
		for i := range n {
			norm(one, s.work.x[i*width:(i+1)*width], m.outputNorm, m.config.epsilon)
			addScaled(sum, 1, one)
		}
		tokens = tokens[n:]
	}
	if !finite(sum) {
		return nil, errNotFinite
	}
	if length := math.Sqrt(float64(dot(sum, sum))); length > 0 {
		for i := range sum {
			sum[i] = float32(float64(sum[i]) / length)
		}
	}
	return sum, nil
}
