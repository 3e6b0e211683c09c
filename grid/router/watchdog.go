package router

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// watchdog ends an attempt whose peer is silent for too long.
type watchdog struct {
	mu      sync.Mutex
	timer   *time.Timer
	limit   time.Duration // guarded by mu
	last    time.Time     // guarded by mu; sign of life
	stopped bool          // guarded by mu
	bite    context.CancelCauseFunc
}

func newWatchdog(limit time.Duration, bite context.CancelCauseFunc) *watchdog {
	d := &watchdog{limit: limit, last: time.Now(), bite: bite}
	d.timer = time.AfterFunc(limit, d.look)
	return d
}

// alive notes a sign of life; silence may last for limit from now on. Resetting
// the timer each time would cost more than looking when it fires.
func (d *watchdog) alive(limit time.Duration) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = now
	if limit < d.limit && !d.stopped {
		d.timer.Reset(limit)
	}
	d.limit = limit
}

func (d *watchdog) look() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return
	}
	silent := time.Since(d.last)
	if silent < d.limit {
		d.timer.Reset(d.limit - silent)
		return
	}
	d.stopped = true
	d.bite(&SilenceError{silent.Round(time.Millisecond)})
}

func (d *watchdog) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	d.timer.Stop()
}

// A SilenceError says that a peer let nothing be heard for too long.
type SilenceError struct{ After time.Duration }

func (e *SilenceError) Error() string { return fmt.Sprintf("the peer was silent for %s", e.After) }
