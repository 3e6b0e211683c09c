package tinygguf

// Kinds of tokens, by SentencePiece's numbers.
const (
	kindNormal  int32 = 1
	kindUnknown int32 = 2
	kindControl int32 = 3
	kindUser    int32 = 4 // "user defined": always recognised, and shown
	kindByte    int32 = 6
)

const (
	assistantTurn = "<|assistant|>"
	endOfTurn     = "<|end|>"
)

// vocabulary is the list of tokens, in the order of their ids.
type vocabulary struct {
	text   []string
	score  []float32
	kind   []int32
	id     map[string]int
	merges []string // byte-level BPE only: "left right", best first
}

func newVocabulary() *vocabulary { return &vocabulary{id: map[string]int{}} }

// put adds a token unless it is there.
func (v *vocabulary) put(text string, kind int32, score float32) {
	if _, ok := v.id[text]; ok {
		return
	}
	v.id[text] = len(v.text)
	v.text = append(v.text, text)
	v.kind = append(v.kind, kind)
	v.score = append(v.score, score)
}
