package receipt

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// CommentPrefix begins the SSE comment that carries a receipt in a stream,
// directly before data: [DONE].
const CommentPrefix = ":lobstah-receipt:"

// Text is the form in headers and comments: standard base64 of the envelope.
func (s *Signed) Text() string { return base64.StdEncoding.EncodeToString(s.Envelope()) }

// OpenText opens the form that [Signed.Text] makes. The alphabet may be the
// URL-safe one and padding may be missing, as the original's decoder allows.
func OpenText(text string) (*Signed, error) {
	if len(text) > base64.StdEncoding.EncodedLen(MaxBytes) {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrMalformed, MaxBytes)
	}
	plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(strings.TrimSpace(text), "="))
	envelope, err := base64.RawStdEncoding.DecodeString(plain)
	if err != nil {
		return nil, fmt.Errorf("%w: not base64", ErrMalformed)
	}
	return Open(envelope)
}

// HashBody returns the hex SHA-256 of a whole body, the request hash of what
// was sent and the response hash of an answer that was no stream.
func HashBody(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// A StreamHash is the running response hash of a stream: SHA-256 over each
// data payload followed by LF, in order, without [DONE], comments and framing,
// so that keep-alives and re-chunking do not matter. The zero value is ready.
type StreamHash struct{ sum hash.Hash }

// Data adds one event's data payload; [DONE] adds nothing.
func (h *StreamHash) Data(payload []byte) {
	if bytes.Equal(payload, []byte("[DONE]")) {
		return
	}
	if h.sum == nil {
		h.sum = sha256.New()
	}
	h.sum.Write(payload)
	h.sum.Write([]byte{'\n'})
}

// Hex returns the hash of what was added so far.
func (h *StreamHash) Hex() string {
	if h.sum == nil {
		return HashBody(nil)
	}
	return hex.EncodeToString(h.sum.Sum(nil))
}
