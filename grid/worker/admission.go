package worker

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

// Admission is whom the owner let in. It answers from memory.
type Admission interface {
	// Allowed reports whether the owner let id in, and under which label.
	Allowed(id key.ID) (label string, ok bool)
	// MayUse reports whether id, which is allowed, may use this model.
	MayUse(id key.ID, model grid.Model) bool
	// Legacy reports whether unsigned requests from addr may name id, as the
	// original's programs do.
	Legacy(addr netip.Addr, id key.ID) bool
}

// nobody is the admission of a worker that was given none.
type nobody struct{}

func (nobody) Allowed(key.ID) (string, bool)  { return "", false }
func (nobody) MayUse(key.ID, grid.Model) bool { return false }
func (nobody) Legacy(netip.Addr, key.ID) bool { return false }

// A class is why a requester is served, which decides what it may owe.
type class uint8

const (
	local    class = iota // on this machine: no limit
	self                  // the worker's own key: no limit, nothing is owed
	allowed               // let in by the owner: up to Config.Credit
	stranger              // a key under Config.Open: up to the allowance
	public                // nobody in particular under Config.Open: shares one allowance
)

// A requester is somebody who may be served.
type requester struct {
	id    key.ID // zero for anonymous
	label string
	class class
}

// name is what a receipt calls it.
func (rq requester) name() string {
	if rq.id.IsZero() {
		return receipt.Anonymous
	}
	return rq.id.String()
}

// line is whose turn a requester's requests wait for in the queue.
func (rq requester) line() string {
	switch {
	case !rq.id.IsZero():
		return rq.id.String()
	case rq.class == public:
		return "public"
	}
	return "local"
}

// isStranger reports whether the owner let it in together with everybody else.
func (rq requester) isStranger() bool { return rq.class == stranger || rq.class == public }

// admit decides whether a claim may be served if it proves true. It is asked
// before the body is read, so that strangers cannot make a worker read.
func (w *Worker) admit(c claim) (requester, *openai.Error) {
	rq := requester{id: c.id}
	label, known := "", false
	if !c.id.IsZero() {
		label, known = w.config.Admission.Allowed(c.id)
	}
	switch {
	case c.id == w.id && c.how != byLegacy:
		rq.class = self
	case known || c.how == byLegacy:
		rq.class, rq.label = allowed, label
	case c.local:
		rq.class = local
	case w.config.Open && c.id.IsZero():
		rq.class = public
	case w.config.Open:
		rq.class = stranger
	case c.id.IsZero():
		return rq, c.refuseUnsigned()
	default:
		return rq, forbidden("not_allowed", "this worker does not know the key %s; its owner lets it in with: lobstah allow %s", c.id, c.id)
	}
	return rq, nil
}

// permit refuses an allowed key the models that its owner did not lend to it.
// Who is served on other grounds (local, legacy, self) has no such limits.
func (w *Worker) permit(c claim, rq requester, model grid.Model) *openai.Error {
	if rq.class != allowed || c.how == byLegacy || w.config.Admission.MayUse(rq.id, model) {
		return nil
	}
	return forbidden("model_not_allowed", "the key %s is a guest here, to whom the worker's owner did not lend the model %s", rq.id, model.ID)
}

func (c claim) refuseUnsigned() *openai.Error {
	switch {
	case c.notLocal != "":
		return forbidden("not_local", "unsigned requests are served on this machine only, and this one %s; "+
			"a lobstah router signs what it sends", c.notLocal)
	case c.named != "":
		return forbidden("unsigned_request", "the request names %.80q and is not signed by it; a lobstah router signs what it sends. "+
			"The worker's owner lets signed requests of a key in with: lobstah allow PUBKEY, and unsigned ones of an address with: lobstah allow PUBKEY --legacy ADDRESS", c.named)
	}
	return forbidden("unsigned_request", "unsigned requests are served on this machine only; send them through a lobstah router, "+
		"whose key the worker's owner lets in with: lobstah allow PUBKEY")
}

func forbidden(code, format string, args ...any) *openai.Error {
	return &openai.Error{Status: http.StatusForbidden, Type: "permission_error", Code: code, Message: fmt.Sprintf(format, args...)}
}

// credit refuses a requester who has none left. Anonymous requests under
// Config.Open share one allowance in memory, because an address costs a
// stranger as little as a header.
func (w *Worker) credit(ctx context.Context, rq requester) *openai.Error {
	if rq.class == public {
		return noCredit(rq, w.commons.left(w.config.Now()))
	}
	if w.book == nil {
		return nil
	}
	left, err := int64(math.MaxInt64), error(nil)
	switch {
	case rq.class == stranger:
		left, err = w.config.Ledger.Available(ctx, rq.id)
	case rq.class == allowed && w.config.Credit > 0:
		left, err = w.config.Ledger.Owed(ctx, rq.id)
		left = w.config.Credit - left
	}
	if err != nil {
		w.config.Logger.Error("cannot read a balance", "requester", rq.id, "err", err)
		return unavailable("ledger_error", 5*time.Second, "the worker cannot read its ledger; its log says why")
	}
	return noCredit(rq, left)
}

// noCredit is the original's answer, member for member, to those who have no
// tokens left; nil to the others.
func noCredit(rq requester, left int64) *openai.Error {
	if left > 0 {
		return nil
	}
	e := &openai.Error{
		Status:  http.StatusPaymentRequired,
		Type:    "insufficient_credit",
		Message: fmt.Sprintf("requester has %d tokens of available credit (>0 required)", left),
		Extra:   map[string]any{"availableTokens": left, "requesterPubkey": rq.name()},
	}
	if rq.class == public {
		e.Message += "; unsigned requests share one allowance, a lobstah router signs and has its own"
	}
	return e
}

// allowance is what the original grants each key, and what a commons holds.
const allowance = 10_000

// commons is the allowance that all anonymous strangers share: it fills up
// evenly to 10,000 tokens an hour.
type commons struct {
	mu     sync.Mutex
	tokens float64
	at     time.Time
}

func newCommons(now time.Time) *commons { return &commons{tokens: allowance, at: now} }

// left is how many tokens there are now.
func (c *commons) left(now time.Time) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refill(now)
	return int64(math.Floor(c.tokens))
}

// spend takes tokens, below zero if need be.
func (c *commons) spend(now time.Time, tokens int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refill(now)
	c.tokens -= float64(tokens)
}

func (c *commons) refill(now time.Time) {
	elapsed := max(now.Sub(c.at), 0)
	c.tokens = min(c.tokens+allowance*elapsed.Hours(), allowance)
	c.at = now
}
