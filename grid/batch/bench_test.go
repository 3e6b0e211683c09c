package batch

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// BenchmarkCheck reads an input of the largest number of lines, of 1.5 kB each,
// and tells what stays in memory of it.
func BenchmarkCheck(b *testing.B) {
	path := filepath.Join(b.TempDir(), "input")
	var text strings.Builder
	for i := range 50_000 {
		text.WriteString(chatLine(fmt.Sprint("line-", i), "m", strings.Repeat("word ", 300)))
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(text.Len()))
	text.Reset()
	var held *index
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		index, faults, err := checkFile(path, "/v1/chat/completions", Limits{}.withDefaults())
		if err != nil || len(faults) > 0 {
			b.Fatal(faults, err)
		}
		held = index
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB-held")
	runtime.KeepAlive(held)
}
