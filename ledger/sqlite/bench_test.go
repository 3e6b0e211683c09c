package sqlite_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/ledger/ledgertest"
	"lobstah/ledger/sqlite"
	"lobstah/receipt"
)

// sign makes n bound receipts of pair for a few requesters, on every core.
func sign(b testing.TB, pair key.Pair, n int) []*receipt.Signed {
	b.Helper()
	var requesters []string
	for i := range 20 {
		seed := [32]byte{byte(i)}
		requesters = append(requesters, key.FromSeed(seed).ID().String())
	}
	list := make([]*receipt.Signed, n)
	var wg sync.WaitGroup
	cores := runtime.GOMAXPROCS(0)
	for core := range cores {
		wg.Go(func() {
			for i := core; i < n; i += cores {
				list[i] = ledgertest.Receipt(b, pair, requesters[i%len(requesters)], 7, 2, ledgertest.Bind)
			}
		})
	}
	wg.Wait()
	return list
}

func openBench(b *testing.B, pair key.Pair) *sqlite.Ledger {
	b.Helper()
	l, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "ledger.db"), pair)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	})
	return l
}

// appendAll appends with so many goroutines; each waits for its receipt to be
// durable before it takes the next.
func appendAll(b testing.TB, l *sqlite.Ledger, appenders int, list []*receipt.Signed) {
	b.Helper()
	var wg sync.WaitGroup
	for n := range appenders {
		wg.Go(func() {
			for i := n; i < len(list); i += appenders {
				if err := l.Append(b.Context(), ledger.Worker, list[i]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkAppend measures durable appends in groups. One operation is a
// receipt for each appender, many times over.
func BenchmarkAppend(b *testing.B) {
	for _, appenders := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("appenders=%d", appenders), func(b *testing.B) {
			pair := key.Generate()
			l := openBench(b, pair)
			each := 64 * appenders
			total := 0
			for b.Loop() {
				b.StopTimer()
				list := sign(b, pair, each)
				b.StartTimer()
				appendAll(b, l, appenders, list)
				total += each
			}
			b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "receipts/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// books are the filled ledgers that benchmarks share, by size; filling one
// with a million receipts takes about two minutes.
var books struct {
	sync.Mutex
	pair key.Pair
	open map[int]*sqlite.Ledger
	dir  string
}

func TestMain(m *testing.M) {
	code := runChild()
	if code < 0 {
		code = m.Run()
	}
	for _, l := range books.open {
		if err := l.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if books.dir != "" {
		if err := os.RemoveAll(books.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

func filled(b *testing.B, size int) *sqlite.Ledger {
	b.Helper()
	books.Lock()
	defer books.Unlock()
	if l := books.open[size]; l != nil {
		return l
	}
	if books.open == nil {
		var err error
		if books.dir, err = os.MkdirTemp("", "ledger"); err != nil {
			b.Fatal(err)
		}
		books.open, books.pair = make(map[int]*sqlite.Ledger), key.Generate()
	}
	l, err := sqlite.Open(context.Background(), filepath.Join(books.dir, fmt.Sprint(size)), books.pair)
	if err != nil {
		b.Fatal(err)
	}
	books.open[size] = l
	const chunk = 1 << 14
	for done := 0; done < size; done += chunk {
		appendAll(b, l, 1024, sign(b, books.pair, min(chunk, size-done)))
	}
	return l
}

// Sizes between which constant time and flat memory show.
var sizes = []int{1_000, 1_000_000}

func BenchmarkBalances(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("receipts=%d", size), func(b *testing.B) {
			l := filled(b, size)
			for b.Loop() {
				if _, err := l.Balances(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(residentMiB(b), "rss-MiB")
		})
	}
}

func BenchmarkAvailable(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("receipts=%d", size), func(b *testing.B) {
			l, peer := filled(b, size), key.FromSeed([32]byte{1}).ID()
			for b.Loop() {
				if n, err := l.Available(b.Context(), peer); err != nil || n == ledger.Allowance {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func BenchmarkRecent(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("receipts=%d", size), func(b *testing.B) {
			l := filled(b, size)
			for b.Loop() {
				if _, err := l.Recent(b.Context(), 20); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkListNothing looks for a peer that the ledger does not know and for
// a model that nobody asked for, the worst that a filter can do.
func BenchmarkListNothing(b *testing.B) {
	for name, f := range map[string]ledger.Filter{
		"model": {Model: "none"}, "peer": {Peer: key.Generate().ID().String()},
	} {
		b.Run(name, func(b *testing.B) {
			l := filled(b, sizes[1])
			for b.Loop() {
				if list, err := l.List(b.Context(), f); err != nil || len(list) > 0 {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}

func BenchmarkInclusion(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("receipts=%d", size), func(b *testing.B) {
			l := filled(b, size)
			for b.Loop() {
				if _, err := l.Inclusion(b.Context(), int64(size/3)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVerify checks everything; a million receipts take a minute or so.
func BenchmarkVerify(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("receipts=%d", size), func(b *testing.B) {
			l := filled(b, size)
			for b.Loop() {
				if report, err := l.Verify(b.Context()); err != nil || !report.OK() {
					b.Fatal(report.Faults, err)
				}
			}
			b.ReportMetric(residentMiB(b), "rss-MiB")
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("receipts=%d", size), func(b *testing.B) {
			filled(b, size)
			for b.Loop() {
				l, err := sqlite.Open(b.Context(), filepath.Join(books.dir, fmt.Sprint(size)), books.pair)
				if err != nil {
					b.Fatal(err)
				}
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAppendFilled is BenchmarkAppend on ledgers that hold much already;
// it comes last, since it makes them larger.
func BenchmarkAppendFilled(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("receipts=%d", size), func(b *testing.B) {
			l, total := filled(b, size), 0
			for b.Loop() {
				b.StopTimer()
				list := sign(b, books.pair, 4096)
				b.StartTimer()
				appendAll(b, l, 64, list)
				total += len(list)
			}
			b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "receipts/s")
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(residentMiB(b), "rss-MiB")
		})
	}
}

// residentMiB is the process's memory; SQLite's is not on Go's heap. It is 0
// where the system does not tell.
func residentMiB(b *testing.B) float64 {
	b.Helper()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	var kib float64
	fmt.Sscan(after, &kib)
	return kib / 1024
}
