package discover

import (
	"context"
	"math/rand/v2"
	"time"
)

// checkEvery is how often who waits looks at the clock of the wall, which goes
// on while a machine sleeps.
const checkEvery = 15 * time.Second

// nap waits for d, or until ctx ends, and reports whether ctx goes on.
func nap(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// wall is the time without the reading of the monotonic clock, which stands
// still while a machine sleeps.
func wall() time.Time { return time.Now().Round(0) }

// jitter takes up to a tenth off d, so that machines that began together do not
// stay together.
func jitter(d time.Duration) time.Duration { return d - rand.N(max(d/10, 1)) }

// backoff is how long to wait after the attempt that followed failures others.
func backoff(first, last time.Duration, failures int) time.Duration {
	wait := last
	if failures < 16 {
		wait = min(first<<failures, last)
	}
	return wait/2 + rand.N(wait/2)
}
