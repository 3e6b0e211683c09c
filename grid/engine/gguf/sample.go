package gguf

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// sampling says how the next token is chosen. The zero value takes the likeliest.
type sampling struct {
	temperature      float64
	topP             float64 // keep the likeliest tokens that together have this share; 1 keeps all, 0 one
	topK             int     // keep so many tokens; 0 keeps all
	frequencyPenalty float64 // for each time that the answer has the token
	presencePenalty  float64 // once the answer has the token
	bias             map[int]float64
	seed             uint64
}

// sampler chooses the tokens of one answer.
type sampler struct {
	sampling
	random *rand.Rand
	said   map[int]int // how often the answer has each token
	list   []option    // used again for each token
}

type option struct {
	token int
	share float64 // of the probability, not normalised
}

func newSampler(s sampling) *sampler {
	return &sampler{sampling: s, random: rand.New(rand.NewPCG(s.seed, 0x6c6f6273746168)), said: map[int]int{}}
}

// next chooses a token. It changes logits.
func (s *sampler) next(logits []float32) int {
	for token, n := range s.said {
		logits[token] -= float32(float64(n)*s.frequencyPenalty + s.presencePenalty)
	}
	for token, bias := range s.bias {
		if token < len(logits) {
			logits[token] += float32(bias)
		}
	}
	token := s.choose(logits)
	s.said[token]++
	return token
}

func (s *sampler) choose(logits []float32) int {
	best := 0
	for i, l := range logits {
		if l > logits[best] {
			best = i
		}
	}
	if s.temperature <= 0 {
		return best
	}
	s.weigh(logits, logits[best])
	if s.topK > 0 || s.topP < 1 {
		s.cut()
	}
	return s.draw(best)
}

// weigh fills the list with every token's share.
func (s *sampler) weigh(logits []float32, peak float32) {
	s.list = s.list[:0]
	for i, l := range logits {
		share := math.Exp(float64(l-peak) / s.temperature)
		if share > 0 { // false for NaN too, which a broken model gives
			s.list = append(s.list, option{i, share})
		}
	}
}

// cut keeps the likeliest tokens, as topK and then topP say.
func (s *sampler) cut() {
	slices.SortFunc(s.list, func(a, b option) int {
		return cmp.Or(cmp.Compare(b.share, a.share), cmp.Compare(a.token, b.token))
	})
	if s.topK > 0 {
		s.list = s.list[:min(s.topK, len(s.list))]
	}
	if s.topP >= 1 {
		return
	}
	limit := s.topP * s.total()
	for i, sum := 0, 0.0; i < len(s.list); i++ {
		if sum += s.list[i].share; sum >= limit {
			s.list = s.list[:i+1]
		}
	}
}

func (s *sampler) total() float64 {
	sum := 0.0
	for _, c := range s.list {
		sum += c.share
	}
	return sum
}

// draw takes a token of the list by its share; best if the list is empty.
func (s *sampler) draw(best int) int {
	at := s.random.Float64() * s.total()
	for _, c := range s.list {
		if at -= c.share; at < 0 {
			return c.token
		}
	}
	if len(s.list) > 0 {
		return s.list[len(s.list)-1].token
	}
	return best
}
