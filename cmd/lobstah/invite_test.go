package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lobstah/internal/cli"
	"lobstah/internal/home"
)

// machineOf is a machine of its own, with nothing on it.
func machineOf(t *testing.T) (dir string, exec func(context.Context, ...string) (int, string, string)) {
	dir = filepath.Join(t.TempDir(), "home")
	return dir, func(ctx context.Context, args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := run(ctx, args, cli.IO{Out: &out, Err: &errs, Env: []string{"LOBSTAH_HOME=" + dir, "HOME=" + dir, "LOBSTAH_ENGINE_PORTS=1"}})
		return code, out.String(), errs.String()
	}
}

// From nothing to the first answer of the other machine, with one line typed on
// each beside up.
func TestFromNothingToTheFirstAnswer(t *testing.T) {
	t.Parallel()
	const limit = time.Minute
	annHome, ann := machineOf(t)
	_, ben := machineOf(t)
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	stopped := make(chan string, 1)
	upCtx, stop := context.WithCancel(ctx)
	go func() {
		_, out, errs := ann(upCtx, "up", "--port", "0", "--worker-port", "0", "--no-check")
		stopped <- out + errs
	}()
	defer func() { stop(); <-stopped; cancel() }()
	tick := time.NewTicker(pollInTests)
	defer tick.Stop()
	for {
		h, running, err := home.Home{Dir: annHome}.Holder()
		if err != nil {
			t.Fatal(err)
		}
		if running && h.Router != "" {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("up did not start: %s", <-stopped)
		}
	}
	code, line, errs := ann(ctx, "invite", "--address", "127.0.0.1")
	if code != cli.OK {
		t.Fatalf("invite: exit code %d: %s", code, errs)
	}
	code, out, errs := ben(ctx, strings.Fields(line)[1:]...)
	took := time.Since(start)
	if lines := strings.Split(strings.TrimSpace(out), "\n"); code != cli.OK || len(lines) != 3 || lines[2] == "" {
		t.Fatalf("join: exit code %d, %q: %s; want three lines, the answer last", code, out, errs)
	}
	if took > limit {
		t.Errorf("it took %s; want less than %s", took, limit)
	}
	t.Logf("from nothing to the first answer: %s", took.Round(time.Millisecond))
}
