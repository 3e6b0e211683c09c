package link

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
)

// maxHeader is the length of the longest header of a message.
const maxHeader = 2 + 8 + 4

const (
	finalBinary = 0x82 // the last, and only, part of a binary message
	masked      = 0x80
)

// asMessage makes a WebSocket message (RFC 6455, section 5.2) of the bytes behind
// the first maxHeader ones, in place. What clients send is masked, with a key that
// nobody can foresee. The library writes the same with three more copies of it.
func asMessage(batch []byte, mask bool) []byte {
	payload := batch[maxHeader:]
	var b [maxHeader]byte
	h := append(b[:0], finalBinary)
	switch n := len(payload); {
	case n < 126:
		h = append(h, byte(n))
	case n < 1<<16:
		h = binary.BigEndian.AppendUint16(append(h, 126), uint16(n))
	default:
		h = binary.BigEndian.AppendUint64(append(h, 127), uint64(n))
	}
	if mask {
		var key [4]byte
		rand.Read(key[:])
		h[1] |= masked
		h = append(h, key[:]...)
		maskWith(key, payload)
	}
	message := batch[maxHeader-len(h):]
	copy(message, h)
	return message
}

// maskWith covers b, many keys at a time.
func maskWith(key [4]byte, b []byte) {
	var pad [1 << 10]byte
	n := copy(pad[:], key[:])
	for n < len(pad) && n < len(b) {
		n += copy(pad[n:], pad[:n])
	}
	for len(b) > 0 {
		b = b[subtle.XORBytes(b, b, pad[:n]):]
	}
}
