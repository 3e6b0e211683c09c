package cli

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// Lines of many goroutines stay whole, even where both streams are one buffer.
func TestSharedStreams(t *testing.T) {
	t.Parallel()
	const writers, lines = 8, 200
	var buffer bytes.Buffer
	streams := IO{Out: &buffer, Err: &buffer}.Shared()
	var wg sync.WaitGroup
	for n := range writers {
		out := streams.Out
		if n%2 == 1 {
			out = streams.Err
		}
		wg.Go(func() {
			for range lines {
				fmt.Fprintf(out, "%s\n", strings.Repeat(string(rune('a'+n)), 50))
			}
		})
	}
	wg.Wait()
	got := strings.Split(strings.TrimSuffix(buffer.String(), "\n"), "\n")
	if len(got) != writers*lines {
		t.Fatalf("got %d lines; want %d", len(got), writers*lines)
	}
	for _, line := range got {
		if line != strings.Repeat(line[:1], 50) {
			t.Fatalf("got a mixed line %q", line)
		}
	}
}

// A terminal must stay recognisable.
func TestSharedKeepsFiles(t *testing.T) {
	t.Parallel()
	streams := IO{Out: os.Stdout, Err: os.Stderr}.Shared()
	if streams.Out != os.Stdout || streams.Err != os.Stderr {
		t.Errorf("got %v and %v; want the files themselves", streams.Out, streams.Err)
	}
	var buffer bytes.Buffer
	once := IO{Out: &buffer, Err: &buffer}.Shared()
	if twice := once.Shared(); twice.Out != once.Out {
		t.Error("streams that were shared were wrapped again")
	}
}
