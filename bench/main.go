// Command bench measures what the grid costs, beside a floor that does as little
// as a proxy can: net/http/httputil.ReverseProxy with the body read first; and what
// the mesh costs, beside plain HTTPS/2. All
// figures of one run are taken side by side, round after round, since machines
// are noisy; of each figure the best round counts, for the floor and for us.
//
//	go run ./bench                 everything
//	go run ./bench -quick          a tenth of the work, to see that it runs
//	go run ./bench -only ledger    one part: router, ledger, batch, mesh, start or lobster
//
// It starts itself again in other roles (upstream, floor, router …), so that CPU
// and memory belong to one part each; Linux's /proc tells them. Nothing imports
// it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// A plan says how much is measured.
type plan struct {
	rounds   int
	requests int // in a closed loop, each round
	streams  int // of 100 chunks, each round
	pairs    int // one at a time, floor and router in turns
	soak     int // requests, to see growth
	idle     int // streams that stay open
	appends  int // receipts, in groups
	history  int // receipts, for the balance
	lines    int // of a batch

	meshRounds int // of each way, of all that follows
	frames     int // of a busy stream; a tenth of them sparse
	calls      int // small requests
	mebibytes  int
}

var (
	full = plan{rounds: 4, requests: 6000, streams: 1500, pairs: 2000, soak: 100_000, idle: 1000, appends: 40_000, history: 1_000_000, lines: 10_000,
		meshRounds: 10, frames: 40_000, calls: 500, mebibytes: 256}
	small = plan{rounds: 2, requests: 1000, streams: 200, pairs: 300, soak: 5000, idle: 100, appends: 4000, history: 20_000, lines: 1000,
		meshRounds: 3, frames: 10_000, calls: 100, mebibytes: 64}
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	role := flag.String("role", "", "run as upstream, worker, floor, router, receipts, paced, batches, https, copier, meshserver, meshrelay, caller, together or links (bench itself uses it)")
	upstream := flag.String("upstream", "", "host:port of the upstream, for the roles")
	quick := flag.Bool("quick", false, "a tenth of the work")
	only := flag.String("only", "", "measure one part alone: router, ledger, batch, mesh, start or lobster")
	flag.Parse()
	var err error
	switch p := full; {
	case *role != "":
		err = serve(ctx, *role, *upstream)
	case *quick:
		err = measure(ctx, small, *only)
	default:
		err = measure(ctx, p, *only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, p plan, only string) error {
	parts := []struct {
		name string
		run  func(context.Context, plan) error
	}{{"router", measureRouter}, {"ledger", measureLedger}, {"batch", measureBatch}, {"mesh", measureMesh}, {"start", measureStart}, {"lobster", measureLobster}}
	for _, part := range parts {
		if only != "" && only != part.name {
			continue
		}
		if err := part.run(ctx, p); err != nil {
			return fmt.Errorf("measure the %s: %w", part.name, err)
		}
	}
	return nil
}
