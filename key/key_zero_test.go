package key_test

import (
	"testing"

	"lobstah/key"
)

func TestPairIsZero(t *testing.T) {
	t.Parallel()
	if got := (key.Pair{}).IsZero(); !got {
		t.Error("the zero Pair is not zero")
	}
	if got := key.FromSeed([32]byte{1}).IsZero(); got {
		t.Error("a real pair is zero")
	}
}
