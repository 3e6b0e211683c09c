package main

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"lobstah/internal/cli"
	"lobstah/internal/home"
)

// Who starts up for itself holds its standard input; when that ends, with its
// holder, so does up.
func TestUpEndsWithItsInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in, holder := io.Pipe()
	defer holder.Close()
	var out, errs bytes.Buffer
	streams := cli.IO{In: in, Out: &out, Err: &errs, Env: []string{"LOBSTAH_HOME=" + dir, "HOME=" + dir, "LOBSTAH_ENGINE_PORTS=1"}}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"up", "--port", "0", "--worker-port", "0", "--no-check", "--until-eof"}, streams)
	}()
	tick := time.NewTicker(pollInTests)
	defer tick.Stop()
	for serves := false; !serves; {
		select {
		case code := <-ended:
			t.Fatalf("up ended with %d while its input was open: %s%s", code, &out, &errs)
		case <-tick.C:
			h, running, err := home.Home{Dir: dir}.Holder()
			if err != nil {
				t.Fatal(err)
			}
			serves = running && h.Router != ""
		}
	}
	holder.Close()
	if code := <-ended; code != cli.OK || ctx.Err() != nil {
		t.Errorf("exit code %d (%v): %s", code, ctx.Err(), &errs)
	}
	if _, running, err := (home.Home{Dir: dir}).Holder(); running || err != nil {
		t.Errorf("it still runs (%t), or nobody knows (%v)", running, err)
	}
}
