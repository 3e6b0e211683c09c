// Package spokenwords writes 60 bits as six English words that people can read
// to each other over a telephone.
//
// Call [Of]. What the bits mean is the caller's: invitation and mesh/trust draw
// them from keys. The list of 1024 words is part of what they show, so it never
// changes. It imports the standard library only.
package spokenwords

import (
	_ "embed"
	"strings"
	"sync"
)

// Count is how many words there are, each worth ten bits.
const Count = 6

//go:embed words.txt
var text string

var list = sync.OnceValue(func() []string { return strings.Fields(text) })

// Of returns the words of the 60 most significant bits, in groups of ten from
// the top, each the number of a line of words.txt, counted from 0.
func Of(bits uint64) string {
	words := make([]string, Count)
	for i := range words {
		words[i] = list()[bits>>54]
		bits <<= 10
	}
	return strings.Join(words, " ")
}
