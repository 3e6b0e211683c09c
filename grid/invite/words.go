package invite

import (
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"strings"

	"lobstah/key"
)

// wordCount is how many words both sides show, each worth ten bits.
const wordCount = 6

//go:embed words.txt
var wordText string

// Words are six words that both sides of an invitation show, so that people can
// tell each other that they mean the same two machines: the first 60 bits of
//
//	SHA-256("lobstah-words-v1" LF, the inviter's key, the joiner's key, the secret)
//
// in groups of ten, most significant bit first, each the number of a line of
// words.txt, counted from 0.
func Words(inviter, joiner key.ID, secret Secret) string {
	h := sha256.New()
	h.Write([]byte("lobstah-words-v1\n"))
	h.Write(inviter[:])
	h.Write(joiner[:])
	h.Write(secret[:])
	bits := binary.BigEndian.Uint64(h.Sum(nil))
	list := strings.Fields(wordText)
	words := make([]string, wordCount)
	for i := range words {
		words[i] = list[bits>>54]
		bits <<= 10
	}
	return strings.Join(words, " ")
}
