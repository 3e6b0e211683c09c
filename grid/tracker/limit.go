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

// limiter holds a token bucket for each K, as the one time at which it will be
// full again (the generic cell rate algorithm).
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

// take takes n tokens from k's bucket. It returns 0, or how long to wait until
// there are as many.
func (l *limiter[K]) take(k K, n int, now time.Time) time.Duration {
	if l.rate.Every <= 0 {
		return 0
	}
	at := now.UnixNano()
	l.mu.Lock()
	defer l.mu.Unlock()
	full, known := l.full[k]
	room := known || l.room(at)
	if !room {
		full = l.shared
	}
	full = max(full, at) + int64(n)*int64(l.rate.Every)
	if wait := full - at - int64(l.rate.Burst)*int64(l.rate.Every); wait > 0 {
		return time.Duration(wait)
	}
	if room {
		l.full[k] = full
	} else {
		l.shared = full
	}
	return 0
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
