package receipt

import (
	"errors"
	"fmt"
	"time"

	"lobstah/key"
)

// Reasons for which [Expectation.Check] refuses a genuine receipt.
var (
	ErrRequester = errors.New("requester mismatch")
	ErrWorker    = errors.New("worker mismatch")
	ErrModel     = errors.New("model mismatch")
	ErrRequest   = errors.New("request hash mismatch")
	ErrResponse  = errors.New("response hash mismatch")
	ErrUnbound   = errors.New("unbound receipt from a peer that binds its receipts")
	ErrStale     = errors.New("expired or future-dated")
)

// An Expectation is what a requester knows about the exchange that a receipt
// claims to state.
type Expectation struct {
	Requester    key.ID // us
	Worker       key.ID // the peer that was asked
	Model        string // the model text that was asked for
	RequestHash  string // hex SHA-256 of the body that was sent
	ResponseHash string // of what came back; empty when it was not all seen
	MustBind     bool   // the peer has given bound receipts before
	Pulled       bool   // we asked for this receipt later, so its age says nothing
	Now          time.Time
}

// Check decides whether s may count. That it was never counted before is the
// ledger's to know.
func (e Expectation) Check(s *Signed) error {
	switch {
	case s.Requester != e.Requester.String():
		return fmt.Errorf("%w: it names %s", ErrRequester, s.Requester)
	case s.Worker != e.Worker:
		return fmt.Errorf("%w: asked %s, signed by %s", ErrWorker, e.Worker.Short(), s.Worker.Short())
	case s.Model != e.Model:
		return fmt.Errorf("%w: asked for %q, it names %q", ErrModel, e.Model, s.Model)
	case s.RequestHash != "" && s.RequestHash != e.RequestHash:
		return ErrRequest
	case s.ResponseHash != "" && e.ResponseHash != "" && s.ResponseHash != e.ResponseHash:
		return ErrResponse
	case e.MustBind && !s.Bound():
		return ErrUnbound
	case !e.Pulled && !Fresh(s.CompletedAt, e.Now):
		return fmt.Errorf("%w: completed %s from now", ErrStale, e.Now.Sub(s.CompletedAt).Round(time.Second))
	}
	return nil
}

// Fresh reports whether t lies within [Window] of now, both ends included.
func Fresh(t, now time.Time) bool { return now.Sub(t).Abs() <= Window }
