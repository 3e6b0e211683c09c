package stdlib

import (
	"context"
	"fmt"
	"runtime/metrics"
	"time"

	"lobstah/flow/interp"
)

// heapCheckEvery is how often the memory of the process is looked at; each look costs a few microseconds.
const heapCheckEvery = 5 * time.Millisecond

// watchHeap returns a context that ends once the memory in use has grown beyond what a run may hold, with the reason as its cause. It bounds
// code that allocates on its own account, where nobody counts what it holds: programs of jq. What the rest of the run took meanwhile, as
// its budget knows it, does not count. What is in use is known after each collection of garbage, so the limit may be passed by as much again.
// The goroutine ends with the context, in the care of the run.
func watchHeap(ctx context.Context, budget *interp.Budget, background func(func())) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	end := func() { cancel(context.Canceled) }
	limit, heldBefore := budget.Run()
	if limit == 0 {
		return ctx, end
	}
	before := liveHeap() - heldBefore
	background(func() {
		tick := time.NewTicker(heapCheckEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			if _, held := budget.Run(); liveHeap()-held-before > limit {
				cancel(fmt.Errorf("the program holds more than %d bytes; narrow its input down, or raise LOBSTER_MAX_COLLECT_BYTES", limit))
				return
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	})
	return ctx, end
}

// liveHeap is how many bytes were in use when garbage was last collected.
func liveHeap() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}
