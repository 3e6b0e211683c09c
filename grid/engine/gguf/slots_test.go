package gguf

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"lobstah/internal/tinygguf"
)

// A client that leaves in the middle of a stream stops the answer and frees the slot,
// long before the answer would have filled the context.
func TestClientsThatLeaveFreeTheirSlot(t *testing.T) {
	t.Parallel()
	slow := with(tinygguf.Slow(), func(s *tinygguf.Spec) { s.Layers = 100 })
	url, h := serve(t, build(t, slow), Options{Slots: 1})
	ctx, leave := context.WithCancel(t.Context())
	body := `{"prompt":"The","ignore_eos":true,"stream":true}`
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if line, err := bufio.NewReader(response.Body).ReadString('\n'); !strings.HasPrefix(line, "data: ") {
		t.Fatalf("first line is %q (%v), want an event", line, err)
	}
	leave()
	s, err := h.slots.take(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.slots.put(s)
	if full := h.context / 2; len(s.tokens) > full {
		t.Errorf("the answer went on to %d tokens of %d, want it stopped soon", len(s.tokens), h.context)
	}
}

// countdown is a context that is done after its Err was asked so many times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestCancelStopsWithinAPrompt(t *testing.T) {
	t.Parallel()
	m := build(t, tinygguf.Random(1))
	prompt := m.tokens.encode(plain(strings.Repeat("the queue ", 100), true))
	s := newSession(m)
	ctx := &countdown{t.Context(), 3} // two layers for the first batch, one for the second
	if _, err := s.feed(ctx, prompt); err != context.Canceled {
		t.Fatalf("feed: %v, want context.Canceled", err)
	}
	if len(s.tokens) != prefillBatch {
		t.Errorf("the session has %d tokens, want the %d of the batch that was complete", len(s.tokens), prefillBatch)
	}
	got, err := s.feed(t.Context(), prompt[len(s.tokens):])
	if err != nil {
		t.Fatal(err)
	}
	want, err := newSession(m).feed(t.Context(), prompt)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Error("after a cancel the session goes on to other logits than one without")
	}
}

func TestFullQueueRefuses(t *testing.T) {
	t.Parallel()
	m := demo(t)
	h := NewHandler(m, Options{Slots: 1, Queue: 1})
	busy, err := h.slots.take(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !h.slots.wait(1) { // stands for a request that waits
		t.Fatal("the first request cannot wait")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/completions", strings.NewReader(`{"prompt":"x"}`)))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("answer is %d %s, want 503 with Retry-After", w.Code, w.Body)
	}
	h.slots.wait(-1)
	h.slots.put(busy)
	if _, err := h.slots.take(t.Context(), nil); err != nil {
		t.Errorf("a free slot: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := h.slots.take(ctx, nil); err != context.DeadlineExceeded {
		t.Errorf("waiting past the deadline: %v, want the context's error", err)
	}
}
