package router

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"slices"

	"lobstah/grid"
	"lobstah/openai"
	"lobstah/receipt"
)

// deliver settles the receipt of an answer, however old it is, and keeps the
// answer. Doing so again changes nothing: the ledger knows a receipt once.
func (f *follower) deliver(ctx context.Context, p *peer, record *grid.Job) error {
	meter := openai.NewMeter(openai.Chat)
	if meter.Body(record.Result); len(record.Result) == 0 || meter.Failure != nil {
		return f.refuse(ctx, refusal{Status: http.StatusOK, Message: "its answer is none"})
	}
	if err := f.settle(context.WithoutCancel(ctx), p, record); err != nil {
		return err
	}
	if err := f.log.Done(ctx, record.Result, nil); err != nil {
		return err
	}
	f.rt.affinity.learn(f.prefixes, p.ID)
	return nil
}

// settle checks and keeps the receipt. Which one that is was noted before, so
// that a peer that gives another after a crash gains nothing by it. A receipt
// that is refused is logged, as it is for any other answer.
func (f *follower) settle(ctx context.Context, p *peer, record *grid.Job) error {
	if f.rt.Ledger == nil {
		return nil
	}
	if len(record.Receipt) == 0 || string(record.Receipt) == "null" {
		f.rt.counts.unreceipted.Add(1)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	signed, err := receipt.Open(record.Receipt)
	if err != nil {
		return f.settled(ctx, p, &rejection{err})
	}
	if f.place.Receipt == "" {
		f.place.Receipt = signed.Nonce
		if err := f.note(ctx); err != nil {
			return err
		}
	}
	if f.place.Receipt != signed.Nonce {
		return f.settled(ctx, p, &rejection{errors.New("it is not the receipt that was given before")})
	}
	return f.settled(ctx, p, f.rt.accept(ctx, f.settlement(p, signed, record.Result)))
}

// settlement is a receipt beside what it has to say. It may be for an earlier
// submission than the last, and names that one then.
func (f *follower) settlement(p *peer, signed *receipt.Signed, result []byte) settlement {
	x := settlement{peer: p, signed: signed, expected: expected{expect: receipt.Expectation{
		Requester: f.rt.Identity.ID(), Worker: p.ID, Model: f.order.Model,
		RequestHash: hex.EncodeToString(f.hash[:]), ResponseHash: receipt.HashBody(result), Pulled: true,
	}}}
	switch n := len(f.place.Proofs); {
	case slices.Contains(f.place.Proofs, signed.RequestSignature):
		x.proof = signed.RequestSignature
	case n > 0:
		x.proof = f.place.Proofs[n-1]
	}
	return x
}

// settled counts what became of a receipt. The error says that it has to be
// tried again.
func (f *follower) settled(ctx context.Context, p *peer, err error) error {
	rejected, isRejected := errors.AsType[*rejection](err)
	switch {
	case err == nil:
		f.rt.counts.accepted.Add(1)
	case errors.Is(err, ErrKnown): // we were here before
	case isRejected:
		f.rt.counts.rejected.Add(1)
		f.rt.Logger.LogAttrs(ctx, slog.LevelWarn, "rejected a receipt", peerAttr(p), errAttr(rejected.error))
	default:
		return later(peerPause, "the receipt of the answer cannot be kept: %v", err)
	}
	return nil
}
