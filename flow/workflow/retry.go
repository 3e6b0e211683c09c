package workflow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"

	"lobstah/flow/value"
)

// attempt does a step once. It sets dispatched when doing it again would do something twice.
type attempt func(ctx context.Context, dispatched *atomic.Bool) (value.Value, error)

// retrying does a step until it succeeds or its attempts are used up.
func (r *runner) retrying(ctx context.Context, s *Step, do attempt) (value.Value, error) {
	for n := 1; ; n++ {
		var dispatched atomic.Bool
		v, err := limited(ctx, s, &dispatched, do)
		if err == nil || isFatal(err) || dispatched.Load() || ctx.Err() != nil || n >= s.Retry.Max {
			return v, err
		}
		if stop := r.cost.checkStop(); stop != nil {
			return v, stop
		}
		delay, delayErr := r.delay(s.Retry, n-1)
		if delayErr != nil {
			return v, delayErr
		}
		fmt.Fprintf(r.env.Stderr, "[RETRY] Step '%s' failed (attempt %d/%d): %s. Retrying in %sms...\n", s.ID, n, s.Retry.Max, err, inMillis(delay))
		if err := r.sleep(ctx, delay); err != nil {
			return value.Undefined, err
		}
	}
}

// timeoutError is a step that took too long.
type timeoutError struct {
	message string
	block   bool // it is the limit of a parallel block, not of the step
}

func (e *timeoutError) Error() string { return e.message }

// limited does an attempt within the step's time limit.
func limited(ctx context.Context, s *Step, dispatched *atomic.Bool, do attempt) (value.Value, error) {
	if s.Timeout <= 0 {
		return do(ctx, dispatched)
	}
	late := &timeoutError{fmt.Sprintf("Step '%s' timed out after %dms", s.ID, s.Timeout.Milliseconds()), false}
	ctx, cancel := context.WithTimeoutCause(ctx, s.Timeout, late)
	defer cancel()
	v, err := do(ctx, dispatched)
	if err != nil && context.Cause(ctx) == error(late) && !errors.Is(err, late) {
		err = late
	}
	return v, err
}

// delay is the time before the next attempt; n counts from 0.
func (r *runner) delay(retry Retry, n int) (time.Duration, error) {
	d := float64(retry.Delay)
	if retry.Exponential {
		d = min(d*math.Pow(2, float64(n)), float64(retry.MaxDelay))
	}
	if retry.Jitter {
		share, err := fraction(r.env.Random)
		if err != nil {
			return 0, err
		}
		d = min(d*(0.9+0.2*share), float64(retry.MaxDelay))
	}
	return time.Duration(d).Round(time.Millisecond), nil
}

// fraction is a random number from 0 to 1.
func fraction(random io.Reader) (float64, error) {
	if random == nil {
		return 0.5, nil
	}
	var b [4]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return 0, fmt.Errorf("read random bytes: %w", err)
	}
	return float64(binary.LittleEndian.Uint32(b[:])) / math.MaxUint32, nil
}

func (r *runner) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if r.env.Sleep == nil {
		return errors.New("cannot wait: this environment has no clock")
	}
	return r.env.Sleep(ctx, d)
}
