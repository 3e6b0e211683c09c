package router

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

// canned answers every request with the same bytes.
type canned struct {
	contentType string
	body        []byte
	halves      bool // the body comes in two reads
}

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	var body io.Reader = bytes.NewReader(c.body)
	if c.halves {
		body = io.MultiReader(bytes.NewReader(c.body[:len(c.body)/2]), bytes.NewReader(c.body[len(c.body)/2:]))
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {c.contentType}}, Body: io.NopCloser(body), Request: r,
	}, nil
}

// routerTo makes a router with one peer that is known to have the model "m".
func routerTo(t testing.TB, way http.RoundTripper) *Router {
	pair := key.FromSeed([32]byte{1})
	entry := grid.Peer{ID: pair.ID(), URL: "http://192.0.2.1:17474"}
	rt, err := New(Config{
		Identity: key.FromSeed([32]byte{2}), Peers: &peerList{list: []grid.Peer{entry}}, Unsigned: true,
		RoundTripper: func(grid.Peer) http.RoundTripper { return way },
	})
	if err != nil {
		t.Fatal(err)
	}
	p := rt.roster.sync(rt.Peers.List()).peers[0]
	p.facts.Store(&facts{models: []grid.Model{{ID: "m"}}})
	close(p.polled)
	rt.roster.learn()
	return rt
}

// Whatever a worker streams, a client never sees a receipt, nor an end mark
// unless the answer came to its end.
func FuzzStream(f *testing.F) {
	for _, fault := range faults {
		if fault.answer == nil {
			continue
		}
		w := httptest.NewRecorder()
		func() {
			defer func() { recover() }() // faults cut their connection by a panic
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			ctx, cancel := newCancelled()
			defer cancel()
			fault.answer(w, r.WithContext(ctx), true)
		}()
		if w.Body.Len() < 1<<16 {
			f.Add(w.Body.Bytes(), false)
		}
	}
	f.Add([]byte(data(chunk1)+receipt.CommentPrefix+"AAAA\n"+data(chunk2)+receipt.CommentPrefix+"\r\n\r\n"+data("[DONE]")), true)
	f.Add([]byte(":lobstah-receipt:x\rdata: "+chunk2+"\r\rdata: [DONE]\r\r"), true)
	f.Fuzz(func(t *testing.T, stream []byte, halves bool) {
		rt := routerTo(t, canned{"text/event-stream", stream, halves})
		w := httptest.NewRecorder()
		rt.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "http://localhost/v1/chat/completions", strings.NewReader(askStream)))
		out := w.Body.String()
		meter, ends := openai.NewMeter(openai.Chat), 0
		events := openai.NewScanner(strings.NewReader(out))
		for {
			event, err := events.Next()
			if err != nil {
				break
			}
			if event.Done() {
				ends++
				continue
			}
			meter.Event(event.Data)
			for line := range lines(event.Raw) {
				if bytes.HasPrefix(line, []byte(receipt.CommentPrefix)) {
					t.Errorf("a receipt reached the client: %q", out)
				}
			}
		}
		if w.Code == http.StatusOK && ends > 0 && !meter.Ended() {
			t.Errorf("half an answer looks whole: %q", out)
		}
		if w.Code == http.StatusOK && ends == 0 && meter.Failure == nil {
			t.Errorf("a stream ends without [DONE] and without an error: %q", out)
		}
	})
}

// newCancelled returns a context that is done, for faults that wait for it.
func newCancelled() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx, cancel
}
