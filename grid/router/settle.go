package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"lobstah/key"
	"lobstah/receipt"
)

const (
	settleQueue   = 1024
	settleAtOnce  = 32 // so that a ledger can group what it makes durable
	settleTimeout = 30 * time.Second
)

// settlement is a receipt to be checked and kept.
type settlement struct {
	expected
	peer   *peer
	text   string
	signed *receipt.Signed // opened already, when it was pulled
}

// settler checks and keeps receipts behind the answers. Its queue is bounded:
// when it is full, the handlers wait.
type settler struct {
	rt    *Router
	queue chan settlement
	ended chan struct{} // closed when run has returned

	mu      sync.Mutex
	waiting int           // guarded by mu; queued or being kept
	empty   chan struct{} // guarded by mu; closed when waiting falls to 0; nil when nobody asks
}

func newSettler(rt *Router) *settler {
	return &settler{rt: rt, queue: make(chan settlement, settleQueue), ended: make(chan struct{})}
}

// settle hands over the receipt of an answer that is complete.
func (a *attempt) settle(text, responseHash string) {
	if a.rt.Ledger == nil {
		return
	}
	if text == "" {
		a.rt.counts.unreceipted.Add(1)
		return // attempt.end looks for it later
	}
	a.settled = true
	a.rt.settler.put(settlement{peer: a.peer, text: text, expected: a.expected(responseHash)})
}

func (s *settler) put(x settlement) {
	s.mu.Lock()
	s.waiting++
	s.mu.Unlock()
	select {
	case s.queue <- x:
	case <-s.ended:
		s.rt.Logger.Error("a receipt came after the router stopped and is not kept now", peerAttr(x.peer))
		s.done()
	}
}

func (s *settler) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting--; s.waiting == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// flush waits until nothing is queued.
func (s *settler) flush(ctx context.Context) error {
	s.mu.Lock()
	if s.waiting == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	empty := s.empty
	s.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-s.ended:
		return errors.New("receipts are queued, but Run has ended")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run keeps receipts until ctx is done and the queue is empty.
func (s *settler) run(ctx context.Context) {
	defer close(s.ended)
	var wg sync.WaitGroup
	for range settleAtOnce {
		wg.Go(func() {
			for {
				select {
				case x := <-s.queue:
					s.keep(ctx, x)
				case <-ctx.Done():
					s.rest(ctx)
					return
				}
			}
		})
	}
	wg.Wait()
}

// rest keeps what is queued at the end.
func (s *settler) rest(ctx context.Context) {
	for {
		select {
		case x := <-s.queue:
			s.keep(ctx, x)
		default:
			return
		}
	}
}

// keep checks one receipt and appends it. Nobody waits for the result, so this
// is where it is logged.
func (s *settler) keep(ctx context.Context, x settlement) {
	defer s.done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	err := s.rt.accept(ctx, x)
	counts, log := &s.rt.counts, s.rt.Logger
	var refusal *rejection
	switch {
	case err == nil:
		counts.accepted.Add(1)
		s.rt.Asked.clear(x.slot)
	case errors.As(err, &refusal):
		counts.rejected.Add(1)
		s.rt.Asked.clear(x.slot)
		log.LogAttrs(ctx, slog.LevelWarn, "rejected a receipt", peerAttr(x.peer), errAttr(refusal.error))
	default:
		// It is good but not kept: the peer's copy may be had later.
		counts.unkept.Add(1)
		s.rt.expectLater(x.peer, x.expected)
		log.LogAttrs(ctx, slog.LevelWarn, "cannot keep a receipt; the peer is asked for it again later", peerAttr(x.peer), errAttr(err))
	}
}

// rejection is the reason why a receipt is not believed.
type rejection struct{ error }

func (r *rejection) Unwrap() error { return r.error }

// accept opens, checks and keeps a receipt.
func (rt *Router) accept(ctx context.Context, x settlement) error {
	signed := x.signed
	if signed == nil {
		var err error
		if signed, err = receipt.OpenText(x.text); err != nil {
			return &rejection{err}
		}
	}
	must, err := rt.mustBind(ctx, x.peer)
	if err != nil {
		return err
	}
	x.expect.MustBind, x.expect.Now = must, x.peer.clock(rt.Now())
	if err := x.expect.Check(signed); err != nil {
		return &rejection{err}
	}
	if x.proof != "" && signed.RequestSignature != "" && signed.RequestSignature != x.proof {
		return &rejection{errors.New("it carries another request's signature")}
	}
	err = rt.Ledger.Append(ctx, signed)
	if errors.Is(err, ErrKnown) {
		return &rejection{fmt.Errorf("nonce replay: %w", err)}
	}
	if err == nil && signed.Bound() {
		x.peer.bound.set(true, rt.Now())
	}
	return err
}

// bound remembers whether a peer has ever given a bound receipt.
type bound struct {
	mu      sync.Mutex
	yes     bool      // guarded by mu; stays
	checked time.Time // guarded by mu; when the ledger said no
}

const boundMemory = time.Minute

func (b *bound) set(yes bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.yes, b.checked = b.yes || yes, now
}

func (b *bound) get(now time.Time) (yes, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.yes, b.yes || now.Sub(b.checked) < boundMemory
}

// mustBind reports whether receipts of p have to name the bytes: it says that
// they do, or they did before.
func (rt *Router) mustBind(ctx context.Context, p *peer) (bool, error) {
	if f := p.facts.Load(); f != nil && f.Signs {
		return true, nil
	}
	if yes, known := p.bound.get(rt.Now()); known {
		return yes, nil
	}
	yes, err := rt.Ledger.Bound(ctx, p.ID)
	if err != nil {
		return false, fmt.Errorf("look up whether %s binds its receipts: %w", key.ID.Short(p.ID), err)
	}
	p.bound.set(yes, rt.Now())
	return yes, nil
}
