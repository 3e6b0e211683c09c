package tinygguf

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

const blank = "\u2581" // SentencePiece's space

// sentencePiece is the vocabulary of a SentencePiece model ("llama") that can
// write every token of spoken: <unk>, <s>, </s>, 256 byte tokens, a few control
// tokens, single characters, and each word with all its prefixes, since
// SentencePiece merges left to right and so must be able to stop at each.
func sentencePiece(spoken []string) *vocabulary {
	v := newVocabulary()
	v.put("<unk>", kindUnknown, 0)
	v.put("<s>", kindControl, 0)
	v.put("</s>", kindControl, 0)
	for b := range 256 {
		v.put(byteToken(byte(b)), kindByte, 0)
	}
	for _, role := range []string{"<|system|>", "<|user|>", assistantTurn, "<|tool|>", endOfTurn} {
		v.put(role, kindControl, 0)
	}
	v.put("<think>", kindUser, 0)
	v.put("</think>", kindUser, 0)
	v.put(blank, kindNormal, -1)
	for r := rune(33); r < 127; r++ {
		v.put(string(r), kindNormal, -1)
	}
	for _, word := range slices.Compact(slices.Sorted(slices.Values(spoken))) {
		if !strings.HasPrefix(word, "<") {
			v.putPrefixes(word)
		}
	}
	return v
}

// putPrefixes adds a word's prefixes; a longer one is merged sooner.
func (v *vocabulary) putPrefixes(word string) {
	length := 0
	for i, r := range word {
		length++
		v.put(word[:i+utf8.RuneLen(r)], kindNormal, -float32(100-length))
	}
}

func byteToken(b byte) string { return fmt.Sprintf("<0x%02X>", b) }

// spokenTokens are the tokens that a Markov model says for the lines of text:
// words with their leading blank, punctuation, and each line's end. Unless
// whole, symbols such as emoji are said byte by byte.
func spokenTokens(text string, whole bool) []string {
	var out []string
	for line := range strings.Lines(strings.TrimSpace(text)) {
		for field := range strings.FieldsSeq(line) {
			if whole {
				out = append(out, blank+field)
			} else {
				out = append(out, splitField(field)...)
			}
		}
		out = append(out, endOfTurn)
	}
	return out
}

func splitField(field string) []string {
	var out []string
	word := blank
	flush := func() {
		if word != "" {
			out = append(out, word)
		}
		word = ""
	}
	for _, r := range field {
		switch {
		case strings.ContainsRune(".,!?:;", r):
			flush()
			out = append(out, string(r))
		case r > 0x2fff:
			flush()
			for _, b := range []byte(string(r)) {
				out = append(out, byteToken(b))
			}
		default:
			word += string(r)
		}
	}
	flush()
	return out
}
