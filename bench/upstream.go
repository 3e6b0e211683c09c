package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/receipt"
)

const chunks = 100

// The answers of the fake worker: what a small chat looks like on the wire.
var (
	wholeAnswer = `{"id":"chatcmpl-bench","object":"chat.completion","created":1790000000,"model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		strings.Repeat("word ", 60) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":60,"total_tokens":80}}`
	deltaEvent  = `{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1790000000,"model":"bench","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}`
	finishEvent = `{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1790000000,"model":"bench","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
)

// fakeWorker answers at once, like a worker whose engine takes no time. It
// signs receipts for signed requests. A body that says "idle" gets one event
// and then silence until its client leaves.
type fakeWorker struct{}

func (fakeWorker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/capacity":
		json.NewEncoder(w).Encode(grid.Capacity{
			Pubkey: workerPair.ID(), Models: []string{"bench"}, Tier: grid.Interactive, Concurrency: 4096, Signs: true, Now: time.Now().UnixMilli(),
		})
		return
	case "/receipts":
		io.WriteString(w, `{"receipts":[]}`)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	text := string(body)
	if !strings.Contains(text, `"stream":true`) {
		w.Header().Set("Content-Type", "application/json")
		if s := sign(r, body, receipt.HashBody([]byte(wholeAnswer))); s != nil {
			w.Header().Set(receipt.Header, s.Text())
		}
		io.WriteString(w, wholeAnswer)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	if strings.Contains(text, "idle") {
		fmt.Fprintf(w, "data: %s\n\n", deltaEvent)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return
	}
	stream(w, r, body)
}

// stream writes every event by itself, as engines do.
func stream(w http.ResponseWriter, r *http.Request, body []byte) {
	flush := http.NewResponseController(w).Flush
	for range chunks - 1 {
		io.WriteString(w, "data: "+deltaEvent+"\n\n")
		flush()
	}
	io.WriteString(w, "data: "+finishEvent+"\n\n")
	if s := sign(r, body, streamHash); s != nil {
		io.WriteString(w, receipt.CommentPrefix+s.Text()+"\n\n")
	}
	io.WriteString(w, "data: [DONE]\n\n")
	flush()
}

var streamHash = func() string {
	var h receipt.StreamHash
	for range chunks - 1 {
		h.Data([]byte(deltaEvent))
	}
	h.Data([]byte(finishEvent))
	return h.Hex()
}()

// sign makes the receipt of a signed request, nil for another.
func sign(r *http.Request, body []byte, responseHash string) *receipt.Signed {
	return signAs(workerPair, r, body, responseHash)
}

func signAs(worker key.Pair, r *http.Request, body []byte, responseHash string) *receipt.Signed {
	proof := r.Header.Get(receipt.SignatureHeader)
	requester, err := key.ParseID(r.Header.Get(receipt.RequesterHeader))
	if proof == "" || err != nil {
		return nil
	}
	sum := sha256.Sum256(body)
	now := time.Now()
	s, err := receipt.Sign(worker, receipt.Receipt{
		JobID: receipt.NewJobID(), Nonce: receipt.NewNonce(), Requester: requester.String(), Worker: worker.ID(), Model: "bench",
		InputTokens: 20, OutputTokens: 60, StartedAt: now, CompletedAt: now, RequestHash: hex.EncodeToString(sum[:]),
		RequestPath: r.URL.Path, RequestSignature: proof, ResponseHash: responseHash, FinishReason: "stop", TokenSource: receipt.FromEngine,
	})
	if err != nil {
		panic(err) // a mistake in bench itself
	}
	return s
}
