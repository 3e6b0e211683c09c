package worker

import (
	"crypto/sha256"
	"strings"
	"testing"

	"lobstah/receipt"
)

func hashOf(body []byte) [32]byte { return sha256.Sum256(body) }

func TestWholeAnswer(t *testing.T) {
	t.Parallel()
	e, l := says(wholeChat, chatStream), &fakeLedger{}
	url := serve(t, remote(newTestWorker(e, l, nil), "192.0.2.7:1"))
	request := post(t, url, chatPath, chatBody, signedBy(peer))
	got := do(t, request)
	if got.status != 200 || got.body != wholeChat {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	s, err := receipt.OpenText(got.header.Get(receipt.Header))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Countersigned(); err != nil {
		t.Error(err)
	}
	if s.ResponseHash != receipt.HashBody([]byte(wholeChat)) || s.RequestHash != receipt.HashBody([]byte(chatBody)) {
		t.Errorf("hashes do not fit: %+v", s.Receipt)
	}
	if len(l.list) != 1 || s.Total() != 9 || s.ModelDigest != digest || s.FinishReason != "stop" || s.TokenSource != receipt.FromEngine {
		t.Errorf("receipt %+v; ledger has %d", s.Receipt, len(l.list))
	}
	if string(e.lastCall(t).Body) != chatBody {
		t.Errorf("the engine got %s", e.lastCall(t).Body)
	}
}

func TestStreamedAnswer(t *testing.T) {
	t.Parallel()
	l := &fakeLedger{}
	url := serve(t, newTestWorker(says(wholeChat, chatStream), l, nil))
	got := do(t, post(t, url, chatPath, chatStreamBody, signedBy(peer)))
	before, after, ok := strings.Cut(got.body, receipt.CommentPrefix)
	if !ok || before != sse(delta1, delta2, deltaStop) {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	text, tail, _ := strings.Cut(after, "\n\n")
	if tail != "data: [DONE]\n\n" {
		t.Errorf("behind the receipt: %q", tail)
	}
	s, err := receipt.OpenText(text)
	if err != nil {
		t.Fatal(err)
	}
	var hash receipt.StreamHash
	for _, p := range []string{delta1, delta2, deltaStop} {
		hash.Data([]byte(p))
	}
	if s.ResponseHash != hash.Hex() || s.InputTokens != 7 || s.OutputTokens != 2 {
		t.Errorf("receipt %+v", s.Receipt)
	}
}
