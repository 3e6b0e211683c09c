package router

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid"
	"lobstah/internal/memnet"
	"lobstah/key"
	"lobstah/receipt"
)

// fakeWorker speaks a worker's side of the wire over a network in memory.
type fakeWorker struct {
	pair     key.Pair
	peer     grid.Peer
	listener *memnet.Listener
	way      *http.Transport

	mu       sync.Mutex
	capacity grid.Capacity // guarded by mu, as is what follows
	said     string        // instead of the capacity
	closed   bool          // tells its capacity to others only
	stuck    bool          // tells no capacity at all
	answer   func(w http.ResponseWriter, r *http.Request, body []byte)
	receipts func(w http.ResponseWriter, r *http.Request)

	asked int         // guarded by mu; requests for answers
	polls int         // guarded by mu
	dark  bool        // guarded by mu; dials fail
	last  http.Header // guarded by mu; of the latest request
}

func (f *fakeWorker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	capacity, said, stuck, closed, answer, receipts := f.capacity, f.said, f.stuck, f.closed, f.answer, f.receipts
	f.mu.Unlock()
	switch r.URL.Path {
	case "/capacity":
		f.mu.Lock()
		f.polls++
		f.mu.Unlock()
		if stuck {
			<-r.Context().Done()
			return
		}
		if closed {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"error":{"message":"ask my owner","type":"permission_error"}}`)
			return
		}
		if said != "" {
			io.WriteString(w, said)
			return
		}
		json.NewEncoder(w).Encode(capacity)
		return
	case "/receipts":
		receipts(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	f.asked++
	f.last = r.Header
	f.mu.Unlock()
	answer(w, r, body)
}

// change alters the worker while it serves.
func (f *fakeWorker) change(alter func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	alter()
}

// answers sets how the worker answers, without its receipts.
func (f *fakeWorker) answers(answer func(w http.ResponseWriter, r *http.Request, streams bool)) {
	f.change(func() {
		f.answer = func(w http.ResponseWriter, r *http.Request, body []byte) {
			answer(w, r, bytes.Contains(body, []byte(`"stream":true`)))
		}
	})
}

func (f *fakeWorker) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func (f *fakeWorker) header() http.Header {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

func (f *fakeWorker) setDark(dark bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dark = dark
}

func (f *fakeWorker) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	f.mu.Lock()
	dark := f.dark
	f.mu.Unlock()
	if dark {
		return nil, errors.New("connection refused")
	}
	return f.listener.DialContext(ctx, network, addr)
}

// world is a router with its workers and a client, all in one bubble of
// virtual time.
type world struct {
	t       *testing.T
	rt      *Router
	pair    key.Pair
	workers []*fakeWorker
	ledger  *fakeLedger
	client  *http.Client
	log     *lockedBuffer
	peers   *peerList
}

type peerList struct {
	mu   sync.Mutex
	list []grid.Peer
}

func (p *peerList) List() []grid.Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.list
}

func (p *peerList) set(list []grid.Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = list
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fakeLedger keeps receipts in memory, each nonce once, as a real one does.
type fakeLedger struct {
	mu   sync.Mutex
	list []*receipt.Signed
	fail error
	slow func()
}

func (l *fakeLedger) Append(_ context.Context, s *receipt.Signed) error {
	if l.slow != nil {
		l.slow()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	if slices.ContainsFunc(l.list, func(o *receipt.Signed) bool { return o.Nonce == s.Nonce }) {
		return ErrKnown
	}
	l.list = append(l.list, s)
	return nil
}

func (l *fakeLedger) Bound(_ context.Context, id key.ID) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.list, func(o *receipt.Signed) bool { return o.Worker == id && o.Bound() }), nil
}

func (l *fakeLedger) Balances(context.Context) (Balances, error) {
	return Balances{Allowance: 10000, Self: Balance{Allowance: 10000, Available: 10000}}, nil
}

func (l *fakeLedger) Recent(_ context.Context, limit int) ([]*receipt.Signed, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := slices.Clone(l.list)
	slices.Reverse(list)
	return list[:min(limit, len(list))], len(list), nil
}

func (l *fakeLedger) kept() []*receipt.Signed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// inWorld runs a test with n workers in virtual time. The workers have the model
// "m" and answer as the original does, until the test says otherwise.
func inWorld(t *testing.T, n int, configure func(*Config), test func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, pair: key.FromSeed([32]byte{99}), ledger: &fakeLedger{}, log: &lockedBuffer{}, peers: &peerList{}}
		for i := range n {
			w.addWorker(byte(i + 1))
		}
		config := Config{
			Identity: w.pair, Peers: w.peers, Ledger: w.ledger,
			RoundTripper: w.way,
			Logger:       slog.New(slog.NewTextHandler(w.log, nil)),
		}
		if configure != nil {
			configure(&config)
		}
		var err error
		if w.rt, err = New(config); err != nil {
			t.Fatal(err)
		}
		listener := memnet.Listen("router")
		server := &http.Server{Handler: w.rt}
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		transport := &http.Transport{DialContext: listener.DialContext}
		w.client = &http.Client{Transport: transport}
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() { defer close(ran); w.rt.Run(ctx) }()
		synctest.Wait() // the first polls are through

		test(t, w)

		transport.CloseIdleConnections()
		server.Close()
		<-served
		cancel()
		<-ran
		for _, f := range w.workers {
			f.way.CloseIdleConnections()
		}
		time.Sleep(time.Second) // net/http lingers on connections that it cut; virtual
	})
}

func (w *world) addWorker(seed byte) *fakeWorker {
	pair := key.FromSeed([32]byte{seed})
	return w.add(pair, grid.Peer{ID: pair.ID(), URL: fmt.Sprintf("http://192.0.2.%d:17474", seed), Label: fmt.Sprintf("w%d", seed)})
}

func (w *world) add(pair key.Pair, entry grid.Peer) *fakeWorker {
	f := &fakeWorker{pair: pair, peer: entry, listener: memnet.Listen("worker")}
	f.capacity = grid.Capacity{Pubkey: f.pair.ID(), Models: []string{"m"}, Concurrency: 1, Tier: grid.BestEffort}
	f.answer = f.good
	f.receipts = func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, `{"receipts":[],"next":0}`) }
	f.way = &http.Transport{DialContext: f.dial, DisableCompression: true}
	server := &http.Server{Handler: f}
	served := make(chan struct{})
	go func() { defer close(served); server.Serve(f.listener) }()
	w.t.Cleanup(func() { server.Close(); <-served })
	w.workers = append(w.workers, f)
	w.peers.set(append(slices.Clone(w.peers.List()), f.peer))
	return f
}

func (w *world) way(p grid.Peer) http.RoundTripper {
	for _, f := range w.workers {
		if f.peer.ID == p.ID {
			return f.way
		}
	}
	return http.DefaultTransport
}

const (
	wholeAnswer = `{"id":"c1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Grüße 🦞"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}`
	chunk1      = `{"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Grüße"},"finish_reason":null}]}`
	chunk2      = `{"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":" 🦞"},"finish_reason":"stop"}]}`
	chunk3      = `{"id":"c1","object":"chat.completion.chunk","model":"m","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}`
)

func data(payloads ...string) string {
	var b strings.Builder
	for _, p := range payloads {
		b.WriteString("data: " + p + "\n\n")
	}
	return b.String()
}

var goodStream = data(chunk1, chunk2, chunk3, "[DONE]")

// good answers well, with bound receipts.
func (f *fakeWorker) good(w http.ResponseWriter, r *http.Request, body []byte) {
	if !bytes.Contains(body, []byte(`"stream":true`)) {
		s := f.receiptFor(r, body, receipt.HashBody([]byte(wholeAnswer)))
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set(receipt.Header, s.Text())
		io.WriteString(w, wholeAnswer)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(w, data(chunk1))
	w.(http.Flusher).Flush()
	io.WriteString(w, data(chunk2, chunk3))
	s := f.receiptFor(r, body, streamHash(chunk1, chunk2, chunk3))
	io.WriteString(w, receipt.CommentPrefix+s.Text()+"\n\n"+data("[DONE]"))
}

func streamHash(payloads ...string) string {
	var h receipt.StreamHash
	for _, p := range payloads {
		h.Data([]byte(p))
	}
	return h.Hex()
}

// receiptFor signs a truthful receipt; edit changes it before.
func (f *fakeWorker) receiptFor(r *http.Request, body []byte, responseHash string, edit ...func(*receipt.Receipt)) *receipt.Signed {
	var asked struct{ Model string }
	json.Unmarshal(body, &asked)
	s := receipt.Receipt{
		JobID: receipt.NewJobID(), Nonce: receipt.NewNonce(), Requester: r.Header.Get(receipt.RequesterHeader), Worker: f.pair.ID(),
		Model: asked.Model, InputTokens: 7, OutputTokens: 2, StartedAt: time.Now(), CompletedAt: time.Now(),
		RequestHash: receipt.HashBody(body), RequestPath: r.URL.Path, RequestSignature: r.Header.Get(receipt.SignatureHeader),
		ResponseHash: responseHash, TokenSource: receipt.FromEngine,
	}
	for _, e := range edit {
		e(&s)
	}
	pair := f.pair
	if s.Worker != pair.ID() { // a test lets another key sign
		pair = key.FromSeed([32]byte{77})
		s.Worker = pair.ID()
	}
	signed, err := receipt.Sign(pair, s)
	if err != nil {
		panic(err)
	}
	return signed
}

const (
	askWhole  = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	askStream = `{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}`
)

type reply struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

func (w *world) post(path, body string, header ...string) reply {
	w.t.Helper()
	return w.do(w.t.Context(), http.MethodPost, path, body, header...)
}

func (w *world) chat(body string, header ...string) reply {
	w.t.Helper()
	return w.post("/v1/chat/completions", body, header...)
}

func (w *world) get(path string) reply {
	w.t.Helper()
	return w.do(w.t.Context(), http.MethodGet, path, "")
}

func (w *world) do(ctx context.Context, method, path, body string, header ...string) reply {
	w.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	response, err := w.client.Do(r)
	if err != nil {
		return reply{err: err}
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, string(all), err}
}

// message reads the error's text and its type.
func (r reply) message() (text, kind string) {
	var body struct {
		Error struct{ Message, Type string } `json:"error"`
	}
	json.Unmarshal([]byte(r.body), &body)
	return body.Error.Message, body.Error.Type
}
