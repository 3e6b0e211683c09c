package worker

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/receipt"
)

// An answer that was lost on its way is given again, with the receipt of the
// first time, to who asked for the same under the same key; everything else is
// asked anew.
func TestLostAnswerIsGivenAgain(t *testing.T) {
	t.Parallel()
	friend := key.FromSeed([32]byte{9})
	e, l := says(wholeChat, chatStream), &fakeLedger{}
	url := serve(t, remote(newTestWorker(e, l, func(c *Config) {
		c.Open = true
		c.Admission = friends{labels: map[key.ID]string{peer.ID(): "a", friend.ID(): "b"}}
	}), lan))
	once := header(grid.IdempotencyHeader, "line-1")
	first := do(t, post(t, url, chatPath, chatBody, signedBy(peer), once))
	again := do(t, post(t, url, chatPath, chatBody, signedBy(peer), once))
	if first.status != 200 || first.header.Get(grid.RepeatedHeader) != "" || e.count() != 1 {
		t.Fatalf("the first time: %d, %v, asked %d times", first.status, first.header, e.count())
	}
	if again.status != 200 || again.body != first.body || again.header.Get(grid.RepeatedHeader) != "true" ||
		again.header.Get(receipt.Header) != first.header.Get(receipt.Header) || first.header.Get(receipt.Header) == "" || len(l.receipts()) != 1 {
		t.Errorf("again: %d %v %s; %d receipts", again.status, again.header, again.body, len(l.receipts()))
	}
	for name, r := range map[string]*http.Request{
		"another key":       post(t, url, chatPath, chatBody, signedBy(peer), header(grid.IdempotencyHeader, "line-2")),
		"no key":            post(t, url, chatPath, chatBody, signedBy(peer)),
		"other bytes":       post(t, url, chatPath, chatBody+" ", signedBy(peer), once),
		"another requester": post(t, url, chatPath, chatBody, signedBy(friend), once),
		"a stranger":        post(t, url, chatPath, chatBody, signedBy(stranger1), once),
		"a stranger again":  post(t, url, chatPath, chatBody, signedBy(stranger1), once),
		"a stream":          post(t, url, chatPath, chatStreamBody, signedBy(peer), once),
		"a stream again":    post(t, url, chatPath, chatStreamBody, signedBy(peer), once),
		"too long":          post(t, url, chatPath, chatBody, signedBy(peer), header(grid.IdempotencyHeader, strings.Repeat("x", 256))),
	} {
		before := e.count()
		if got := do(t, r); got.status != 200 || got.header.Get(grid.RepeatedHeader) != "" || e.count() != before+1 {
			t.Errorf("%s: %d, repeated %q, asked %d times more", name, got.status, got.header.Get(grid.RepeatedHeader), e.count()-before)
		}
	}
	if got := do(t, post(t, url, chatPath, chatBody, once)); got.header.Get(grid.RepeatedHeader) != "" {
		t.Error("an answer was given again to somebody who did not sign")
	}
}

func TestFailuresAreNotRepeated(t *testing.T) {
	t.Parallel()
	e, l := says(wholeChat, ""), &fakeLedger{}
	w := newTestWorker(e, l, nil)
	url := serve(t, remote(w, lan))
	once := header(grid.IdempotencyHeader, "line-1")
	l.mu.Lock()
	l.fail = errLeft
	l.mu.Unlock()
	do(t, post(t, url, chatPath, chatBody, signedBy(peer), once))
	w.repeats.mu.Lock()
	defer w.repeats.mu.Unlock()
	if n := len(w.repeats.entries); n != 0 {
		t.Errorf("%d answers are remembered whose receipts are not kept", n)
	}
}

func TestRepeatsAreBounded(t *testing.T) {
	t.Parallel()
	var r repeats
	now := time.Unix(1790000000, 0)
	for i := range 100 {
		r.keep(repeat{name: [32]byte{1, byte(i)}, at: now.Add(time.Duration(i) * time.Second), body: make([]byte, repeatEach)})
	}
	r.keep(repeat{name: [32]byte{2}, at: now.Add(100 * time.Second), body: make([]byte, repeatEach+1)})
	r.keep(repeat{at: now.Add(100 * time.Second)})
	if r.bytes > repeatRoom || len(r.entries) != r.order.Len() || len(r.entries) < repeatRoom/(repeatEach+receipt.MaxBytes)-1 {
		t.Errorf("%d bytes in %d entries; %d are the most", r.bytes, len(r.entries), repeatRoom)
	}
	if _, ok := r.find([32]byte{1, 99}, now.Add(99*time.Second)); !ok {
		t.Error("the newest is gone")
	}
	if _, ok := r.find([32]byte{1, 99}, now.Add(99*time.Second+repeatMemory)); ok || r.bytes != 0 {
		t.Errorf("what is old is kept: %d bytes", r.bytes)
	}
}
