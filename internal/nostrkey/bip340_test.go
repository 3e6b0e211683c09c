package nostrkey

import (
	"encoding/csv"
	"encoding/hex"
	"os"
	"testing"
)

// The vectors are those of BIP-340 with messages of 32 bytes.
func TestBIP340(t *testing.T) {
	t.Parallel()
	file, err := os.Open("testdata/bip340.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil || len(rows) != 14 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, row := range rows[1:] {
		public, digest := [32]byte(bytesOf(t, row[1])), [32]byte(bytesOf(t, row[3]))
		signature := [64]byte(bytesOf(t, row[4]))
		if got, want := Verify(public, digest, signature), row[5] == "TRUE"; got != want {
			t.Errorf("vector %d verifies: %v; want %v", i, got, want)
		}
		if row[0] == "" {
			continue
		}
		secret := [32]byte(bytesOf(t, row[0]))
		if got, err := Public(secret); err != nil || got != public {
			t.Errorf("vector %d: public key %x, %v", i, got, err)
		}
		if got, err := sign(secret, digest, [32]byte(bytesOf(t, row[2]))); err != nil || got != signature {
			t.Errorf("vector %d: signature %x, %v; want %x", i, got, err, signature)
		}
	}
}

func bytesOf(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestSign(t *testing.T) {
	t.Parallel()
	secret, public, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	digest := [32]byte{1, 2, 3}
	a, errA := Sign(secret, digest)
	b, errB := Sign(secret, digest)
	if errA != nil || errB != nil || a == b {
		t.Errorf("two signatures: %v, %v, equal is %v; want them to differ", errA, errB, a == b)
	}
	if !Verify(public, digest, a) || !Verify(public, digest, b) || Verify(public, [32]byte{}, a) {
		t.Error("Verify is wrong about a fresh signature")
	}
	if _, err := Sign([32]byte{}, digest); err == nil {
		t.Error("signed with no key")
	}
}
