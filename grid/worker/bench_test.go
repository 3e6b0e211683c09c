package worker

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/key"
	"lobstah/receipt"
)

// sink is a ResponseWriter that costs nothing, so that a benchmark shows the
// worker's own work.
type sink struct {
	header http.Header
	status int
	size   int
}

func (s *sink) Header() http.Header              { return s.header }
func (s *sink) WriteHeader(status int)           { s.status = status }
func (s *sink) Write(p []byte) (int, error)      { s.size += len(p); return len(p), nil }
func (s *sink) Flush()                           {}
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
func (s *sink) SetReadDeadline(time.Time) error  { return nil }

// forgetful is a ledger that is as fast as can be.
type forgetful struct{}

func (forgetful) Record(context.Context, *receipt.Signed) error    { return nil }
func (forgetful) Owed(context.Context, key.ID) (int64, error)      { return 0, nil }
func (forgetful) Available(context.Context, key.ID) (int64, error) { return 10_000, nil }
func (forgetful) Since(context.Context, key.ID, int64, int) ([]*receipt.Signed, int64, error) {
	return nil, 0, nil
}

func BenchmarkWorker(b *testing.B) {
	stream := sse(delta1) + strings.Repeat(sse(delta2), 98) + sse(deltaStop, usageEvent, "[DONE]")
	for _, bb := range []struct {
		name   string
		body   string
		ledger Ledger
		signed bool
	}{
		{"whole/unsigned", chatBody, nil, false},
		{"whole/signed", chatBody, nil, true},
		{"whole/signed+receipt", chatBody, forgetful{}, true},
		{"stream100/unsigned", chatStreamBody, nil, false},
		{"stream100/signed+receipt", chatStreamBody, forgetful{}, true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			// One event for each read, so that each is flushed on its own.
			e := &fakeEngine{do: func(_ context.Context, call engine.Call) (*engine.Answer, error) {
				if bytes.Contains(call.Body, []byte(`"stream":true`)) {
					return answer("text/event-stream", &eventReader{rest: stream}), nil
				}
				return answer("application/json", strings.NewReader(wholeChat)), nil
			}}
			w := newTestWorker(e, bb.ledger, nil)
			request := func() *http.Request {
				r, _ := http.NewRequest("POST", "http://127.0.0.1"+chatPath, strings.NewReader(bb.body))
				r.RemoteAddr = "127.0.0.1:1"
				if bb.signed {
					signedBy(peer)(r)
				}
				return r
			}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer() // the requester's signature is not the worker's work
				r := request()
				b.StartTimer()
				s := &sink{header: http.Header{}}
				w.ServeHTTP(s, r)
				if s.status != 200 {
					b.Fatalf("status %d", s.status)
				}
			}
		})
	}
}

// eventReader gives one event for each read.
type eventReader struct{ rest string }

func (r *eventReader) Read(p []byte) (int, error) {
	if r.rest == "" {
		return 0, io.EOF
	}
	i := strings.Index(r.rest, "\n\n") + 2
	n := copy(p, r.rest[:i])
	r.rest = r.rest[n:]
	return n, nil
}

func BenchmarkNonces(b *testing.B) {
	n := newNonces()
	now := time.Unix(1_800_000_000, 0)
	id := peer.ID()
	for b.Loop() {
		p := receipt.Proof{Time: now, Nonce: receipt.NewNonce()}
		if n.add(id, p, now) == nonceFull {
			n = newNonces()
		}
	}
}

func BenchmarkQueue(b *testing.B) {
	q := newQueue(1, 64, grid.BestEffort)
	for b.Loop() {
		t, _, _ := q.enter("a", false, grid.Interactive)
		q.leave(t)
	}
}
