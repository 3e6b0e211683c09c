package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/ledger/sqlite"
	"lobstah/receipt"
)

// measureLedger measures durable appends by many at a time, and a balance over
// little and over much history.
func measureLedger(ctx context.Context, p plan) (err error) {
	folder, err := os.MkdirTemp("", "lobstah-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	kept, err := sqlite.Open(ctx, filepath.Join(folder, "ledger.db"), routerPair)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()

	rate, err := appendAll(ctx, kept, p.appends)
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %.0f durable receipts a second by 64 at a time\n", "ledger", rate)
	little, err := balance(ctx, kept)
	if err != nil {
		return err
	}
	if _, err := appendAll(ctx, kept, p.history-p.appends); err != nil {
		return err
	}
	much, err := balance(ctx, kept)
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %v over %d receipts, %v over %d\n", "balance", little, p.appends, much, p.history)
	return nil
}

// appendAll signs receipts of eight workers ahead and appends them.
func appendAll(ctx context.Context, kept *sqlite.Ledger, n int) (perSecond float64, err error) {
	var workers [8]key.Pair
	for i := range workers {
		workers[i] = key.FromSeed([32]byte{3, byte(i)})
	}
	var took time.Duration
	const batch = 20_000 // signed receipts that are held at a time
	for done := 0; done < n; done += batch {
		list := make([]*receipt.Signed, min(batch, n-done))
		for i := range list {
			if list[i], err = sample(workers[i%len(workers)]); err != nil {
				return 0, err
			}
		}
		began := time.Now()
		if err := appendList(ctx, kept, list); err != nil {
			return 0, err
		}
		took += time.Since(began)
	}
	return float64(n) / took.Seconds(), nil
}

func appendList(ctx context.Context, kept *sqlite.Ledger, list []*receipt.Signed) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(list) {
					return
				}
				if err := kept.Append(ctx, ledger.Requester, list[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func sample(worker key.Pair) (*receipt.Signed, error) {
	now := time.Now()
	return receipt.Sign(worker, receipt.Receipt{
		JobID: receipt.NewJobID(), Nonce: receipt.NewNonce(), Requester: routerPair.ID().String(), Worker: worker.ID(), Model: "bench",
		InputTokens: 20, OutputTokens: 60, StartedAt: now, CompletedAt: now, FinishReason: "stop", TokenSource: receipt.FromEngine,
	})
}

func balance(ctx context.Context, kept *sqlite.Ledger) (time.Duration, error) {
	var times []time.Duration
	for range 101 {
		began := time.Now()
		if _, err := kept.Balances(ctx); err != nil {
			return 0, err
		}
		times = append(times, time.Since(began))
	}
	return median(times), nil
}
