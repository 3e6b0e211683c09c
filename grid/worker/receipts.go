package worker

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lobstah/openai"
	"lobstah/receipt"
)

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

// clip cuts s to n bytes at most, between characters.
func clip(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }

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

// pageSize is how many receipts one answer has.
const pageSize = 100

// A receiptPage is the answer to GET /receipts. Whoever asks goes on with
// since=next until no receipt comes.
type receiptPage struct {
	Next     int64             `json:"next"`
	Receipts []json.RawMessage `json:"receipts"`
}

// serveReceipts answers GET /receipts?since=SEQ: the requester's own receipts,
// so that those of streams it left reach it too.
func (w *Worker) serveReceipts(r *http.Request) (*receiptPage, *openai.Error) {
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
		return nil, openai.BadMember("since", "want a sequence number, 0 for all")
	}
	list, next, err := w.config.Ledger.Since(r.Context(), c.id, after, pageSize)
	if err != nil {
		w.config.Logger.Error("cannot list receipts", "requester", c.id, "err", err)
		return nil, unavailable("ledger_error", recordRetry, "the worker cannot read its ledger; its log says why")
	}
	page := &receiptPage{next, make([]json.RawMessage, len(list))}
	for i, s := range list {
		page.Receipts[i] = s.Envelope()
	}
	return page, nil
}
