package router

import (
	"container/list"
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"lobstah/key"
	"lobstah/receipt"
)

const (
	maxPending    = 4096
	pendingMemory = 24 * time.Hour
	receiptPages  = 10 // in one pull
	maxPageBytes  = 4 << 20
	lastPull      = 2 * time.Second // before the router stops
)

// pending remembers requests whose receipt did not come with the answer:
// streams that the client left, or that broke. Their receipts are pulled from
// the worker later, and only theirs. It is bounded; the oldest go first, and a
// restart forgets all. The zero value is ready.
type pending struct {
	mu      sync.Mutex
	order   list.List                // guarded by mu; of expected, oldest first
	entries map[string]*list.Element // guarded by mu; by the request's signature
	workers map[key.ID]int           // guarded by mu; entries of each
}

type expected struct {
	proof  string
	expect receipt.Expectation
	since  time.Time
}

func (p *pending) remember(proof string, e receipt.Expectation) {
	if proof == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.entries == nil {
		p.entries, p.workers = map[string]*list.Element{}, map[key.ID]int{}
	}
	if p.entries[proof] != nil {
		return
	}
	now := time.Now()
	for front := p.order.Front(); front != nil; front = p.order.Front() {
		if p.order.Len() < maxPending && now.Sub(front.Value.(expected).since) < pendingMemory {
			break
		}
		p.forget(front)
	}
	e.ResponseHash, e.Pulled = "", true // we did not see all of the answer, nor its receipt in time
	p.entries[proof] = p.order.PushBack(expected{proof, e, now})
	p.workers[e.Worker]++
}

func (p *pending) forget(at *list.Element) {
	x := at.Value.(expected)
	p.order.Remove(at)
	delete(p.entries, x.proof)
	if p.workers[x.expect.Worker]--; p.workers[x.expect.Worker] == 0 {
		delete(p.workers, x.expect.Worker)
	}
}

// expectLater remembers a request whose receipt lies behind since at its
// worker, and lets the next poll look there, be it once more.
func (rt *Router) expectLater(p *peer, proof string, e receipt.Expectation, since int64) {
	rt.pending.remember(proof, e)
	for {
		now := p.receiptsSince.Load()
		if now <= since || p.receiptsSince.CompareAndSwap(now, since) {
			return
		}
	}
}

// take returns what is expected for a request's signature, and forgets it.
func (p *pending) take(proof string) (receipt.Expectation, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.entries[proof]
	if at == nil {
		return receipt.Expectation{}, false
	}
	e := at.Value.(expected).expect
	p.forget(at)
	return e, true
}

func (p *pending) anyOf(worker key.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.workers[worker] > 0
}

// pullRest asks every peer that owes receipts for them, since a restart forgets
// which they were.
func (rt *Router) pullRest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastPull)
	defer cancel()
	var wg sync.WaitGroup
	for _, p := range rt.roster.current.Load().peers {
		if !p.health.lost() && rt.pending.anyOf(p.ID) {
			wg.Go(func() { rt.pull(ctx, p) })
		}
	}
	wg.Wait()
}

// pull fetches receipts that did not come in time, if there are any.
func (rt *Router) pull(ctx context.Context, p *peer) {
	f := p.facts.Load()
	if rt.Ledger == nil || f == nil || !f.Signs {
		return
	}
	for range receiptPages {
		if !rt.pending.anyOf(p.ID) {
			return
		}
		more, err := rt.pullPage(ctx, p)
		if err != nil {
			rt.Logger.LogAttrs(ctx, slog.LevelDebug, "cannot pull receipts", peerAttr(p), errAttr(err))
			return
		}
		if !more {
			return
		}
	}
}

// receiptPage is the answer of GET /receipts?since=SEQ, oldest first.
type receiptPage struct {
	Receipts []json.RawMessage `json:"receipts"`
	Next     int64             `json:"next"`
}

func (rt *Router) pullPage(ctx context.Context, p *peer) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, rt.Timeouts.Capacity)
	defer cancel()
	since := p.receiptsSince.Load()
	body, err := rt.get(ctx, p, "/receipts", "since="+strconv.FormatInt(since, 10), maxPageBytes)
	if err != nil {
		return false, err
	}
	var page receiptPage
	if err := json.Unmarshal(body, &page); err != nil {
		return false, err
	}
	for _, envelope := range page.Receipts {
		rt.pulled(p, since, envelope)
	}
	more = len(page.Receipts) > 0 && page.Next > since
	// If it was set back in the meantime, it stays there.
	p.receiptsSince.CompareAndSwap(since, max(since, page.Next))
	return more, nil
}

// pulled settles an envelope if it is for a request that waits for one.
func (rt *Router) pulled(p *peer, since int64, envelope []byte) {
	var peek struct {
		Receipt struct {
			RequestSignature string `json:"requestSignature"`
		} `json:"receipt"`
	}
	if json.Unmarshal(envelope, &peek) != nil {
		return // not one of ours
	}
	proof := peek.Receipt.RequestSignature
	signed, err := receipt.Open(envelope)
	if err != nil || signed.Worker != p.ID {
		return // before anything is forgotten: only the worker itself may answer for its request
	}
	if expect, ok := rt.pending.take(proof); ok {
		rt.settler.put(settlement{peer: p, signed: signed, expect: expect, proof: proof, since: since})
	}
}
