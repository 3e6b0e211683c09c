//go:build unix

package router

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/receipt"
)

// The benchmarks compare the router with the least that a proxy can do:
// httputil.ReverseProxy, the body read first, in the same process, over real
// sockets, with the same upstream and the same load. The figure to look at is
// cpu-µs/op, less that of "direct": user and system time of the whole process,
// client and upstream included.
//
//	go test -bench Proxy -run ^$ ./grid/router

const benchChunks = 100

var benchStream = strings.Repeat("data: "+chunk1+"\n\n", benchChunks-1) + data(chunk2, "[DONE]")

// benchUpstream answers at once: a whole answer, or a stream of 100 chunks, each
// flushed.
func benchUpstream(b *testing.B, pair key.Pair, receipts bool) *httptest.Server {
	capacity := fmt.Sprintf(`{"pubkey":%q,"models":["m"],"tier":"interactive","concurrency":64,"queueDepth":0}`, pair.ID())
	var once sync.Once
	var signed string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/capacity" {
			io.WriteString(w, capacity)
			return
		}
		body, _ := io.ReadAll(r.Body)
		if !bytes.Contains(body, []byte(`"stream":true`)) {
			w.Header().Set("Content-Type", "application/json")
			if receipts {
				once.Do(func() {
					f := &fakeWorker{pair: pair}
					signed = f.receiptFor(r, body, receipt.HashBody([]byte(wholeAnswer)), func(s *receipt.Receipt) {
						s.Requester, s.RequestSignature = key.FromSeed([32]byte{9}).ID().String(), ""
					}).Text()
				})
				w.Header().Set(receipt.Header, signed)
			}
			io.WriteString(w, wholeAnswer)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		flusher := w.(http.Flusher)
		for event := range strings.SplitAfterSeq(benchStream, "\n\n") {
			io.WriteString(w, event)
			flusher.Flush()
		}
	}))
	b.Cleanup(server.Close)
	return server
}

func benchFloor(b *testing.B, upstream *url.URL) *httptest.Server {
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		FlushInterval: -1,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}))
	b.Cleanup(server.Close)
	return server
}

func benchRouter(b *testing.B, peer grid.Peer, configure func(*Config)) *httptest.Server {
	config := Config{
		Identity: key.FromSeed([32]byte{9}), Peers: &peerList{list: []grid.Peer{peer}}, Unsigned: true,
		RoundTripper: func(grid.Peer) http.RoundTripper {
			return &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
		},
	}
	configure(&config)
	rt, err := New(config)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); rt.Run(ctx) }()
	server := httptest.NewServer(rt)
	b.Cleanup(func() { server.Close(); cancel(); <-done })
	return server
}

// countingLedger keeps nothing, so that what is measured is the router.
type countingLedger struct{ fakeLedger }

func (*countingLedger) Append(context.Context, *receipt.Signed) error { return nil }

func BenchmarkProxy(b *testing.B) {
	pair := key.FromSeed([32]byte{1})
	for _, load := range []struct{ name, body string }{{"request", askWhole}, {"stream", askStream}} {
		upstream := benchUpstream(b, pair, true)
		target, err := url.Parse(upstream.URL)
		if err != nil {
			b.Fatal(err)
		}
		peer := grid.Peer{ID: pair.ID(), URL: upstream.URL}
		for _, way := range []struct {
			name string
			url  string
		}{
			{"direct", upstream.URL},
			{"floor", benchFloor(b, target).URL},
			{"router", benchRouter(b, peer, func(*Config) {}).URL},
			{"signed", benchRouter(b, peer, func(c *Config) { c.Unsigned = false }).URL},
			{"receipts", benchRouter(b, peer, func(c *Config) { c.Unsigned = false; c.Ledger = &countingLedger{} }).URL},
		} {
			b.Run(load.name+"/"+way.name, func(b *testing.B) { benchLoad(b, way.url, load.body) })
		}
	}
}

func benchLoad(b *testing.B, url, body string) {
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	ask := func() {
		response, err := client.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			b.Error(err)
			return
		}
		got, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != 200 || !bytes.HasSuffix(got, []byte("[DONE]\n\n")) && body == askStream {
			b.Errorf("status %d, %v, %.100s", response.StatusCode, err, got)
		}
	}
	ask()
	b.ReportAllocs()
	before := cpuTime(b)
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ask()
		}
	})
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
