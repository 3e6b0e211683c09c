package nostrkey

import (
	"encoding/hex"
	"testing"
)

// The pair is NIP-19's own example.
func TestNpub(t *testing.T) {
	t.Parallel()
	raw, err := hex.DecodeString("7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e")
	if err != nil {
		t.Fatal(err)
	}
	const want = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg"
	if got := Npub([32]byte(raw)); got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}
