package receipt

import (
	"os"
	"strings"
	"testing"
	"time"
)

// docs/protocol.md publishes one whole exchange; a second implementation
// checks itself against it, so it must stay what this package makes.
func TestPublishedExchange(t *testing.T) {
	page, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	worker, requester := pairs()
	body := []byte(`{"model":"llama3.1:8b","messages":[]}`)
	req := Request{"POST", "/v1/chat/completions", worker.ID(), requester.ID(), sum(body)}
	proof := Proof{Time: time.UnixMilli(1790000000000), Nonce: "000102030405060708090a0b0c0d0e0f"}
	proof.Signature = requester.Sign(req.statement(proof))
	var stream StreamHash
	stream.Data([]byte(`{"a":1}`))
	stream.Data([]byte(`{"b":2}`))
	s, err := Sign(worker, Receipt{
		JobID: "3f1c0a52-0000-4000-8000-000000000001", Nonce: "101112131415161718191a1b1c1d1e1f",
		Requester: requester.ID().String(), Worker: worker.ID(), Model: "llama3.1:8b", InputTokens: 7, OutputTokens: 2,
		StartedAt: time.UnixMilli(1790000000000), CompletedAt: time.UnixMilli(1790000001234),
		RequestHash: HashBody(body), RequestPath: req.Path, RequestSignature: proof.String(), ResponseHash: stream.Hex(),
		ModelDigest: "sha256:" + HashBody(nil), FinishReason: "stop", TokenSource: FromEngine,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Countersigned(); err != nil {
		t.Errorf("countersignature: %v", err)
	}
	for name, want := range map[string]string{"signature": proof.String(), "stream hash": stream.Hex(), "envelope": string(s.Envelope())} {
		if !strings.Contains(string(page), want) {
			t.Errorf("docs/protocol.md lacks the %s\n%s", name, want)
		}
	}
}
