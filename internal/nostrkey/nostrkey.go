// Package nostrkey makes the secp256k1 key pairs that Nostr identities use
// (BIP-340: a secret scalar and the 32-byte x coordinate of its point).
//
// Call [Generate] and [Public]. Package key imports it; it wraps decred's
// secp256k1 and nothing else.
package nostrkey

import (
	"errors"
	"fmt"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// ErrInvalid says that 32 bytes are no secp256k1 secret: zero, or not below
// the order of the group.
var ErrInvalid = errors.New("not a secp256k1 secret key")

// Generate returns a fresh random secret and its public key.
func Generate() (secret, public [32]byte, err error) {
	k, err := secp256k1.GeneratePrivateKey()
	if err != nil {
		return secret, public, fmt.Errorf("make a Nostr key: %w", err)
	}
	copy(secret[:], k.Serialize())
	copy(public[:], k.PubKey().SerializeCompressed()[1:])
	return secret, public, nil
}

// Public returns the x-only public key of secret (BIP-340).
func Public(secret [32]byte) (public [32]byte, err error) {
	var scalar secp256k1.ModNScalar
	if overflow := scalar.SetBytes(&secret); overflow != 0 || scalar.IsZero() {
		return public, ErrInvalid
	}
	copy(public[:], secp256k1.NewPrivateKey(&scalar).PubKey().SerializeCompressed()[1:])
	return public, nil
}
