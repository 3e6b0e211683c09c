package tinygguf

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

const bpeMerges = 400

// byteLevel is the vocabulary of a byte-level BPE model ("gpt2"), trained on
// text: every byte, then the most frequent pair again and again. Pairs reach
// across words and lines on purpose, so that an engine which splits text wrongly
// before merging makes other tokens.
func byteLevel(text string) *vocabulary {
	v := newVocabulary()
	alphabet := byteAlphabet()
	for _, r := range alphabet {
		v.put(string(r), kindNormal, 0)
	}
	symbols := make([]string, 0, len(text))
	for _, b := range []byte(text) {
		symbols = append(symbols, string(alphabet[b]))
	}
	for range bpeMerges {
		pair := commonest(symbols)
		v.merges = append(v.merges, pair[0]+" "+pair[1])
		v.put(pair[0]+pair[1], kindNormal, 0)
		symbols = merged(symbols, pair)
	}
	for _, special := range []string{"<|endoftext|>", "<|im_start|>", "<|im_end|>"} {
		v.put(special, kindControl, 0)
	}
	return v
}

// byteAlphabet gives each byte the visible character that byte-level BPE writes
// for it: itself where printable, else the next free one from U+0100 on.
func byteAlphabet() [256]rune {
	var out [256]rune
	next := rune(256)
	for b := range rune(256) {
		if b >= '!' && b <= '~' || b >= 0xa1 && b != 0xad {
			out[b] = b
			continue
		}
		out[b] = next
		next++
	}
	return out
}

func commonest(symbols []string) [2]string {
	count := map[[2]string]int{}
	for i := range len(symbols) - 1 {
		count[[2]string{symbols[i], symbols[i+1]}]++
	}
	return slices.MaxFunc(slices.Collect(maps.Keys(count)), func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(count[a], count[b]), strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1]))
	})
}

func merged(symbols []string, pair [2]string) []string {
	var out []string
	for i := 0; i < len(symbols); i++ {
		if i+1 < len(symbols) && symbols[i] == pair[0] && symbols[i+1] == pair[1] {
			out = append(out, pair[0]+pair[1])
			i++
			continue
		}
		out = append(out, symbols[i])
	}
	return out
}
