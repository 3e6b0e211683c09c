package mesh_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/key"
	"lobstah/mesh/link"
)

// The ways that are measured, the reference first. All parties run in this one
// process, so CPU is that of caller, relay and server together.
var ways = []struct {
	name    string
	connect func(testing.TB, http.Handler) transport
}{{"https2", plain}, {"direct", direct}, {"relay", oneRelay}}

const frameBytes = 256 // of one streamed token with its JSON

// serveLoad answers /small, /tokens (flushed frames without end), /slow (one frame
// each millisecond) and /bulk (bytes without end).
func serveLoad(w http.ResponseWriter, r *http.Request) {
	flush := http.NewResponseController(w).Flush
	frame := bytes.Repeat([]byte("x"), frameBytes)
	switch r.URL.Path {
	case "/small":
		io.WriteString(w, "ok")
	case "/tokens":
		for {
			if _, err := w.Write(frame); err != nil || flush() != nil {
				return
			}
		}
	case "/slow":
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-r.Context().Done():
				return
			case now := <-tick.C:
				copy(frame, now.Format(time.RFC3339Nano)+"|")
				if _, err := w.Write(frame); err != nil || flush() != nil {
					return
				}
			}
		}
	case "/bulk":
		for chunk := make([]byte, 64<<10); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
}

func open(b *testing.B, tr transport, path string) io.ReadCloser {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), "GET", tr.url+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	response, err := tr.RoundTrip(r)
	if err != nil {
		b.Fatal(err)
	}
	return response.Body
}

// each runs a measurement over every way and reports the CPU time of one turn.
func each(b *testing.B, measure func(*testing.B, transport)) {
	for _, way := range ways {
		b.Run(way.name, func(b *testing.B) {
			tr := way.connect(b, http.HandlerFunc(serveLoad))
			if _, err := get(b, tr, tr.url+"/small"); err != nil {
				b.Fatal(err)
			}
			begin := cpuTime()
			measure(b, tr)
			b.ReportMetric(float64((cpuTime()-begin).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
		})
	}
}

func BenchmarkSmallRequest(b *testing.B) {
	each(b, func(b *testing.B, tr transport) {
		for b.Loop() {
			if _, err := get(b, tr, tr.url+"/small"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkTokenFrame is one flushed frame of a busy stream.
func BenchmarkTokenFrame(b *testing.B) {
	each(b, func(b *testing.B, tr transport) {
		body := open(b, tr, "/tokens")
		defer body.Close()
		frame := make([]byte, frameBytes)
		for b.Loop() {
			if _, err := io.ReadFull(body, frame); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkBulk(b *testing.B) {
	each(b, func(b *testing.B, tr transport) {
		body := open(b, tr, "/bulk")
		defer body.Close()
		chunk := make([]byte, 1<<20)
		b.SetBytes(int64(len(chunk)))
		for b.Loop() {
			if _, err := io.ReadFull(body, chunk); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkTokenBesideBulk is the latency of a frame each millisecond while one
// transfer on the same links takes all it can get.
func BenchmarkTokenBesideBulk(b *testing.B) {
	each(b, func(b *testing.B, tr transport) {
		bulk := open(b, tr, "/bulk")
		var reading sync.WaitGroup
		reading.Go(func() { io.Copy(io.Discard, bulk) })
		defer reading.Wait()
		defer bulk.Close()
		tokens := open(b, tr, "/slow")
		defer tokens.Close()
		var late []time.Duration
		frame := make([]byte, frameBytes)
		for b.Loop() {
			if _, err := io.ReadFull(tokens, frame); err != nil {
				b.Fatal(err)
			}
			stamp, _, _ := strings.Cut(string(frame), "|")
			sent, err := time.Parse(time.RFC3339Nano, stamp)
			if err != nil {
				b.Fatal(err)
			}
			late = append(late, time.Since(sent))
		}
		slices.Sort(late)
		b.ReportMetric(float64(late[len(late)/2].Microseconds())/1e3, "p50-ms")
		b.ReportMetric(float64(late[len(late)*95/100].Microseconds())/1e3, "p95-ms")
	})
}

// BenchmarkLinkMemory is what the accepting and the dialling end of a link hold
// together, 500 of them at a time.
func BenchmarkLinkMemory(b *testing.B) {
	const count = 500
	for b.Loop() {
		b.ReportMetric(linkMemory(b, count)/(1<<20), "MiB/500-links")
	}
}

func linkMemory(b *testing.B, count int) float64 {
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	keep := func(ctx context.Context, l *link.Link) { l.Run(ctx, func([]byte) error { return nil }) }
	identity := func(n byte) link.Identity {
		return link.Identity{Pair: pair(n), Epoch: 1, Secrets: []link.Secret{secret()}}
	}
	server := httptest.NewServer(&link.Acceptor{
		Context: ctx, Identity: func() link.Identity { return identity(1) }, Admit: func(key.ID) error { return nil }, Serve: keep, Log: slog.New(slog.DiscardHandler),
	})
	defer server.Close()
	defer running.Wait()
	defer cancel()
	before := held()
	for i := range count {
		// Each from a network of its own, as far as the acceptor can tell.
		local := &net.TCPAddr{IP: net.IPv4(127, 1, byte(i), byte(i>>8)+1)}
		dialer := &link.Dialer{Identity: identity(2), DialContext: (&net.Dialer{LocalAddr: local}).DialContext}
		l, err := dialer.Dial(ctx, "ws"+strings.TrimPrefix(server.URL, "http"), key.ID{})
		if err != nil {
			b.Fatal(err)
		}
		running.Go(func() { keep(ctx, l) })
		for l.RTT() == 0 { // both ends run
			time.Sleep(time.Millisecond)
		}
	}
	return held() - before
}

// held is the memory of heap and stacks after a collection.
func held() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse + m.StackInuse)
}
