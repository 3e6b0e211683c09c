package gguf

import (
	"fmt"
	"strconv"
	"strings"
)

const blank = "\u2581" // SentencePiece's space

// sentencePiece is the "llama" tokenizer: spaces become blanks, characters are
// joined to the tokens of the best score, and what is no token is told in bytes.
type sentencePiece struct {
	tokens      *tokenizer
	score       []float64
	spacePrefix bool     // a space is put before text that follows a mark
	bytes       [256]int // tokens
}

func readSentencePiece(meta metadata, t *tokenizer) (*sentencePiece, error) {
	s := &sentencePiece{tokens: t}
	var err error
	if s.score, err = meta.numbers("tokenizer.ggml.scores"); err != nil {
		return nil, err
	}
	if len(s.score) != len(t.text) {
		return nil, fmt.Errorf("metadata tokenizer.ggml.scores has %d entries for %d tokens", len(s.score), len(t.text))
	}
	if s.spacePrefix, err = meta.boolOr("tokenizer.ggml.add_space_prefix", true); err != nil {
		return nil, err
	}
	unknown, err := t.special(meta, "unknown", 0)
	if err != nil {
		return nil, err
	}
	for b := range s.bytes {
		id, ok := t.id[fmt.Sprintf("<0x%02X>", b)]
		if !ok {
			id = unknown
		}
		s.bytes[b] = id
	}
	return s, nil
}

func (s *sentencePiece) split(out []int, text string, afterMark bool) []int {
	if s.spacePrefix && afterMark {
		text = " " + text
	}
	text = strings.ReplaceAll(text, " ", blank)
	merge(text, runeEnds(text), s.rank, func(piece string) {
		if id, ok := s.tokens.id[piece]; ok {
			out = append(out, id)
			return
		}
		for _, b := range []byte(piece) {
			out = append(out, s.bytes[b])
		}
	})
	return out
}

func (s *sentencePiece) rank(_, _, joined string) (float64, bool) {
	id, ok := s.tokens.id[joined]
	if !ok {
		return 0, false
	}
	return -s.score[id], true
}

func (s *sentencePiece) show(token int) string {
	text := s.tokens.text[token]
	if s.tokens.kind[token] != kindByte {
		return strings.ReplaceAll(text, blank, " ")
	}
	b, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(text, "<0x"), ">"), 16, 8)
	if err != nil {
		return text // not a byte after all: shown as it is
	}
	return string([]byte{byte(b)})
}

// runeEnds are the offsets at which the characters of text end.
func runeEnds(text string) []int {
	ends := make([]int, 0, len(text))
	for i := range text {
		if i > 0 {
			ends = append(ends, i)
		}
	}
	if text != "" {
		ends = append(ends, len(text))
	}
	return ends
}
