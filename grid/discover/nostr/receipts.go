package nostr

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"lobstah/internal/canonical"
	"lobstah/key"
	"lobstah/receipt"
)

// PublishReceipt makes a receipt public for good: who asked whom for which
// model, how much and when. Call it only for a user who wants that; nothing
// here does.
func (r *Relay) PublishReceipt(ctx context.Context, s *receipt.Signed) error {
	e, err := r.event(kindReceipt, string(s.Envelope()), []string{"t", "lobstah-receipt"},
		[]string{"worker_pubkey", s.Worker.String()}, []string{"requester_pubkey", s.Requester}, []string{"nonce", s.Nonce})
	if err != nil {
		return err
	}
	return r.send(ctx, e)
}

// Receipts asks all relays at the same time for the receipts that were made
// public and calls found, from one goroutine at a time, once for each genuine
// one: two of one worker with the same nonce are the same. The error names the
// relays that did not answer, or not to the end; what came stands. That they
// are genuine does not say that they are true: anybody may sign receipts
// between keys of his own.
func Receipts(ctx context.Context, relays []*Relay, found func(*receipt.Signed)) error {
	c := &collection{found: found, seen: map[entry]bool{}}
	faults := make([]error, len(relays))
	var tasks sync.WaitGroup
	for i, r := range relays {
		tasks.Go(func() {
			filter := canonical.Object{{Name: "kinds", Value: []any{float64(kindReceipt)}}}
			if err := r.query(ctx, kindReceipt, filter, maxReceipts, c.take); err != nil {
				faults[i] = fmt.Errorf("%s: %w", r.Name(), err)
			}
		})
	}
	tasks.Wait()
	return errors.Join(faults...)
}

// entry names a receipt. The nonce alone would let one worker hide another's.
type entry struct {
	worker key.ID
	nonce  string
}

type collection struct {
	found func(*receipt.Signed)

	mu   sync.Mutex
	seen map[entry]bool // guarded by mu
}

func (c *collection) take(e *event) {
	if !e.genuine() {
		return
	}
	s, err := receipt.Open([]byte(e.content))
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if name := (entry{s.Worker, s.Nonce}); !c.seen[name] {
		c.seen[name] = true
		c.found(s)
	}
}
