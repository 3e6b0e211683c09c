package ledgertest

import (
	"crypto/rand"
	"encoding/hex"
	"testing"
	"time"

	"lobstah/key"
	"lobstah/receipt"
)

// Completed is when every receipt of this package was completed.
var Completed = time.UnixMilli(1_790_000_001_234).UTC()

// Nonce returns a fresh nonce.
func Nonce() string {
	var raw [16]byte
	rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}

// Receipt signs a receipt of worker for requester (an ID's text or
// [receipt.Anonymous]) over in+out tokens; change, unless nil, alters it first.
func Receipt(t testing.TB, worker key.Pair, requester string, in, out int64, change func(*receipt.Receipt)) *receipt.Signed {
	t.Helper()
	r := receipt.Receipt{
		JobID: "3f1c0a52-0000-4000-8000-000000000001", Nonce: Nonce(),
		Requester: requester, Worker: worker.ID(), Model: "llama3.1:8b",
		InputTokens: in, OutputTokens: out,
		StartedAt: Completed.Add(-time.Second), CompletedAt: Completed,
	}
	if change != nil {
		change(&r)
	}
	s, err := receipt.Sign(worker, r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Bind gives a receipt hashes of request and response.
func Bind(r *receipt.Receipt) {
	r.RequestHash, r.ResponseHash = receipt.HashBody([]byte("request")), receipt.HashBody([]byte("response"))
}
