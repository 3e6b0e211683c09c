package gguf

import (
	"math"
	"slices"
	"testing"
)

func TestSamplingFollowsTheDistribution(t *testing.T) {
	t.Parallel()
	logits := []float32{0, float32(math.Log(2)), float32(math.Log(5)), -1000} // shares 1, 2, 5 of 8
	tests := []struct {
		name     string
		sampling sampling
		want     []float64
	}{
		{"greedy", sampling{}, []float64{0, 0, 1, 0}},
		{"as it is", sampling{temperature: 1, topP: 1}, []float64{0.125, 0.25, 0.625, 0}},
		{"cold", sampling{temperature: 0.5, topP: 1}, []float64{1. / 30, 4. / 30, 25. / 30, 0}},
		{"top_p", sampling{temperature: 1, topP: 0.8}, []float64{0, 2. / 7, 5. / 7, 0}},
		{"top_p 0", sampling{temperature: 1}, []float64{0, 0, 1, 0}},
		{"top_k", sampling{temperature: 1, topP: 1, topK: 2}, []float64{0, 2. / 7, 5. / 7, 0}},
		{"bias", sampling{temperature: 1, topP: 1, bias: map[int]float64{2: -100, 99: 1}}, []float64{1. / 3, 2. / 3, 0, 0}},
	}
	const draws = 20000
	for _, test := range tests {
		test.sampling.seed = 5
		s := newSampler(test.sampling)
		got := make([]float64, len(logits))
		for range draws {
			got[s.next(slices.Clone(logits))] += 1. / draws
		}
		for i := range got {
			if math.Abs(got[i]-test.want[i]) > 0.015 { // four standard deviations
				t.Errorf("%s: shares %.3f, want %.3f", test.name, got, test.want)
				break
			}
		}
	}
}

func TestPenaltiesTurnToOtherTokens(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]sampling{"frequency": {frequencyPenalty: 1}, "presence": {presencePenalty: 1}} {
		chooser := newSampler(s)
		var got []int
		for range 3 {
			got = append(got, chooser.next([]float32{1, 0.5, -5}))
		}
		want := []int{0, 1, 0}
		if !slices.Equal(got, want) {
			t.Errorf("%s penalty chooses %v, want %v", name, got, want)
		}
	}
}

func TestBrokenLogitsDoNotPanic(t *testing.T) {
	t.Parallel()
	nan := float32(math.NaN())
	for _, logits := range [][]float32{{nan, nan}, {float32(math.Inf(1)), 0}, {float32(math.Inf(-1)), float32(math.Inf(-1))}} {
		got := newSampler(sampling{temperature: 1, topP: 0.5}).next(logits)
		if got < 0 || got > 1 {
			t.Errorf("token %d of %v", got, logits)
		}
	}
}
