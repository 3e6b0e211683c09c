package worker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

// Ledger is where a worker's receipts go.
type Ledger interface {
	// Record keeps a receipt for good; it returns once it is durable.
	Record(ctx context.Context, s *receipt.Signed) error
	// Owed is how many tokens id owes this worker, net of what it served.
	Owed(ctx context.Context, id key.ID) (int64, error)
	// Available is what the original grants id: 10,000 + earned - spent.
	Available(ctx context.Context, id key.ID) (int64, error)
	// Since returns at most limit receipts for requester, oldest first, from
	// behind the sequence number after, and the number to go on from.
	Since(ctx context.Context, requester key.ID, after int64, limit int) (list []*receipt.Signed, next int64, err error)
}

const (
	recordTimeout = 20 * time.Second
	recordRetry   = 3 * time.Second
	pageSize      = 100 // receipts in one answer
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

func (b *book) retry(ctx context.Context) {
	b.mu.Lock()
	list := b.pending
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
	b.pending = b.pending[done:] // others may have been added at the end
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

// statement is the receipt of a finished or cancelled job.
func (j *job) statement(finish string, responseHash string) receipt.Receipt {
	input, output, source := j.tokens()
	return receipt.Receipt{
		JobID:            j.id,
		Nonce:            receipt.NewNonce(),
		Requester:        j.from.name(),
		Worker:           j.w.id,
		Model:            j.request.Model,
		InputTokens:      input,
		OutputTokens:     output,
		StartedAt:        j.started,
		CompletedAt:      later(j.w.config.Now(), j.started),
		RequestHash:      hex.EncodeToString(j.bodyHash[:]),
		RequestPath:      j.path,
		RequestSignature: j.claim.header,
		ResponseHash:     responseHash,
		ModelDigest:      clip(j.model.Digest, 128),
		FinishReason:     clip(cmp.Or(finish, j.meter.Finish), 64),
		TokenSource:      source,
	}
}

// later keeps a receipt's end behind its start when a clock was set back.
func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func clip(s string, n int) string { return s[:min(len(s), n)] }

// settle makes the job's receipt and records it; the slot is given on first,
// so that an engine never waits for a disk. Without a ledger, or when it
// fails, there is none: nil.
func (j *job) settle(finish, responseHash string) *receipt.Signed {
	defer j.leave()
	if j.dialect == openai.CountTokens {
		return nil
	}
	r := j.statement(finish, responseHash)
	if j.from.class == public {
		j.w.commons.spend(j.w.config.Now(), r.Total())
	}
	if j.w.book == nil {
		return nil
	}
	s, err := receipt.Sign(j.w.config.Identity, r)
	if err != nil {
		j.w.config.Logger.Error("cannot make a receipt", "request", j.id, "err", err)
		return nil
	}
	j.w.settles <- struct{}{}
	defer func() { <-j.w.settles }()
	j.leave() // the engine is done
	if j.w.book.record(j.ctx, s) != nil {
		return nil // the book logged it, and health shows it
	}
	return s
}

// tokens is what the answer cost and who says so. Without the engine's word,
// each event with output counts as one token, and the input, which nobody
// counted, as none.
func (j *job) tokens() (input, output int64, source receipt.TokenSource) {
	const most = 1 << 40 // what a receipt can say
	u := j.meter.Usage
	sane := u.Known && u.Input >= 0 && u.Output >= 0 && u.Input <= most && u.Output <= most
	switch {
	case sane && j.meter.Ended() && u.Timings:
		return u.Input, u.Output, receipt.FromTimings
	case sane && j.meter.Ended():
		return u.Input, u.Output, receipt.FromEngine
	case sane && j.meter.Deltas+u.Input > 0: // cut, after the engine told the input
		return u.Input, max(u.Output, j.meter.Deltas), receipt.Counted
	case j.streams && j.meter.Deltas > 0:
		return 0, j.meter.Deltas, receipt.Counted
	}
	return 0, 0, receipt.NoCount
}

// serveReceipts answers GET /receipts?since=SEQ: the requester's own receipts,
// so that those of streams it left reach it too.
func (w *Worker) serveReceipts(r *http.Request) (any, *openai.Error) {
	if w.book == nil {
		return nil, &openai.Error{Status: http.StatusNotFound, Type: "not_found", Message: "this worker makes no receipts"}
	}
	c, fault := w.claim(r)
	if fault == nil && (c.how == byNothing || c.how == byLegacy) {
		fault = w.unauthorized("unsigned_request", "receipts are shown to whom they are for: sign the request")
	}
	if fault == nil {
		fault = w.verify(r, c, requester{class: stranger}, sha256.Sum256(nil))
	}
	if fault != nil {
		return nil, fault
	}
	after, err := strconv.ParseInt(cmp.Or(r.URL.Query().Get("since"), "0"), 10, 64)
	if err != nil || after < 0 {
		return nil, &openai.Error{Status: http.StatusBadRequest, Type: "invalid_request_error", Param: "since", Message: "since: want a sequence number, 0 for all"}
	}
	list, next, err := w.config.Ledger.Since(r.Context(), c.id, after, pageSize)
	if err != nil {
		w.config.Logger.Error("cannot list receipts", "requester", c.id, "err", err)
		return nil, unavailable("ledger_error", recordRetry, "the worker cannot read its ledger; its log says why")
	}
	return page(list, next)
}

// page is the answer's body: {"receipts":[envelope,...],"next":SEQ}. Whoever
// asks goes on with since=next until no receipt comes.
func page(list []*receipt.Signed, next int64) (any, *openai.Error) {
	envelopes := make([]json.RawMessage, len(list))
	for i, s := range list {
		envelopes[i] = s.Envelope()
	}
	return map[string]any{"receipts": envelopes, "next": next}, nil
}
