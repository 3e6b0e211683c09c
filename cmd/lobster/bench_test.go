package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The benchmarks run the program as users get it: `go test -bench . -benchtime 20x ./cmd/lobster`. Beside the times they report the most
// memory that a run had (on Linux), and how much longer it takes to start than the system's true. Figures of the original program, recorded
// on two shared cores: version 218 ms, where-sort-head 1890 ms and 180 MB, pick 1350 ms and 265 MB, groupBy 960 ms and 190 MB.

// measure runs a command again and again.
func measure(b *testing.B, dir, program string, args ...string) {
	b.Helper()
	peak := 0.0
	for b.Loop() {
		cmd := exec.CommandContext(b.Context(), program, args...)
		cmd.Dir, cmd.Env = dir, []string{"PATH=/usr/bin:/bin", "HOME=" + dir}
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		peak = max(peak, peakMemory(cmd.ProcessState))
	}
	b.ReportMetric(peak, "peak-MB")
}

func BenchmarkStart(b *testing.B) {
	needShell(b)
	program := executable(b, "lobster")
	dir := b.TempDir()
	b.Run("true", func(b *testing.B) { measure(b, dir, "/bin/true") })
	b.Run("version", func(b *testing.B) { measure(b, dir, program, "version") })
	b.Run("exec-true", func(b *testing.B) { measure(b, dir, program, "run", "--mode", "tool", "exec true") })
}

func BenchmarkPipelines(b *testing.B) {
	needShell(b)
	program := executable(b, "lobster")
	dir := b.TempDir()
	writeItemsFile(b, filepath.Join(dir, "items.json"), 100_000)
	for name, stages := range map[string]string{
		"head": "head --n 1", "where-sort-head": "where size>1000 | sort --key size --desc | head --n 10", "pick": "pick id,name",
		"groupBy": "groupBy --key status", "template": "template --text '{{id}} {{name | upper}}'", "jq": "jq '{id, size}'",
	} {
		b.Run(name, func(b *testing.B) {
			measure(b, dir, program, "run", "--mode", "tool", "exec --json cat items.json | "+stages)
		})
	}
	b.Run("twenty-million-lines", func(b *testing.B) { measure(b, dir, program, "exec seq 20000000 | where none=1") })
}

func BenchmarkForEach(b *testing.B) {
	needShell(b)
	program := executable(b, "lobster")
	for _, n := range []int{100, 10_000} {
		dir := b.TempDir()
		file := fmt.Sprintf("steps:\n  - id: list\n    pipeline: exec seq %d\n  - id: each\n    for_each: $list.json\n    steps:\n      - id: s\n        pipeline: template --text '{{.}}'\n        stdin: $item.json\n", n)
		if err := os.WriteFile(filepath.Join(dir, "f.lobster"), []byte(file), 0o644); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) { measure(b, dir, program, "run", "--mode", "tool", "f.lobster") })
	}
}

func writeItemsFile(b *testing.B, path string, n int) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for i := range n {
		separator := ","
		if i == 0 {
			separator = "["
		}
		fmt.Fprintf(w, `%s{"id":%d,"name":"item %d of the list","size":%d,"status":%q,"author":{"login":"user%d"},"note":"-"}`,
			separator, i, i, i*7919%100_003, []string{"open", "closed", "draft"}[i%3], i%50)
	}
	fmt.Fprint(w, "]")
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}
