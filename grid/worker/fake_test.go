package worker

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/key"
	"lobstah/receipt"
)

// workerPair, peer and stranger are the keys of these tests.
var (
	workerPair = key.FromSeed([32]byte{1})
	peer       = key.FromSeed([32]byte{2})
	stranger1  = key.FromSeed([32]byte{3})
)

const digest = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// fakeEngine answers with what do says.
type fakeEngine struct {
	models    []grid.Model
	modelsErr error
	do        func(ctx context.Context, call engine.Call) (*engine.Answer, error)

	mu    sync.Mutex
	calls []engine.Call
	polls int
}

func (*fakeEngine) Name() string { return "fake" }

func (e *fakeEngine) Models(context.Context) ([]grid.Model, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.polls++
	if e.modelsErr != nil {
		return nil, e.modelsErr
	}
	if e.models == nil {
		return []grid.Model{{ID: "llama3.1:8b", Digest: digest}, {ID: "qwen2.5:7b"}}, nil
	}
	return e.models, nil
}

func (e *fakeEngine) Do(ctx context.Context, call engine.Call) (*engine.Answer, error) {
	e.mu.Lock()
	e.calls = append(e.calls, call)
	do := e.do
	e.mu.Unlock()
	return do(ctx, call)
}

func (e *fakeEngine) lastCall(t testing.TB) engine.Call {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.calls) == 0 {
		t.Fatal("the engine was not called")
	}
	return e.calls[len(e.calls)-1]
}

func (e *fakeEngine) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.calls)
}

// says makes an engine that answers every call alike: streams with stream,
// others with whole.
func says(whole, stream string) *fakeEngine {
	return &fakeEngine{do: func(_ context.Context, call engine.Call) (*engine.Answer, error) {
		if bytes.Contains(call.Body, []byte(`"stream":true`)) {
			return answer("text/event-stream", strings.NewReader(stream)), nil
		}
		return answer("application/json", strings.NewReader(whole)), nil
	}}
}

func answer(contentType string, body io.Reader) *engine.Answer {
	return &engine.Answer{Status: 200, ContentType: contentType, Body: io.NopCloser(body)}
}

const (
	wholeChat  = `{"id":"c","model":"llama3.1:8b","choices":[{"index":0,"message":{"role":"assistant","content":"Grüße"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}`
	delta1     = `{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"Grüße"},"finish_reason":null}]}`
	delta2     = `{"id":"c","choices":[{"index":0,"delta":{"content":" 🦞"},"finish_reason":null}]}`
	deltaStop  = `{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
	usageEvent = `{"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}`
)

// sse writes data events.
func sse(payloads ...string) string {
	var b strings.Builder
	for _, p := range payloads {
		b.WriteString("data: " + p + "\n\n")
	}
	return b.String()
}

var chatStream = sse(delta1, delta2, deltaStop, usageEvent, "[DONE]")

// fakeLedger keeps receipts in memory; fail makes it refuse them.
type fakeLedger struct {
	mu       sync.Mutex
	list     []*receipt.Signed
	fail     error
	balances map[key.ID]int64 // available
	owed     map[key.ID]int64
}

func (l *fakeLedger) Record(ctx context.Context, s *receipt.Signed) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	l.list = append(l.list, s)
	return ctx.Err()
}

func (l *fakeLedger) Owed(_ context.Context, id key.ID) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.owed[id] + l.spent(id), nil
}

func (l *fakeLedger) Available(_ context.Context, id key.ID) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 10_000 + l.balances[id] - l.spent(id), nil
}

func (l *fakeLedger) spent(id key.ID) (sum int64) {
	for _, s := range l.list {
		if s.Requester == id.String() {
			sum += s.Total()
		}
	}
	return sum
}

func (l *fakeLedger) Since(_ context.Context, id key.ID, after int64, limit int) ([]*receipt.Signed, int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*receipt.Signed
	for i := after; i < int64(len(l.list)) && len(out) < limit; i++ {
		after = i + 1
		if l.list[i].Requester == id.String() {
			out = append(out, l.list[i])
		}
	}
	return out, after, nil
}

func (l *fakeLedger) receipts() []*receipt.Signed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*receipt.Signed(nil), l.list...)
}

func (l *fakeLedger) setFail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

// friends lets keys in, and addresses as legacy for a key.
type friends struct {
	labels map[key.ID]string
	legacy map[netip.Addr]key.ID
	models map[key.ID]string // the one model that a guest may use
}

func (f friends) Allowed(id key.ID) (string, bool) {
	label, ok := f.labels[id]
	return label, ok
}

func (f friends) MayUse(id key.ID, model grid.Model) bool {
	name, guest := f.models[id]
	return !guest || model.Serves(name)
}

func (f friends) Legacy(addr netip.Addr, id key.ID) bool { return f.legacy[addr] == id && !id.IsZero() }

// newTestWorker makes a worker that allows peer.
func newTestWorker(e engine.Engine, l Ledger, change func(*Config)) *Worker {
	c := Config{
		Identity: workerPair, Engine: e, Ledger: l,
		Admission: friends{labels: map[key.ID]string{peer.ID(): "friend"}},
		Logger:    slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&c)
	}
	return New(c)
}

// remote is a handler in front of which every client seems to come from addr.
func remote(h http.Handler, addr string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = addr
		h.ServeHTTP(w, r)
	})
}

func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// post makes a request; change may sign it.
func post(t testing.TB, url, path, body string, change ...func(*http.Request)) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for _, f := range change {
		f(r)
	}
	return r
}

// signedBy signs a request for the test's worker now.
func signedBy(p key.Pair) func(*http.Request) { return signedAt(p, workerPair.ID(), time.Now()) }

func signedAt(p key.Pair, worker key.ID, at time.Time) func(*http.Request) {
	return func(r *http.Request) {
		body := []byte{}
		if r.GetBody != nil {
			reader, _ := r.GetBody()
			body, _ = io.ReadAll(reader)
		}
		request := receipt.Request{Method: r.Method, Path: r.URL.Path, Worker: worker, Requester: p.ID(), BodyHash: hashOf(body)}
		r.Header.Set(receipt.RequesterHeader, p.ID().String())
		r.Header.Set(receipt.SignatureHeader, request.Sign(p, at).String())
	}
}

// signedOff signs by a clock that goes wrong by so much, when the request is made.
func signedOff(p key.Pair, by time.Duration) func(*http.Request) {
	return func(r *http.Request) { signedAt(p, workerPair.ID(), time.Now().Add(by))(r) }
}

type response struct {
	status int
	header http.Header
	body   string
}

func do(t testing.TB, r *http.Request) response {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("after %q: %v", body, err)
	}
	return response{resp.StatusCode, resp.Header, string(body)}
}

const (
	chatBody       = `{"model":"llama3.1:8b","messages":[{"role":"user","content":"hi"}]}`
	chatStreamBody = `{"model":"llama3.1:8b","messages":[{"role":"user","content":"hi"}],"stream":true}`
	chatPath       = "/v1/chat/completions"
)

// A syncBuffer is what a logger wrote.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *syncBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// throughHandler calls a handler without a network, from loopback.
func throughHandler(t testing.TB, h http.Handler, path string, body []byte, contentType, requester, signature string) response {
	t.Helper()
	r := httptest.NewRequest("POST", "http://127.0.0.1/", bytes.NewReader(body))
	r.URL.Path, r.RemoteAddr = path, "127.0.0.1:1"
	r.Header.Set("Content-Type", contentType)
	r.Header.Set(receipt.RequesterHeader, requester)
	r.Header.Set(receipt.SignatureHeader, signature)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return response{rec.Code, rec.Header(), rec.Body.String()}
}
