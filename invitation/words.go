package invitation

import (
	"crypto/sha256"
	"encoding/binary"

	"lobstah/internal/spokenwords"
	"lobstah/key"
)

// Words are six words that both sides of an invitation show, so that people can
// tell each other that they mean the same two machines: the first 60 bits of
//
//	SHA-256("lobstah-words-v1" LF, the inviter's key, the joiner's key, the secret)
//
// as [spokenwords.Of] writes them.
func Words(inviter, joiner key.ID, secret Secret) string {
	h := sha256.New()
	h.Write([]byte("lobstah-words-v1\n"))
	h.Write(inviter[:])
	h.Write(joiner[:])
	h.Write(secret[:])
	return spokenwords.Of(binary.BigEndian.Uint64(h.Sum(nil)))
}
