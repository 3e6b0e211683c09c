package gguf

import (
	"fmt"
	"math"
	"strings"
)

// config are the sizes of a llama-architecture model.
type config struct {
	vocabulary int // tokens
	context    int // tokens that the model was trained for
	width      int // numbers in an embedding
	layers     int
	hidden     int // width inside the feed-forward part
	heads      int
	kvHeads    int // key and value heads; each serves heads/kvHeads query heads
	headWidth  int
	epsilon    float32 // of RMSNorm
	rope       ropeConfig
	pooled     bool // an embedding model with mean pooling
}

func (c config) queryWidth() int { return c.heads * c.headWidth }
func (c config) kvWidth() int    { return c.kvHeads * c.headWidth }

// refusedKeys change what the architecture computes, in ways that the forward pass
// does not know. Each must be absent or have the value here.
var refusedKeys = map[string]float64{
	"llama.expert_count":                 0,
	"llama.attention.sliding_window":     0,
	"llama.attention.max_alibi_bias":     0,
	"llama.attention.clamp_kqv":          0,
	"llama.attention.scale":              0,
	"llama.attention.temperature_scale":  0,
	"llama.logit_scale":                  1,
	"llama.embedding_scale":              1,
	"llama.residual_scale":               1,
	"llama.rope.scaling.attn_factor":     1,
	"llama.rope.scaling.yarn_ext_factor": 0,
}

// readConfig reads and checks a model's sizes. vocabulary is the number of the
// tokenizer's tokens.
func readConfig(meta metadata, vocabulary int) (config, error) {
	c := config{vocabulary: vocabulary}
	for key, want := range refusedKeys {
		if got, err := meta.numberOr(key, want); err != nil || got != want {
			return c, fmt.Errorf("metadata %s is %v, which the embedded engine does not support; serve the file with llama-server", key, show(meta[key]))
		}
	}
	if err := c.readSizes(meta); err != nil {
		return c, err
	}
	if err := c.readHeads(meta); err != nil {
		return c, err
	}
	if err := c.readPooling(meta); err != nil {
		return c, err
	}
	var err error
	c.rope, err = readRope(meta, c.headWidth)
	return c, err
}

func (c *config) readSizes(meta metadata) error {
	for _, size := range []struct {
		key  string
		to   *int
		most int
	}{
		{"llama.context_length", &c.context, 1 << 24},
		{"llama.embedding_length", &c.width, 1 << 17},
		{"llama.block_count", &c.layers, 1 << 12},
		{"llama.feed_forward_length", &c.hidden, 1 << 20},
		{"llama.attention.head_count", &c.heads, 1 << 12},
	} {
		n, err := meta.count(size.key, size.most)
		if err != nil {
			return err
		}
		*size.to = n
	}
	epsilon, err := meta.numberOr("llama.attention.layer_norm_rms_epsilon", 1e-5)
	if err != nil {
		return err
	}
	if !(epsilon >= 0 && epsilon < 1) {
		return fmt.Errorf("metadata llama.attention.layer_norm_rms_epsilon is %v, want a number from 0 to 1", epsilon)
	}
	c.epsilon = float32(epsilon)
	return nil
}

func (c *config) readHeads(meta metadata) error {
	var err error
	if c.kvHeads, err = meta.countOr("llama.attention.head_count_kv", c.heads, c.heads); err != nil {
		return err
	}
	if c.kvHeads == 0 || c.heads%c.kvHeads != 0 {
		return fmt.Errorf("%d attention heads cannot share %d key heads", c.heads, c.kvHeads)
	}
	if c.headWidth, err = meta.countOr("llama.attention.key_length", c.width/c.heads, 1<<12); err != nil {
		return err
	}
	values, err := meta.countOr("llama.attention.value_length", c.headWidth, 1<<12)
	if err != nil {
		return err
	}
	if c.headWidth == 0 || c.headWidth%2 != 0 || values != c.headWidth {
		return fmt.Errorf("attention heads have keys of %d and values of %d numbers, want an equal and even width", c.headWidth, values)
	}
	return nil
}

func (c *config) readPooling(meta metadata) error {
	pooling, err := meta.countOr("llama.pooling_type", 0, math.MaxInt32)
	if err != nil {
		return err
	}
	if causal, err := meta.boolOr("llama.attention.causal", true); err != nil || !causal {
		return fmt.Errorf("metadata llama.attention.causal is %v, which the embedded engine does not support; serve the file with llama-server", show(meta["llama.attention.causal"]))
	}
	if pooling > 1 {
		return fmt.Errorf("metadata llama.pooling_type is %d: the embedded engine pools by mean (1) only", pooling)
	}
	c.pooled = pooling == 1
	return nil
}

// ropeConfig says how positions turn queries and keys.
type ropeConfig struct {
	dims  int     // of a head's numbers, those that turn
	base  float64 // of the frequencies
	scale float64 // positions are divided by it
}

func readRope(meta metadata, headWidth int) (ropeConfig, error) {
	r := ropeConfig{scale: 1}
	var err error
	if r.dims, err = meta.countOr("llama.rope.dimension_count", headWidth, headWidth); err != nil {
		return r, err
	}
	if r.base, err = meta.numberOr("llama.rope.freq_base", 10000); err != nil {
		return r, err
	}
	if r.dims%2 != 0 || !(r.base > 0) || math.IsInf(r.base, 0) {
		return r, fmt.Errorf("RoPE over %d numbers with the base %v is impossible", r.dims, r.base)
	}
	kind, err := meta.stringOr("llama.rope.scaling.type", "none")
	if err != nil {
		return r, err
	}
	switch kind {
	case "none":
		return r, nil
	case "linear":
		if r.scale, err = meta.numberOr("llama.rope.scaling.factor", 1); err != nil {
			return r, err
		}
		if r.scale == 0 {
			r.scale = 1 // as llama.cpp takes it
		}
		if !(r.scale > 0) {
			return r, fmt.Errorf("metadata llama.rope.scaling.factor is %v, want a positive number", r.scale)
		}
		return r, nil
	}
	return r, fmt.Errorf("RoPE scaling %q is not supported by the embedded engine, only linear and Llama 3's factors; serve the file with llama-server", strings.ToValidUTF8(kind, "?"))
}

// ropeTable holds, for each pair of a head's numbers, by how much one position
// turns it.
type ropeTable []float64

// table is made from the configuration and, with Llama 3's scaling, a divisor for
// each frequency.
func (r ropeConfig) table(factors []float32) ropeTable {
	t := make(ropeTable, r.dims/2)
	for i := range t {
		t[i] = math.Pow(r.base, -2*float64(i)/float64(r.dims)) / r.scale
		if factors != nil {
			t[i] /= float64(factors[i])
		}
	}
	return t
}

// angles writes the sine and cosine of each pair for a position.
func (t ropeTable) angles(position int, sin, cos []float32) {
	for i, turn := range t {
		s, c := math.Sincos(float64(position) * turn)
		sin[i], cos[i] = float32(s), float32(c)
	}
}

// turn rotates the neighbouring pairs of one head's numbers.
func turn(head, sin, cos []float32) {
	for i := range sin {
		a, b := head[2*i], head[2*i+1]
		head[2*i], head[2*i+1] = a*cos[i]-b*sin[i], a*sin[i]+b*cos[i]
	}
}
