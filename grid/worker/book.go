package worker

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

// Ledger is where a worker's receipts go.
type Ledger interface {
	// Record keeps a receipt for good; it returns once it is durable. Keeping
	// one again is no error.
	Record(ctx context.Context, s *receipt.Signed) error
	// Owed is how many tokens id owes this worker, net of what it served.
	Owed(ctx context.Context, id key.ID) (int64, error)
	// Available is what the original grants id: 10,000 + earned - spent.
	Available(ctx context.Context, id key.ID) (int64, error)
	// Since returns at most limit receipts for requester, oldest first, from
	// behind the sequence number after, and the number to go on from, which is
	// never beyond the requester's last one.
	Since(ctx context.Context, requester key.ID, after int64, limit int) (list []*receipt.Signed, next int64, err error)
}

const (
	recordTimeout = 20 * time.Second
	recordRetry   = 3 * time.Second
)

// book keeps receipts in the ledger. One that the ledger refuses is kept in
// memory and tried again; until all are in, the worker takes nothing new, so
// that nothing goes unaccounted and what is kept here stays small: one for each
// answer that was running or queued.
type book struct {
	ledger Ledger
	log    *slog.Logger

	mu      sync.Mutex // guards pending
	pending []*receipt.Signed
}

// record returns once s is durable. After an error s must not be shown to
// anyone yet.
func (b *book) record(ctx context.Context, s *receipt.Signed) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	err := b.ledger.Record(ctx, s)
	if err == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending = append(b.pending, s)
	if len(b.pending) == 1 {
		b.log.Error("THE LEDGER TAKES NO RECEIPTS; nothing new is served until it does", "err", err)
	}
	return err
}

func (b *book) failing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pending) > 0
}

// run retries what is pending until ctx ends.
func (b *book) run(ctx context.Context) {
	tick := time.NewTicker(recordRetry)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if b.failing() {
				b.retry(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// retry may run twice at once, when a worker stops; the ledger minds no
// repetition.
func (b *book) retry(ctx context.Context) {
	b.mu.Lock()
	list := slices.Clone(b.pending)
	b.mu.Unlock()
	done := 0
	for _, s := range list {
		ctx, cancel := context.WithTimeout(ctx, recordTimeout)
		err := b.ledger.Record(ctx, s)
		cancel()
		if err != nil {
			break
		}
		done++
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending = slices.DeleteFunc(b.pending, func(s *receipt.Signed) bool { return slices.Contains(list[:done], s) })
	if len(list) > 0 && len(b.pending) == 0 {
		b.log.Info("the ledger takes receipts again", "recorded", done)
	}
}

// last tries once more before the worker ends, and writes what the ledger still
// refuses into the log, from where `lobstah ledger import` can take it.
func (b *book) last() {
	b.retry(context.Background())
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.pending {
		b.log.Error("a receipt could not be kept", "envelope", string(s.Envelope()))
	}
}

func ledgerFault() *openai.Error {
	return unavailable("ledger_error", recordRetry, "the worker cannot write its ledger, and serves nothing unaccounted; its log says why")
}
