package gguf

import (
	"fmt"
	"slices"
)

// Kinds of tokens, by SentencePiece's numbers.
const (
	kindNormal  = 1
	kindUnknown = 2
	kindControl = 3 // marks such as a turn's end: never shown
	kindUser    = 4 // "user defined": recognised everywhere, and shown
	kindByte    = 6
)

// tokenizer turns text into tokens and tokens into bytes.
type tokenizer struct {
	text  []string // of each token, as in the file
	kind  []uint8
	shown []string // the bytes of each token, "" for marks that are not shown
	id    map[string]int

	rule    splitter // how text without marks becomes tokens
	marks   []mark   // longest first
	begin   int      // token that begins every prompt, -1 for none
	endings map[int]bool
	eos     int // the text's end, -1 for none
	longest int // bytes of the longest token
}

// splitter is one family of tokenizers.
type splitter interface {
	// split appends the tokens of text that holds no marks. afterMark says that the
	// text begins the prompt or follows a mark.
	split(out []int, text string, afterMark bool) []int
	// show is the bytes of an ordinary token.
	show(token int) string
}

// mark is a token that is found in text as a whole, before anything else.
type mark struct {
	text    string
	token   int
	trusted bool // found in markup only, not in what users say
}

func readTokenizer(meta metadata) (*tokenizer, error) {
	t := &tokenizer{id: map[string]int{}}
	if err := t.readTokens(meta); err != nil {
		return nil, err
	}
	model, err := meta.stringOr("tokenizer.ggml.model", "")
	if err != nil {
		return nil, err
	}
	addBegin := true
	switch model {
	case "llama":
		t.rule, err = readSentencePiece(meta, t)
	case "gpt2":
		var b *bytePairs
		if b, err = readBytePairs(meta, t); b != nil {
			t.rule, addBegin = b, b.pre.begins
		}
	default:
		return nil, fmt.Errorf("the tokenizer %q is not supported by the embedded engine, only \"llama\" and \"gpt2\"; serve the file with llama-server", model)
	}
	if err != nil {
		return nil, err
	}
	t.findMarks()
	t.showAll()
	return t, t.readSpecials(meta, addBegin)
}

func (t *tokenizer) readTokens(meta metadata) error {
	var err error
	if t.text, err = meta.strings("tokenizer.ggml.tokens"); err != nil {
		return err
	}
	if len(t.text) == 0 || len(t.text) > 1<<20 {
		return fmt.Errorf("metadata tokenizer.ggml.tokens has %d tokens, want 1 to %d", len(t.text), 1<<20)
	}
	kinds, err := meta.numbers("tokenizer.ggml.token_type")
	if err != nil {
		return err
	}
	if kinds != nil && len(kinds) != len(t.text) {
		return fmt.Errorf("metadata tokenizer.ggml.token_type has %d entries for %d tokens", len(kinds), len(t.text))
	}
	t.kind = make([]uint8, len(t.text))
	for i, text := range t.text {
		t.kind[i] = kindNormal
		if kinds != nil {
			t.kind[i] = uint8(min(max(kinds[i], 0), 255))
		}
		t.id[text] = i // of twins the last, as llama.cpp has it
	}
	return nil
}

// readSpecials finds the tokens that begin a prompt and end an answer.
func (t *tokenizer) readSpecials(meta metadata, addBegin bool) error {
	addBegin, err := meta.boolOr("tokenizer.ggml.add_bos_token", addBegin)
	if err != nil {
		return err
	}
	if addEnd, err := meta.boolOr("tokenizer.ggml.add_eos_token", false); err != nil || addEnd {
		return fmt.Errorf("metadata tokenizer.ggml.add_eos_token is %v, which the embedded engine does not support", show(meta["tokenizer.ggml.add_eos_token"]))
	}
	fallback := -1
	if _, ok := t.rule.(*sentencePiece); ok {
		fallback = 1 // <s>, then </s>, by that tokenizer's custom
	}
	if t.begin, err = t.special(meta, "bos", fallback); err != nil {
		return err
	}
	if !addBegin {
		t.begin = -1
	} else if t.begin < 0 {
		return fmt.Errorf("metadata tokenizer.ggml.bos_token_id is missing, though prompts are to begin with it")
	}
	if fallback > 0 {
		fallback = 2
	}
	if t.eos, err = t.special(meta, "eos", fallback); err != nil {
		return err
	}
	return t.findEndings(meta)
}

// endingTexts are marks that end an answer in the models that have them, whatever
// token the file names as its end.
var endingTexts = []string{"<|eot_id|>", "<|im_end|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>", "<end_of_turn>"}

func (t *tokenizer) findEndings(meta metadata) error {
	t.endings = map[int]bool{}
	for _, name := range []string{"eos", "eot", "eom"} {
		id, err := t.special(meta, name, -1)
		if err != nil {
			return err
		}
		if id >= 0 {
			t.endings[id] = true
		}
	}
	if t.eos >= 0 {
		t.endings[t.eos] = true
	}
	for _, text := range endingTexts {
		if id, ok := t.id[text]; ok {
			t.endings[id] = true
		}
	}
	return nil
}

// special is the token that the file names for a purpose, or fallback.
func (t *tokenizer) special(meta metadata, purpose string, fallback int) (int, error) {
	key := "tokenizer.ggml." + purpose + "_token_id"
	if meta[key] == nil && fallback < len(t.text) {
		return fallback, nil
	}
	return meta.countOr(key, 0, len(t.text)-1)
}

func (t *tokenizer) findMarks() {
	for id, text := range t.text {
		kind := t.kind[id]
		if text != "" && (kind == kindUser || kind == kindControl || kind == kindUnknown) {
			t.marks = append(t.marks, mark{text, id, kind != kindUser})
		}
	}
	slices.SortStableFunc(t.marks, func(a, b mark) int { return len(b.text) - len(a.text) })
}

func (t *tokenizer) showAll() {
	t.shown = make([]string, len(t.text))
	t.longest = 1
	for id, text := range t.text {
		t.longest = max(t.longest, len(text))
		switch t.kind[id] {
		case kindControl, kindUnknown:
		case kindUser:
			t.shown[id] = text
		default:
			t.shown[id] = t.rule.show(id)
		}
	}
}

// atLeast is the least number of tokens that a passage can have, told at once.
func (t *tokenizer) atLeast(p *passage) int { return p.text.Len() / t.longest }
