// Package nostrkey makes the secp256k1 key pairs that Nostr identities use
// (BIP-340: a secret scalar and the 32-byte x coordinate of its point).
//
// Call [Generate] and [Public], [Sign] and [Verify]. Package key and the places
// of announcements import it; it wraps decred's secp256k1 and, for BIP-340,
// btcec's schnorr over it (decred's own schnorr is another scheme). Public keys
// and signatures are hostile input.
package nostrkey

import (
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/btcec/v2/schnorr"
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

// Sign makes the BIP-340 signature of secret over digest.
func Sign(secret, digest [32]byte) (signature [64]byte, err error) {
	var auxiliary [32]byte
	_, _ = rand.Read(auxiliary[:]) // it never fails
	return sign(secret, digest, auxiliary)
}

func sign(secret, digest, auxiliary [32]byte) (signature [64]byte, err error) {
	var scalar secp256k1.ModNScalar
	if overflow := scalar.SetBytes(&secret); overflow != 0 || scalar.IsZero() {
		return signature, ErrInvalid
	}
	made, err := schnorr.Sign(secp256k1.NewPrivateKey(&scalar), digest[:], schnorr.CustomNonce(auxiliary))
	if err != nil {
		return signature, fmt.Errorf("sign for Nostr: %w", err)
	}
	return [64]byte(made.Serialize()), nil
}

// Verify reports whether signature is public's over digest, by BIP-340.
func Verify(public, digest [32]byte, signature [64]byte) bool {
	point, err := schnorr.ParsePubKey(public[:])
	if err != nil {
		return false
	}
	parsed, err := schnorr.ParseSignature(signature[:])
	return err == nil && parsed.Verify(digest[:], point)
}
