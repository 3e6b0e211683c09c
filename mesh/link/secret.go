package link

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"lobstah/key"
)

// A Secret is the key drawn from one cluster secret. The text itself is not kept.
type Secret struct {
	key    []byte
	strong bool
}

const (
	pbkdf2Rounds = 600_000
	secretSalt   = "clawmatrix-secret-v1"
	// MaxSecrets is how many secrets may be valid at once, while they are rotated.
	MaxSecrets = 4
)

// NewSecret draws the key, which takes some 0.2 s of CPU on purpose.
func NewSecret(text string) (Secret, error) { return newSecret(text, pbkdf2Rounds) }

func newSecret(text string, rounds int) (Secret, error) {
	if text == "" {
		return Secret{}, errors.New("the cluster secret is empty: set it, or make one with 256 random bits")
	}
	drawn, err := pbkdf2.Key(sha256.New, text, []byte(secretSalt), rounds, 32)
	if err != nil {
		return Secret{}, fmt.Errorf("draw a key from the cluster secret: %w", err)
	}
	return Secret{drawn, StrongText(text)}, nil
}

// Strong reports whether the secret looks like at least 128 random bits, so that
// nobody who sees a proof can guess it.
func (s Secret) Strong() bool { return s.strong }

// String keeps the secret out of texts.
func (s Secret) String() string { return "link.Secret" }

// GoString does for %#v what String does for the others.
func (s Secret) GoString() string { return s.String() }

// LogValue keeps the secret out of logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// StrongText recognises 128 bits as hex or base64. Words of a language never count,
// however long: a person who chose them may have chosen them elsewhere.
func StrongText(text string) bool {
	distinct := map[rune]bool{}
	for _, r := range text {
		distinct[r] = true
	}
	if strings.Trim(text, "0123456789abcdefABCDEF") == "" {
		return len(text) >= 32 && len(distinct) >= 8
	}
	plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	_, err := base64.RawStdEncoding.DecodeString(plain)
	mixed := strings.ContainsAny(text, "0123456789") && strings.ToLower(text) != text && strings.ToUpper(text) != text
	return err == nil && len(plain) >= 22 && len(distinct) >= 12 && mixed
}

// transcript is what both proofs are about. Every part has a fixed length.
type transcript struct {
	dialler, acceptor           key.ID
	diallerNonce, acceptorNonce [32]byte
	exporter                    [32]byte // RFC 8446 section 7.5, of this very TLS session
	diallerEpoch, acceptorEpoch uint64
}

const proofBytes = sha256.Size

// prove is HMAC-SHA256 over the role and the transcript. The exporter binds it to
// this session, so that it is worth nothing in another; the role, so that it
// cannot be sent back.
func (s Secret) prove(role string, t *transcript) []byte {
	own, err := hkdf.Expand(sha256.New, s.key, "clawmatrix-link-v1 "+role, 32)
	if err != nil {
		panic("link: hkdf: " + err.Error()) // only for impossible lengths
	}
	mac := hmac.New(sha256.New, own)
	mac.Write([]byte("clawmatrix-link-v1\n" + role + "\n"))
	for _, part := range [][]byte{t.dialler[:], t.acceptor[:], t.diallerNonce[:], t.acceptorNonce[:], t.exporter[:]} {
		mac.Write(part)
	}
	mac.Write(appendEpochs(nil, t.diallerEpoch, t.acceptorEpoch))
	return mac.Sum(nil)
}
