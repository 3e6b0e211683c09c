package gguf

import (
	"context"
	"errors"
	"math"
)

// prefillBatch is how many tokens of a prompt go through the layers at once: enough
// to use each row of weights many times, few enough to notice a cancel soon.
const prefillBatch = 32

// session is one conversation's place in a model: the tokens that went through it
// and, for each layer, their keys and values. One goroutine uses it at a time.
type session struct {
	model  *Model
	tokens []int
	caches []cache // one for each layer
	work   workspace
}

// cache holds the keys and values of one layer, position after position. It grows
// with the conversation, up to the handler's context.
type cache struct{ keys, values []float32 }

// workspace is memory that every batch uses again.
type workspace struct {
	x, normed          []float32 // embeddings on their way
	query, key, value  []float32
	attended, merged   []float32
	gate, up, narrowed []float32
	sin, cos           []float32 // of each position in the batch
	logits             []float32
}

func newSession(m *Model) *session {
	return &session{model: m, caches: make([]cache, len(m.layers))}
}

// keep forgets all tokens but the first n.
func (s *session) keep(n int) {
	s.tokens = s.tokens[:n]
	width := n * s.model.config.kvWidth()
	for i := range s.caches {
		c := &s.caches[i]
		c.keys, c.values = c.keys[:width], c.values[:width]
	}
}

// feed runs tokens through the model and returns the logits for the token after
// the last; they are valid until the next call. On a canceled context the session
// is as before the batch that was broken off.
func (s *session) feed(ctx context.Context, tokens []int) ([]float32, error) {
	for len(tokens) > prefillBatch {
		if err := s.batch(ctx, tokens[:prefillBatch]); err != nil {
			return nil, err
		}
		tokens = tokens[prefillBatch:]
	}
	if err := s.batch(ctx, tokens); err != nil {
		return nil, err
	}
	m, w := s.model, &s.work
	last := w.x[(len(tokens)-1)*m.config.width:]
	norm(w.normed[:m.config.width], last, m.outputNorm, m.config.epsilon)
	w.logits = sized(w.logits, m.config.vocabulary)
	product(m.output, w.logits, w.normed[:m.config.width])
	if !finite(w.logits) {
		return nil, errNotFinite
	}
	return w.logits, nil
}

// errNotFinite says that a model computes infinities, from which no answer comes.
var errNotFinite = errors.New("the model computes numbers without end: its file is damaged")

func finite(x []float32) bool {
	var sum float32
	for _, v := range x {
		sum += v - v // NaN for infinities and NaN, else 0
	}
	return sum == 0
}

// batch runs some tokens through all layers, leaving their embeddings in work.x.
func (s *session) batch(ctx context.Context, tokens []int) error {
	c, w := s.model.config, &s.work
	w.fit(c, len(tokens))
	for i, token := range tokens {
		s.model.embedding.row(token, w.x[i*c.width:(i+1)*c.width])
		pairs := len(s.model.rope)
		s.model.rope.angles(len(s.tokens)+i, w.sin[i*pairs:(i+1)*pairs], w.cos[i*pairs:(i+1)*pairs])
	}
	for i := range s.model.layers {
		if err := ctx.Err(); err != nil {
			s.keep(len(s.tokens))
			return err
		}
		s.attend(&s.model.layers[i], &s.caches[i], len(tokens))
		s.forward(&s.model.layers[i])
	}
	s.tokens = append(s.tokens, tokens...)
	return nil
}

// fit makes the workspace as large as a batch of n tokens needs.
func (w *workspace) fit(c config, n int) {
	w.x, w.normed = sized(w.x, n*c.width), sized(w.normed, n*c.width)
	w.query, w.attended = sized(w.query, n*c.queryWidth()), sized(w.attended, n*c.queryWidth())
	w.key, w.value = sized(w.key, n*c.kvWidth()), sized(w.value, n*c.kvWidth())
	w.merged, w.narrowed = sized(w.merged, n*c.width), sized(w.narrowed, n*c.width)
	w.gate, w.up = sized(w.gate, n*c.hidden), sized(w.up, n*c.hidden)
	w.sin, w.cos = sized(w.sin, n*c.rope.dims/2), sized(w.cos, n*c.rope.dims/2)
}

func sized(x []float32, n int) []float32 {
	if cap(x) < n {
		return make([]float32, n)
	}
	return x[:n]
}

// attend adds to each embedding what its token gathers from those before it.
func (s *session) attend(l *layer, c *cache, n int) {
	m, w := s.model.config, &s.work
	s.normAll(l.attentionNorm)
	product(l.query, w.query, w.normed)
	product(l.key, w.key, w.normed)
	product(l.value, w.value, w.normed)
	pairs := len(s.model.rope)
	for i := range n {
		sin, cos := w.sin[i*pairs:(i+1)*pairs], w.cos[i*pairs:(i+1)*pairs]
		turnHeads(w.query[i*m.queryWidth():(i+1)*m.queryWidth()], m.headWidth, sin, cos)
		turnHeads(w.key[i*m.kvWidth():(i+1)*m.kvWidth()], m.headWidth, sin, cos)
	}
	c.keys, c.values = append(c.keys, w.key...), append(c.values, w.value...)
	work := (len(s.tokens) + n) * m.headWidth * 2
	parallel(n*m.heads, work, func(from, until int) {
		weights := make([]float32, len(s.tokens)+n)
		for i := from; i < until; i++ {
			s.head(c, i/m.heads, i%m.heads, weights)
		}
	})
	product(l.merge, w.merged, w.attended)
	addScaled(w.x, 1, w.merged)
}

func turnHeads(x []float32, width int, sin, cos []float32) {
	for ; len(x) > 0; x = x[width:] {
		turn(x, sin, cos)
	}
}

// head computes one query head of token i in the batch: a mean of the values of all
// positions up to its own, weighted by how well their keys fit the query.
func (s *session) head(c *cache, i, head int, weights []float32) {
	m := s.model.config
	at := i*m.queryWidth() + head*m.headWidth
	query, out := s.work.query[at:at+m.headWidth], s.work.attended[at:at+m.headWidth]
	offset, stride := head/(m.heads/m.kvHeads)*m.headWidth, m.kvWidth()
	weights = weights[:len(s.tokens)+i+1]
	scale := float32(1 / math.Sqrt(float64(m.headWidth)))
	for p := range weights {
		k := p*stride + offset
		weights[p] = scale * dot(query, c.keys[k:k+m.headWidth])
	}
	softmax(weights)
	clear(out)
	for p, weight := range weights {
		v := p*stride + offset
		addScaled(out, weight, c.values[v:v+m.headWidth])
	}
}

// forward adds the feed-forward part to each embedding.
func (s *session) forward(l *layer) {
	w := &s.work
	s.normAll(l.forwardNorm)
	product(l.gate, w.gate, w.normed)
	product(l.up, w.up, w.normed)
	for i, g := range w.gate {
		w.gate[i] = g / (1 + float32(math.Exp(float64(-g)))) * w.up[i]
	}
	product(l.down, w.narrowed, w.gate)
	addScaled(w.x, 1, w.narrowed)
}

func (s *session) normAll(weight []float32) {
	w, width := &s.work, s.model.config.width
	for i := 0; i < len(w.x); i += width {
		norm(w.normed[i:i+width], w.x[i:i+width], weight, s.model.config.epsilon)
	}
}

// norm is RMSNorm: x divided by its root mean square, times weight.
func norm(out, x, weight []float32, epsilon float32) {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	k := float32(1 / math.Sqrt(sum/float64(len(x))+float64(epsilon)))
	for i, v := range x {
		out[i] = v * k * weight[i]
	}
}

// softmax turns scores into weights that sum to one.
func softmax(x []float32) {
	peak := x[0]
	for _, v := range x {
		peak = max(peak, v)
	}
	var sum float64
	for i, v := range x {
		e := math.Exp(float64(v - peak))
		x[i] = float32(e)
		sum += e
	}
	k := float32(1 / sum)
	for i := range x {
		x[i] *= k
	}
}
