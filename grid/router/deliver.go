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
	rt := f.rt
	if rt.Ledger == nil {
		return nil
	}
	x := settlement{peer: p, expected: expected{expect: receipt.Expectation{
		Requester: rt.Identity.ID(), Worker: p.ID, Model: f.order.Model,
		RequestHash: hex.EncodeToString(f.hash[:]), ResponseHash: receipt.HashBody(record.Result), Pulled: true,
	}}}
	if len(f.place.Proofs) > 0 {
		x.proof = f.place.Proofs[len(f.place.Proofs)-1]
	}
	if len(record.Receipt) == 0 || string(record.Receipt) == "null" {
		rt.counts.unreceipted.Add(1)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	var err error
	if x.signed, err = receipt.Open(record.Receipt); err != nil {
		err = &rejection{err}
	} else {
		if slices.Contains(f.place.Proofs, x.signed.RequestSignature) {
			x.proof = x.signed.RequestSignature
		}
		if f.place.Receipt == "" {
			f.place.Receipt = x.signed.Nonce
			if err := f.note(ctx); err != nil {
				return err
			}
		}
		err = &rejection{errors.New("it is not the receipt that was given before")}
		if f.place.Receipt == x.signed.Nonce {
			err = rt.accept(ctx, x)
		}
	}
	var refusal *rejection
	switch {
	case err == nil:
		rt.counts.accepted.Add(1)
	case errors.Is(err, ErrKnown): // we were here before
	case errors.As(err, &refusal):
		rt.counts.rejected.Add(1)
		rt.Logger.LogAttrs(ctx, slog.LevelWarn, "rejected a receipt", peerAttr(p), errAttr(refusal.error))
	default:
		return later(peerPause, "the receipt of the answer cannot be kept: %v", err)
	}
	return nil
}
