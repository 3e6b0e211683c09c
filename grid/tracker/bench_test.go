package tracker

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/key"
)

var crowd = 100_000

// crowdPair is the key of the n-th of many workers.
func crowdPair(n int) key.Pair {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(n)+1)
	return key.FromSeed(seed)
}

// crowdOffer is an ordinary offer: three of 500 models, with facts. One model in
// three is the same everywhere.
func crowdOffer(t testing.TB, n int, at time.Time) *announce.Signed {
	t.Helper()
	models := []string{"llama3.1:8b", fmt.Sprintf("model-%d:7b", n%500), fmt.Sprintf("model-%d:7b", (n+250)%500)}
	o := announce.Offer{
		ID: crowdPair(n).ID(), URL: fmt.Sprintf("http://%s:17474", crowdAddr(n)), Label: fmt.Sprintf("box %d", n), Models: models,
		Tier: grid.Batch, TTL: time.Hour, AnnouncedAt: at, Concurrency: 4, Running: n % 5,
	}
	for _, m := range models {
		o.ModelFacts = append(o.ModelFacts, grid.Model{
			ID: m, Digest: "sha256:" + strings.Repeat("5f", 32), ContextLength: 8192, Capabilities: []string{"completion", "tools"},
		})
	}
	s, err := announce.Sign(crowdPair(n), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// crowdAddr is where the n-th comes from: each from a network of its own.
func crowdAddr(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(1 + n>>16), byte(n >> 8), byte(n), 7})
}

// request is a POST whose body is read again each time.
func crowdRequest(n int, path string, body []byte) *http.Request {
	r := httptest.NewRequest("POST", path, bytes.NewReader(body))
	r.RemoteAddr = crowdAddr(n).String() + ":9999"
	return r
}

// sink takes an answer and keeps its status.
type sink struct {
	header http.Header
	status int
	bytes  int
}

func (s *sink) Header() http.Header { return s.header }

func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

func (s *sink) WriteHeader(n int) { s.status = n }
func (s *sink) Write(b []byte) (int, error) {
	s.bytes += len(b)
	return len(b), nil
}

// serve returns the status of an answer.
func serve(h http.Handler, r *http.Request) int {
	s := &sink{header: http.Header{}, status: 200}
	h.ServeHTTP(s, r)
	return s.status
}

// fill lists a whole crowd, through the handler, a thousand a second.
func fill(b *testing.B, tracker *Tracker, c *clock) {
	b.Helper()
	at := c.now()
	var next atomic.Int64
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= crowd {
					return
				}
				c.pass(time.Millisecond)
				if got := serve(tracker, crowdRequest(n, "/announce", crowdOffer(b, n, at).Envelope())); got != 200 {
					b.Errorf("announcement %d: status %d", n, got)
					return
				}
			}
		})
	}
	all.Wait()
}

// fullTracker makes a tracker that lists a crowd, as it is configured by default.
func fullTracker(b *testing.B) (*Tracker, *clock) {
	b.Helper()
	debug.SetMemoryLimit(MemoryLimit) // as the program does
	c := newClock()
	tracker := New(Config{Store: NewMemory(c.now), Now: c.now})
	fill(b, tracker, c)
	if got := tracker.index.live(); got != crowd {
		b.Fatalf("%d are listed; want %d", got, crowd)
	}
	return tracker, c
}

func percentile(all []time.Duration, p float64) time.Duration {
	slices.Sort(all)
	return all[int(float64(len(all)-1)*p)]
}

// BenchmarkFind asks 100,000 peers for a model while others announce: one that
// all serve, and one of which there are 400. An iteration is a round of 500
// questions with a whole garbage collection beside them. Reported are the medians
// of rounds, and of p99 also the best round: what the machine does besides makes
// rounds slower, never faster. work-µs is the processors' work for a question,
// renewals and collection left out.
func BenchmarkFind(b *testing.B) {
	tracker, c := fullTracker(b)
	asked := 0
	for _, target := range []string{"/peers?model=llama3.1:8b", "/peers?model=model-7:7b", "/peers?model=model-7:7b&capability=tools", "/peers?q=box+4711", "/search?q=model:model-49"} {
		b.Run(target, func(b *testing.B) {
			stop := make(chan struct{})
			var beside sync.WaitGroup
			beside.Go(func() { renew(b, tracker, c, stop) })
			var half, high []time.Duration
			for b.Loop() {
				beside.Go(runtime.GC)
				took := askMany(b, tracker, target, &asked)
				half, high = append(half, percentile(took, 0.5)), append(high, percentile(took, 0.99))
			}
			close(stop)
			beside.Wait()
			began := cpuSeconds(b)
			alone := len(askMany(b, tracker, target, &asked))
			b.ReportMetric((cpuSeconds(b)-began)*1e6/float64(alone), "work-µs")
			b.ReportMetric(float64(percentile(half, 0.5).Microseconds()), "p50-µs")
			b.ReportMetric(float64(percentile(high, 0.5).Microseconds()), "p99-µs")
			b.ReportMetric(float64(slices.Min(high).Microseconds()), "best-p99-µs")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// askMany asks the same from many networks and tells how long each answer took.
// asked counts on, so that no network asks so often that it is refused.
func askMany(b *testing.B, tracker *Tracker, target string, asked *int) []time.Duration {
	b.Helper()
	took := make([]time.Duration, 500)
	for n := range took {
		r := httptest.NewRequest("GET", target, nil)
		r.RemoteAddr = crowdAddr(*asked*211%crowd).String() + ":9999"
		*asked++
		began := time.Now()
		if got := serve(tracker, r); got != 200 {
			b.Fatalf("status %d", got)
		}
		took[n] = time.Since(began)
	}
	return took
}

// renew announces at the pace of 100,000 peers with the original's TTL of 300 s.
func renew(b *testing.B, tracker *Tracker, c *clock, stop <-chan struct{}) {
	tick := time.NewTicker(150 * time.Second / time.Duration(crowd))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-tick.C:
			c.pass(1500 * time.Microsecond)
			if got := serve(tracker, crowdRequest(n%crowd, "/announce", crowdOffer(b, n%crowd, c.now()).Envelope())); got != 200 {
				b.Errorf("renewal: status %d", got)
				return
			}
		}
	}
}

// BenchmarkMemory tells what 100,000 peers take: the live heap, and what the
// process holds of the system while they renew.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		tracker, c := fullTracker(b)
		c.pass(time.Minute)
		fill(b, tracker, c) // everyone renews once
		resident := residentBytes(b)
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MiB")
		b.ReportMetric(float64(resident)/(1<<20), "resident-MiB")
		runtime.KeepAlive(tracker)
	}
}

// residentBytes is what Linux counts as resident; elsewhere what Go obtained.
func residentBytes(b *testing.B) uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.Sys
	}
	pages, err := strconv.ParseUint(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * uint64(os.Getpagesize())
}

// An announced is a request, and what its signature takes to be checked alone.
type announced struct {
	request            *http.Request
	answer             *sink // which net/http would make, too
	public             ed25519.PublicKey
	message, signature []byte
}

// crowdAnnounces lets n workers of the crowd announce, from the first-th on.
func crowdAnnounces(b *testing.B, first, n int, at time.Time) []announced {
	all := make([]announced, n)
	for i := range all {
		who := (first + i) % crowd
		s := crowdOffer(b, who, at)
		message := bytes.TrimPrefix(s.Envelope(), []byte(`{"announcement":`))
		message = message[:len(message)-len(`,"signature":""}`)-128]
		answer := &sink{header: http.Header{}, status: 200}
		all[i] = announced{crowdRequest(who, "/announce", s.Envelope()), answer, s.ID[:], message, crowdPair(who).Sign(message)}
	}
	return all
}

// BenchmarkAnnounce compares announcing to a full tracker with checking the
// signatures alone, by the processors' work, turn by turn in one run, since the
// machine may be busy; the best of all turns counts on both sides. The garbage
// collector rests meanwhile. What it would take is told apart and counts as
// announcing: a whole collection is measured before each turn, and is due
// whenever the memory that is left for garbage is used up.
func BenchmarkAnnounce(b *testing.B) {
	tracker, c := fullTracker(b)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	const batch = 1000
	check, say, collect := math.Inf(1), math.Inf(1), math.Inf(1)
	var garbage, due float64 // bytes of an announcement, and until a collection
	for n := 0; b.Loop(); n += batch {
		c.pass(batch * time.Millisecond) // a thousand a second
		all := crowdAnnounces(b, n, batch, c.now())
		runtime.GC()
		collect = min(collect, worked(b, runtime.GC))
		check = min(check, worked(b, func() {
			for _, a := range all {
				if !ed25519.Verify(a.public, a.message, a.signature) {
					b.Fatal("bad signature")
				}
			}
		}))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		say = min(say, worked(b, func() {
			for _, a := range all {
				if tracker.ServeHTTP(a.answer, a.request); a.answer.status != 200 {
					b.Fatalf("status %d", a.answer.status)
				}
			}
		}))
		runtime.ReadMemStats(&after)
		garbage = float64(after.TotalAlloc-before.TotalAlloc) / batch
		due = min(float64(before.HeapAlloc), float64(MemoryLimit)-float64(before.HeapAlloc+before.Sys-before.HeapSys))
	}
	collecting := collect * garbage / due
	say = say/batch + collecting
	check /= batch
	b.ReportMetric(check*1e6, "check-µs")
	b.ReportMetric(say*1e6, "announce-µs")
	b.ReportMetric(collecting*1e6, "of-it-collecting-µs")
	b.ReportMetric(100*check/say, "%-of-bare")
	b.ReportMetric(garbage, "garbage-B")
	b.ReportMetric(0, "ns/op")
}

// worked is how many seconds the processors worked for f.
func worked(b *testing.B, f func()) float64 {
	b.Helper()
	began := cpuSeconds(b)
	f()
	return cpuSeconds(b) - began
}

// BenchmarkSnapshot writes and reads what 100,000 peers announced.
func BenchmarkSnapshot(b *testing.B) {
	c := newClock()
	path := filepath.Join(b.TempDir(), "snapshot")
	file, err := OpenFile(path, c.now)
	if err != nil {
		b.Fatal(err)
	}
	fill(b, New(Config{Store: file, Now: c.now}), c)
	for b.Loop() {
		file.saved = 0
		began := time.Now()
		if err := file.Save(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s-to-save")
		began = time.Now()
		again, err := OpenFile(path, c.now)
		if err != nil {
			b.Fatal(err)
		}
		tracker := New(Config{Store: again, Now: c.now})
		for r := range again.Watch(b.Context()) {
			if r.ID.IsZero() {
				break
			}
			tracker.take(r)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s-to-load-on-one-core")
		if got := tracker.index.live(); got != crowd {
			b.Fatalf("%d are listed; want %d", got, crowd)
		}
	}
}
