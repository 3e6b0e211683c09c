package gguf

import (
	"fmt"
	"strings"
)

// bytePairs is the "gpt2" tokenizer: text is cut into words by a rule of the model,
// and the bytes of each word are joined pair by pair, in the order of training.
type bytePairs struct {
	tokens *tokenizer
	pre    preTokenizer
	id     map[string]int // of the bytes that each token stands for
	ranks  map[[2]string]int
}

func readBytePairs(meta metadata, t *tokenizer) (*bytePairs, error) {
	b := &bytePairs{tokens: t, id: make(map[string]int, len(t.text))}
	name, err := meta.stringOr("tokenizer.ggml.pre", "")
	if err != nil {
		return nil, err
	}
	var ok bool
	if b.pre, ok = preTokenizers[name]; !ok {
		return nil, fmt.Errorf("the pre-tokenizer %q is not supported by the embedded engine; serve the file with llama-server", name)
	}
	for id := range t.text {
		b.id[b.show(id)] = id
	}
	merges, err := meta.strings("tokenizer.ggml.merges")
	if err != nil {
		return nil, err
	}
	if len(merges) == 0 {
		return nil, fmt.Errorf("metadata tokenizer.ggml.merges is missing")
	}
	b.ranks = make(map[[2]string]int, len(merges))
	for rank, merge := range merges {
		// the first character belongs to the left part, even if it is the space
		cut := strings.IndexByte(merge[min(1, len(merge)):], ' ') + 1
		if cut == 0 {
			return nil, fmt.Errorf("metadata tokenizer.ggml.merges has %s, want two parts with a space between", show(merge))
		}
		b.ranks[[2]string{toBytes(merge[:cut]), toBytes(merge[cut+1:])}] = rank
	}
	return b, nil
}

func (b *bytePairs) split(out []int, text string, _ bool) []int {
	for text != "" {
		n := b.pre.next(text)
		out = b.word(out, text[:n])
		text = text[n:]
	}
	return out
}

func (b *bytePairs) word(out []int, word string) []int {
	if id, ok := b.id[word]; ok && b.pre.wholeWords {
		return append(out, id)
	}
	ends := make([]int, len(word))
	for i := range ends {
		ends[i] = i + 1
	}
	merge(word, ends, b.rank, func(piece string) {
		if id, ok := b.id[piece]; ok {
			out = append(out, id)
			return
		}
		for i := range len(piece) { // a merge without a token
			if id, ok := b.id[piece[i:i+1]]; ok {
				out = append(out, id)
			}
		}
	})
	return out
}

func (b *bytePairs) rank(left, right, _ string) (float64, bool) {
	rank, ok := b.ranks[[2]string{left, right}]
	return float64(rank), ok
}

func (b *bytePairs) show(token int) string { return toBytes(b.tokens.text[token]) }

// alphabetBytes gives the byte for each character that byte-level BPE writes
// instead of it: printable ones are themselves, the others follow from U+0100 on.
var alphabetBytes = func() map[rune]byte {
	out := make(map[rune]byte, 256)
	next := rune(256)
	for b := range rune(256) {
		if b >= '!' && b <= '~' || b >= 0xa1 && b != 0xad {
			out[b] = byte(b)
			continue
		}
		out[next] = byte(b)
		next++
	}
	return out
}()

// toBytes is a token's text as the bytes it stands for. Text outside of the
// alphabet, such as an added token's, stands for itself.
func toBytes(text string) string {
	out := make([]byte, 0, len(text))
	for _, r := range text {
		b, ok := alphabetBytes[r]
		if !ok {
			return text
		}
		out = append(out, b)
	}
	return string(out)
}
