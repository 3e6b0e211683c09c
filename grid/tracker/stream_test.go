package tracker_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lobstah/grid/announce"
	"lobstah/grid/tracker"
	"lobstah/key"
	"lobstah/openai"
)

// an event of a stream.
type event struct{ id, name, data string }

type events struct {
	scanner *openai.Scanner
	body    io.Closer
}

// follow reads a stream until the test ends.
func follow(t *testing.T, server *httptest.Server, path, last string) *events {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if kind := response.Header.Get("Content-Type"); response.StatusCode != 200 || kind != "text/event-stream" {
		t.Fatalf("%d %s", response.StatusCode, kind)
	}
	if origin := response.Header.Get("Access-Control-Allow-Origin"); origin != "*" {
		t.Errorf("pages from elsewhere may not read it: %q", origin)
	}
	return &events{openai.NewScanner(response.Body), response.Body}
}

// next skips comments.
func (e *events) next(t *testing.T) event {
	t.Helper()
	for {
		raw, err := e.scanner.Next()
		if err != nil {
			t.Fatalf("the stream ended: %v", err)
		}
		if raw.Data == nil {
			continue
		}
		found := event{data: string(raw.Data)}
		for line := range strings.Lines(string(raw.Raw)) {
			if name, ok := strings.CutPrefix(line, "event: "); ok {
				found.name = strings.TrimSpace(name)
			}
			if id, ok := strings.CutPrefix(line, "id: "); ok {
				found.id = strings.TrimSpace(id)
			}
		}
		return found
	}
}

func TestStream(t *testing.T) {
	tr := run(t, tracker.NewMemory(nil))
	server := httptest.NewServer(tr)
	t.Cleanup(server.Close)
	pairs := []key.Pair{key.Generate(), key.Generate()}
	at := time.Now().Add(-time.Minute)
	send(t, tr, "/announce", envelope(t, pairs[0], "first", at), 200)

	stream := follow(t, server, "/peers/stream", "")
	expect := func(name, part string) event {
		t.Helper()
		e := stream.next(t)
		if e.name != name || !strings.Contains(e.data, part) {
			t.Errorf("got %+v; want %s with %q", e, name, part)
		}
		return e
	}
	expect("peer", "first")
	expect("ready", "")
	send(t, tr, "/announce", envelope(t, pairs[1], "second", at), 200)
	last := expect("peer", "second")
	send(t, tr, "/announce", envelope(t, pairs[1], "second", at.Add(time.Second)), 200)
	expect("peer", "second") // renewed
	send(t, tr, "/unannounce", announce.Withdraw(pairs[0], at.Add(time.Second)).JSON(), 200)
	expect("gone", `{"pubkey":"`+pairs[0].ID().String()+`","reason":"withdrawn"}`)

	// Coming back, a reader hears what it missed, and nothing else.
	stream = follow(t, server, "/peers/stream", last.id)
	expect("peer", "second")
	expect("gone", "withdrawn")
	expect("ready", "")

	// After another run, or too long, it hears everything.
	stream = follow(t, server, "/peers/stream", "other.5")
	expect("reset", "")
	expect("peer", "second")
	expect("ready", "")
}

func TestStreamOfOneModel(t *testing.T) {
	tr := run(t, tracker.NewMemory(nil))
	server := httptest.NewServer(tr)
	t.Cleanup(server.Close)
	pair := key.Generate()
	at := time.Now().Add(-time.Minute)
	say := func(n time.Duration, models ...string) {
		t.Helper()
		s, err := announce.Sign(pair, announce.Offer{ID: pair.ID(), URL: "http://192.0.2.1", Models: models, TTL: time.Hour, AnnouncedAt: at.Add(n * time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		send(t, tr, "/announce", s.Envelope(), 200)
	}
	say(0, "other")
	stream := follow(t, server, "/peers/stream?model=wanted", "")
	if e := stream.next(t); e.name != "ready" {
		t.Fatalf("got %+v; want ready", e)
	}
	say(1, "other", "more")
	say(2, "wanted")
	if e := stream.next(t); e.name != "peer" || !strings.Contains(e.data, "wanted") {
		t.Errorf("got %+v; want the peer that serves it now", e)
	}
	say(3, "other")
	if e := stream.next(t); e.name != "gone" || !strings.Contains(e.data, `"changed"`) {
		t.Errorf("got %+v; want that it no longer does", e)
	}
}

// Slow readers are cut off; what they have not read takes no memory but the
// ring.
func TestSlowReader(t *testing.T) {
	tr := run(t, tracker.NewMemory(nil))
	reader := &stalled{header: http.Header{}, entered: make(chan struct{}), release: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		tr.ServeHTTP(reader, httptest.NewRequest("GET", "/peers/stream", nil))
	}()
	<-reader.entered // it waits in its first write
	pair := key.Generate()
	at := time.Now().Add(-time.Minute)
	tracker.Publish(tr, 5000) // more than the ring has
	send(t, tr, "/announce", envelope(t, pair, "last", at), 200)
	close(reader.release)
	<-done
	if got := reader.text.String(); !strings.HasSuffix(got, ": too slow; come back\n\n") {
		t.Errorf("the reader got %q; want to be told that it is cut off", got)
	}
}

// stalled is a reader that takes its first bytes only when it is released.
type stalled struct {
	header           http.Header
	text             strings.Builder
	entered, release chan struct{}
	begun            bool
}

func (s *stalled) Header() http.Header { return s.header }
func (s *stalled) WriteHeader(int)     {}
func (s *stalled) Flush()              {}
func (s *stalled) Write(b []byte) (int, error) {
	if !s.begun {
		s.begun = true
		close(s.entered)
		<-s.release
	}
	return s.text.Write(b)
}

func TestTooManyReaders(t *testing.T) {
	tr := tracker.New(tracker.Config{Store: tracker.NewMemory(nil), MaxStream: 16}) // one from each network
	ctx, cancel := context.WithCancel(t.Context())
	reader := &stalled{header: http.Header{}, entered: make(chan struct{}), release: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		tr.ServeHTTP(reader, httptest.NewRequestWithContext(ctx, "GET", "/peers/stream", nil))
	}()
	<-reader.entered
	w := httptest.NewRecorder()
	tr.ServeHTTP(w, httptest.NewRequest("GET", "/peers/stream", nil))
	if w.Code != 503 || w.Header().Get("Retry-After") != "60" {
		t.Errorf("the second reader: %d %s, Retry-After %q", w.Code, w.Body, w.Header().Get("Retry-After"))
	}
	close(reader.release)
	cancel()
	<-done
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
