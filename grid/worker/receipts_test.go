package worker

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/receipt"
)

func get(url string, sign ...func(*http.Request)) func(t *testing.T) response {
	return func(t *testing.T) response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range sign {
			f(r)
		}
		return do(t, r)
	}
}

// TestFetchReceipts pages through a requester's own receipts, and shows them to
// nobody else.
func TestFetchReceipts(t *testing.T) {
	t.Parallel()
	l := &fakeLedger{}
	w := newTestWorker(says(wholeChat, ""), l, func(c *Config) { c.Open = true })
	url := serve(t, remote(w, lan))
	var jobs []string
	for _, pair := range []key.Pair{peer, stranger1, peer} {
		got := do(t, post(t, url, chatPath, chatBody, signedBy(pair)))
		if got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		jobs = append(jobs, got.header.Get(grid.RequestIDHeader))
	}
	var page struct {
		Receipts []json.RawMessage
		Next     int64
	}
	got := get(url+"/receipts?since=0", signedBy(peer))(t)
	if err := json.Unmarshal([]byte(got.body), &page); err != nil || got.status != 200 {
		t.Fatalf("%d %s %v", got.status, got.body, err)
	}
	if len(page.Receipts) != 2 || page.Next != 3 {
		t.Fatalf("got %s; want the two of peer and next 3", got.body)
	}
	for i, want := range []string{jobs[0], jobs[2]} {
		s, err := receipt.Open(page.Receipts[i])
		if err != nil || s.JobID != want || s.Requester != peer.ID().String() {
			t.Errorf("receipt %d: %+v %v; want job %s", i, s, err, want)
		}
	}
	if got := get(url+"/receipts?since=3", signedBy(peer))(t); got.body != `{"next":3,"receipts":[]}` {
		t.Errorf("since 3: %s", got.body)
	}
	for name, tt := range map[string]struct {
		query  string
		sign   func(*http.Request)
		status int
	}{
		"unsigned":           {"", func(*http.Request) {}, 401},
		"for another worker": {"", signedAt(peer, stranger1.ID(), time.Now()), 401},
		"negative":           {"?since=-1", signedBy(peer), 400},
		"text":               {"?since=x", signedBy(peer), 400},
	} {
		if got := get(url+"/receipts"+tt.query, tt.sign)(t); got.status != tt.status {
			t.Errorf("%s: %d %s; want %d", name, got.status, got.body, tt.status)
		}
	}
}

func TestWithoutLedgerThereAreNoReceipts(t *testing.T) {
	t.Parallel()
	url := serve(t, newTestWorker(says(wholeChat, chatStream), nil, nil))
	if got := do(t, post(t, url, chatPath, chatBody)); got.status != 200 || got.header.Get(receipt.Header) != "" {
		t.Errorf("whole: %+v", got)
	}
	if got := do(t, post(t, url, chatPath, chatStreamBody)); got.body != sse(delta1, delta2, deltaStop, "[DONE]") {
		t.Errorf("stream: %s", got.body)
	}
	if got := get(url+"/receipts", signedBy(peer))(t); got.status != 404 {
		t.Errorf("receipts: %d %s", got.status, got.body)
	}
}

// The answer, its receipt and the log are tied by one id; the log has neither
// prompt nor key.
func TestRequestID(t *testing.T) {
	t.Parallel()
	log := &syncBuffer{}
	l := &fakeLedger{}
	w := newTestWorker(says(wholeChat, ""), l, func(c *Config) { c.Logger = log.logger() })
	url := serve(t, w)
	const secret = "tell nobody of this"
	r := post(t, url, chatPath, `{"model":"llama3.1:8b","messages":[{"role":"user","content":"`+secret+`"}]}`,
		signedBy(peer), header(grid.RequestIDHeader, "router-17"))
	signature := r.Header.Get(receipt.SignatureHeader)
	got := do(t, r)
	if err := w.Drain(t.Context()); err != nil { // the line is written
		t.Fatal(err)
	}
	id := got.header.Get(grid.RequestIDHeader)
	if s := l.receipts(); len(s) != 1 || s[0].JobID != id || id == "" {
		t.Errorf("id %q; receipts %+v", id, s)
	}
	text := log.String()
	for _, want := range []string{"request=" + id, "caller_request=router-17", "from=" + peer.ID().Short(), "label=friend", "model=llama3.1:8b", "status=200", "in=7", "out=2", "counted_by=engine", "finish=stop", "took=", "queued=", "first="} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %s: %s", want, text)
		}
	}
	for _, no := range []string{secret, peer.ID().String(), signature} {
		if strings.Contains(text, no) {
			t.Errorf("the log has %q: %s", no, text)
		}
	}
}
