package gguf

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// preTokenizer cuts text into the words that byte-level BPE works on.
type preTokenizer struct {
	// next is the length of the first word of text, which is not empty.
	next       func(text string) int
	begins     bool // prompts begin with the beginning's token unless the file says no
	wholeWords bool // a word that is a token is not merged together but taken
}

// preTokenizers are the rules by the names that files give them.
var preTokenizers = map[string]preTokenizer{
	"gpt-2":     {next: nextGPT2},
	"smollm":    {next: nextSingleDigits},
	"starcoder": {next: nextSingleDigits},
	"llama-bpe": {next: nextLlama3, begins: true, wholeWords: true},
	"llama3":    {next: nextLlama3, begins: true, wholeWords: true},
	"llama-v3":  {next: nextLlama3, begins: true, wholeWords: true},
	"qwen2":     {next: nextQwen2},
}

// nextGPT2 follows the pattern of GPT-2:
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func nextGPT2(text string) int {
	if n := contraction(text); n > 0 {
		return n
	}
	rest := strings.TrimPrefix(text, " ")
	space := len(text) - len(rest)
	for _, class := range []func(rune) bool{unicode.IsLetter, unicode.IsNumber, isSymbol} {
		if n := run(rest, class); n > 0 {
			return space + n
		}
	}
	return spaces(text)
}

// nextSingleDigits is GPT-2's rule between digits, each of which is a word.
func nextSingleDigits(text string) int {
	if n := digitsUpTo(text, 1); n > 0 {
		return n
	}
	if n := run(text, unicode.IsSpace); digitsUpTo(text[n:], 1) > 0 && n > 0 {
		return n
	}
	n := nextGPT2(text)
	if digit := strings.IndexFunc(text[:n], unicode.IsNumber); digit > 0 {
		return nextGPT2(text[:digit])
	}
	return n
}

// nextLlama3 follows the pattern of Llama 3:
//
//	(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
func nextLlama3(text string) int { return nextWithDigits(text, 3) }

// nextQwen2 is Llama 3's rule with single digits.
func nextQwen2(text string) int { return nextWithDigits(text, 1) }

func nextWithDigits(text string, digits int) int {
	if n := contraction(strings.ToLower(text[:min(len(text), 3)])); n > 0 {
		return n
	}
	if n := prefixedLetters(text); n > 0 {
		return n
	}
	if n := digitsUpTo(text, digits); n > 0 {
		return n
	}
	rest := strings.TrimPrefix(text, " ")
	if n := run(rest, isSymbol); n > 0 {
		return len(text) - len(rest) + n + run(rest[n:], isNewline)
	}
	if n := strings.LastIndexFunc(text[:run(text, unicode.IsSpace)], isNewline); n >= 0 {
		return n + 1
	}
	return spaces(text)
}

// prefixedLetters is the length of letters with at most one other character before
// them, which is no newline and no number.
func prefixedLetters(text string) int {
	first, size := utf8.DecodeRuneInString(text)
	if unicode.IsLetter(first) || isNewline(first) || unicode.IsNumber(first) {
		size = 0
	}
	if n := run(text[size:], unicode.IsLetter); n > 0 {
		return size + n
	}
	return 0
}

var contractions = []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}

func contraction(text string) int {
	for _, c := range contractions {
		if strings.HasPrefix(text, c) {
			return len(c)
		}
	}
	return 0
}

// spaces is the length of the white space that text begins with, less its last
// character if a word follows: that one belongs to the word.
func spaces(text string) int {
	n := run(text, unicode.IsSpace)
	if n == len(text) {
		return n
	}
	_, last := utf8.DecodeLastRuneInString(text[:n])
	if n > last {
		return n - last
	}
	return n
}

// run is the length of the characters of a class that text begins with.
func run(text string, class func(rune) bool) int {
	for i, r := range text {
		if !class(r) {
			return i
		}
	}
	return len(text)
}

// digitsUpTo is the length of the numbers that text begins with, at most count.
func digitsUpTo(text string, count int) int {
	end := 0
	for range count {
		r, size := utf8.DecodeRuneInString(text[end:])
		if !unicode.IsNumber(r) {
			break
		}
		end += size
	}
	return end
}

func isNewline(r rune) bool { return r == '\r' || r == '\n' }

func isSymbol(r rune) bool {
	return !unicode.IsSpace(r) && !unicode.IsLetter(r) && !unicode.IsNumber(r)
}
