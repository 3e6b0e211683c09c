package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// interrupted is the cause of a run that a signal ended.
type interrupted struct{ sig syscall.Signal }

func (e interrupted) Error() string { return "Received " + signalNames[e.sig] }

var signalNames = map[syscall.Signal]string{syscall.SIGINT: "SIGINT", syscall.SIGTERM: "SIGTERM", syscall.SIGHUP: "SIGHUP", syscall.SIGQUIT: "SIGQUIT"}

// withSignals returns a context that the first signal to stop cancels; the second one ends the process at once. The caller calls stop
// when the run is over.
func withSignals(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	over := make(chan struct{})
	go func() {
		select {
		case s := <-got:
			signal.Reset()
			cancel(interrupted{s.(syscall.Signal)})
		case <-over:
		}
	}()
	return ctx, func() {
		close(over)
		signal.Stop(got)
		cancel(nil)
	}
}

// longestRun is how long a run may take unless LOBSTER_TIMEOUT says otherwise. Nothing that waits for a person takes that long: it pauses.
const longestRun = "24h"

// limited returns a context that ends when LOBSTER_TIMEOUT (a Go duration such as 90s, or never) is over.
func (p *program) limited(ctx context.Context) (context.Context, func(), error) {
	text := cmp.Or(strings.TrimSpace(p.setting("LOBSTER_TIMEOUT")), longestRun)
	if text == "never" {
		return ctx, func() {}, nil
	}
	limit, err := time.ParseDuration(text)
	if err != nil || limit <= 0 {
		return ctx, nil, fmt.Errorf("LOBSTER_TIMEOUT must be a duration such as 90s, or never (got %q)", text)
	}
	ctx, end := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the run took longer than LOBSTER_TIMEOUT=%s", text))
	return ctx, end, nil
}

// ending returns the exit code and the error as the caller shall see it: a signal explains every error that followed it.
func ending(ctx context.Context, err error, code int) (int, error) {
	if cause, ok := errors.AsType[interrupted](context.Cause(ctx)); ok {
		return 128 + int(cause.sig), cause
	}
	return code, err
}
