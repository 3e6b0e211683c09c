package router

import (
	"errors"
	"sync"
	"time"
)

const (
	failuresToExclude = 2
	exclusion         = 30 * time.Second
	lastExclusion     = 5 * time.Second // for the last peer of a model
	pollsToLose       = 2
)

// health is what a peer's latest requests and polls say about it. The zero
// value is healthy.
type health struct {
	mu        sync.Mutex
	failures  int       // guarded by mu; requests that failed in a row
	failedAt  time.Time // guarded by mu
	probing   bool      // guarded by mu; one request tries an excluded peer
	pollFails int       // guarded by mu; polls that failed in a row
	closed    bool      // guarded by mu; the last of these was a refusal to tell us anything
	lastError string    // guarded by mu
}

// lost reports whether the peer does not answer polls.
func (h *health) lost() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pollFails >= pollsToLose
}

// until returns when an excluded peer may be tried again; zero when it may at
// any time.
func (h *health) until(last bool) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.untilLocked(last)
}

func (h *health) untilLocked(last bool) time.Time {
	switch {
	case h.failures < failuresToExclude:
		return time.Time{}
	case last:
		return h.failedAt.Add(lastExclusion)
	}
	return h.failedAt.Add(exclusion)
}

// ready reports whether the peer answers polls and claim would succeed.
func (h *health) ready(now time.Time, last bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pollFails < pollsToLose && (h.failures < failuresToExclude || !h.probing && !now.Before(h.untilLocked(last)))
}

// claim asks to send a request; an excluded peer gets one at a time.
func (h *health) claim(now time.Time, last bool) (probe, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failures < failuresToExclude {
		return false, true
	}
	if h.probing || now.Before(h.untilLocked(last)) {
		return false, false
	}
	h.probing = true
	return true, true
}

// succeeded notes that the peer answered, be it with a refusal.
func (h *health) succeeded() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures, h.pollFails, h.probing, h.lastError = 0, 0, false, ""
}

// failed notes a failure that is the peer's.
func (h *health) failed(now time.Time, err string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures++
	h.failedAt, h.probing, h.lastError = now, false, err
}

// released notes that a request ended without telling anything of the peer.
func (h *health) released() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.probing = false
}

// polled notes the end of a capacity poll.
func (h *health) polled(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		if h.pollFails = 0; h.failures == 0 {
			h.lastError = ""
		}
		return
	}
	h.pollFails++
	_, h.closed = errors.AsType[*closedError](err)
	h.lastError = err.Error()
}

// report says in a word and, where something is wrong, a text how the peer is.
func (h *health) report(now time.Time) (status, lastError string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.pollFails >= pollsToLose && h.closed:
		status = "closed"
	case h.pollFails >= pollsToLose:
		status = "unreachable"
	case h.failures >= failuresToExclude && (h.probing || now.Before(h.untilLocked(false))):
		status = "excluded"
	default:
		status = "ready"
	}
	return status, h.lastError
}

// budget limits failovers over all requests: each request earns one, and a
// hundred may be saved, so a pool in trouble is not asked many times over.
type budget struct {
	mu     sync.Mutex
	spent  int // guarded by mu; savings are maxBudget - spent, so zero is full
	denied int64
}

const maxBudget = 100

func (b *budget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent = max(0, b.spent-1)
}

func (b *budget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spent >= maxBudget {
		b.denied++
		return false
	}
	b.spent++
	return true
}
