package tinygguf

import "math"

const (
	neverHere   = -14.0 // log-probability of a word that was never seen after this one
	neverSpoken = -30.0 // of a token that no word of the text is
)

// chain counts which word follows which. Each token that can be spoken is a
// state and owns one dimension of the embedding; all others share dimension 0.
type chain struct {
	vocabulary *vocabulary
	state      map[int]int // token id to dimension
	next       []map[int]float64
	width      int // states + 1, rounded up to a multiple of 32
}

func newChain(v *vocabulary, spoken []string) *chain {
	c := &chain{vocabulary: v, state: map[int]int{}}
	start := v.id[assistantTurn]
	c.state[start] = 1
	for _, word := range spoken {
		if id := v.id[word]; c.state[id] == 0 {
			c.state[id] = len(c.state) + 1
		}
	}
	c.width = (len(c.state) + 1 + 31) / 32 * 32
	c.next = make([]map[int]float64, c.width)
	for i := range c.next {
		c.next[i] = map[int]float64{}
	}
	previous := start
	for _, word := range spoken {
		id := v.id[word]
		c.next[c.state[previous]][id]++
		c.next[0][id] += 0.01 // after a token without a state: any word
		previous = id
		if word == endOfTurn {
			previous = start
		}
	}
	return c
}

// matrices are the embedding and the output matrix. RMSNorm makes a one-hot
// vector sqrt(width) long, so a log-probability is stored divided by that.
func (c *chain) matrices() (embed, output []float32) {
	tokens := len(c.vocabulary.text)
	embed, output = make([]float32, tokens*c.width), make([]float32, tokens*c.width)
	root := math.Sqrt(float64(c.width))
	for id := range tokens {
		embed[id*c.width+c.state[id]] = 1
	}
	for s := range c.width {
		sum := 0.0
		for id := range tokens { // not over the map: the order of a float sum shows
			sum += c.next[s][id]
		}
		for id := range tokens {
			output[id*c.width+s] = float32(c.logProbability(s, id, sum) / root)
		}
	}
	return embed, output
}

func (c *chain) logProbability(s, id int, sum float64) float64 {
	if n := c.next[s][id]; n > 0 {
		return math.Log(n / sum)
	}
	if c.state[id] != 0 {
		return neverHere
	}
	return neverSpoken
}
