package host

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-isatty"

	"lobstah/flow/value"
)

func isTerminal(f *os.File) bool { return f != nil && isatty.IsTerminal(f.Fd()) }

// terminal asks the person in front of it. Prompts may hold what others wrote, so they are shown without control characters.
type terminal struct {
	in     *os.File
	out    io.Writer
	limit  time.Duration // how long to wait for a line; 0 means for ever
	reader *bufio.Reader
}

// readLimit is LOBSTER_APPROVAL_INPUT_TIMEOUT_MS, or 0.
func readLimit(vars map[string]string) time.Duration {
	ms, err := strconv.ParseFloat(strings.TrimSpace(vars["LOBSTER_APPROVAL_INPUT_TIMEOUT_MS"]), 64)
	if err != nil || ms <= 0 || ms > 1<<31 {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}

func (t *terminal) ask(ctx context.Context, prompt string) (string, error) {
	if _, err := io.WriteString(t.out, value.Visible(prompt)); err != nil {
		return "", err
	}
	if t.reader == nil {
		t.reader = bufio.NewReader(io.LimitReader(t.in, 16<<20))
	}
	var timeout <-chan time.Time
	if t.limit > 0 {
		timer := time.NewTimer(t.limit)
		defer timer.Stop()
		timeout = timer.C
	}
	line := make(chan string, 1)
	go func() { // ends with the line, or with the process: reading a terminal cannot be cancelled
		s, err := t.reader.ReadString('\n')
		if err != nil && s == "" {
			s = "" // end of input is an empty answer
		}
		line <- strings.TrimRight(s, "\r\n")
	}()
	select {
	case s := <-line:
		return s, nil
	case <-timeout:
		return "", fmt.Errorf("Timed out waiting for input (%dms)", t.limit.Milliseconds())
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
