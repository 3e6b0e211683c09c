package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"lobstah/internal/cli"
)

// drain refuses new requests and finishes the running ones. A second interrupt,
// or the end of --drain-timeout, stops them.
func (p *process) drain(ctx context.Context) error {
	abort, release := signal.NotifyContext(context.WithoutCancel(ctx), os.Interrupt, syscall.SIGTERM)
	defer release()
	p.draining.Store(true)
	if limit := p.settings.DrainTimeout; limit > 0 {
		var cancel context.CancelFunc
		abort, cancel = context.WithTimeout(abort, limit)
		defer cancel()
	}
	done := p.sayDraining()
	var wg sync.WaitGroup
	var errs [3]error
	worker, router, _ := p.parts()
	wg.Go(func() {
		if err := p.withdraw(abort); err != nil {
			p.warn("an announcement was not taken back and runs out by itself: %v", err)
		}
	})
	if router != nil {
		wg.Go(func() { errs[0] = router.Drain(abort) })
		wg.Go(func() { errs[2] = p.batches.Drain(abort) })
	}
	if worker != nil {
		wg.Go(func() { errs[1] = worker.Drain(abort) })
	}
	wg.Go(func() { p.sharing.awaitRetired(abort) })
	wg.Wait()
	done()
	if abort.Err() != nil {
		p.farewell("Stopped before every answer was finished.")
		return nil // it was asked for
	}
	p.hangUp(abort)
	p.farewell("Stopped.")
	return errors.Join(errs[:]...)
}

// farewell prints a line, below the ^C that a terminal shows.
func (p *process) farewell(format string, args ...any) {
	if cli.Terminal(p.Err) {
		p.note("")
	}
	p.note(format, args...)
}

// lastBytes is how long the end of an answer may take to leave.
const lastBytes = 2 * time.Second

// hangUp lets the last bytes of finished answers leave, and closes what is idle.
// What it leaves open close ends.
func (p *process) hangUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastBytes)
	defer cancel()
	p.mu.Lock()
	servers := slices.Clone(p.servers)
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, server := range servers {
		wg.Go(func() {
			if err := server.Shutdown(ctx); err != nil {
				p.log.Debug("a connection did not end in time", "err", err)
			}
		})
	}
	wg.Wait()
}

// patience is how long a drain takes before it is explained.
const patience = 200 * time.Millisecond

// sayDraining explains a drain that takes a moment, and what can be done.
func (p *process) sayDraining() (done func()) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-stop:
		case <-time.After(patience):
			limit := "however long it takes"
			if p.settings.DrainTimeout > 0 {
				limit = "for at most " + cli.Duration(p.settings.DrainTimeout)
			}
			p.farewell("Stopping: finishing the answers that run, %s. Ctrl-C again stops at once.", limit)
			<-stop
		}
	})
	return func() {
		close(stop)
		wg.Wait()
	}
}
