package tracker

import (
	"maps"
	"sync"
	"time"
)

// A Rate is a token bucket: Burst at once, one more each Every. A zero Every
// means no limit.
type Rate struct {
	Every time.Duration
	Burst int
}

// take takes n tokens at a time from a bucket. It is told by when it will be full
// again, in Unix nanoseconds (the generic cell rate algorithm). It returns 0, or
// how long to wait until there are as many.
func (r Rate) take(full *int64, n int, at int64) time.Duration {
	next := max(*full, at) + int64(n)*int64(r.Every)
	if wait := next - at - int64(r.Burst)*int64(r.Every); wait > 0 {
		return time.Duration(wait)
	}
	*full = next
	return 0
}

// limiter holds a bucket for each K.
type limiter[K comparable] struct {
	rate Rate
	max  int // buckets; beyond, newcomers share one

	mu     sync.Mutex
	full   map[K]int64 // guarded by mu; when each bucket is full again, in Unix nanoseconds
	shared int64       // guarded by mu; the same, of all that found no room
	swept  int64       // guarded by mu
}

func newLimiter[K comparable](rate Rate, max int) *limiter[K] {
	return &limiter[K]{rate: rate, max: max, full: map[K]int64{}}
}

// take takes n tokens from k's bucket, as [Rate.take] does.
func (l *limiter[K]) take(k K, n int, now time.Time) time.Duration {
	if l.rate.Every <= 0 {
		return 0
	}
	at := now.UnixNano()
	l.mu.Lock()
	defer l.mu.Unlock()
	full, known := l.full[k]
	if !known && !l.room(at) {
		return l.rate.take(&l.shared, n, at)
	}
	wait := l.rate.take(&full, n, at)
	if wait == 0 {
		l.full[k] = full
	}
	return wait
}

// release hands k's bucket to one who keeps it elsewhere, and keep takes it back.
func (l *limiter[K]) release(k K) (full int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	full = l.full[k]
	delete(l.full, k)
	return full
}

func (l *limiter[K]) keep(k K, full int64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if full > now.UnixNano() { // else it says nothing
		l.full[k] = full
	}
}

// room makes room for one more bucket, if it can by dropping full ones, which
// say nothing. It looks through them once a second at most.
func (l *limiter[K]) room(at int64) bool {
	if len(l.full) >= l.max && at-l.swept >= int64(time.Second) {
		l.swept = at
		maps.DeleteFunc(l.full, func(_ K, full int64) bool { return full <= at })
	}
	return len(l.full) < l.max
}
