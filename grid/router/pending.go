package router

import (
	"container/list"
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"lobstah/key"
	"lobstah/receipt"
)

const (
	maxPending    = 4096
	pendingMemory = 7 * 24 * time.Hour // a worker may be away over a weekend
	receiptPages  = 100                // in one pull
	keptBefore    = 2048               // receipts that may have been kept just before the router was killed
	maxPageBytes  = 4 << 20
	lastPull      = 2 * time.Second // before the router stops
)

// pending remembers requests whose receipt did not come with the answer:
// streams that the client left or that broke, and whatever was on its way when
// the router was killed. Their receipts are pulled from the worker later, and
// only theirs. It is bounded; the oldest go first. The zero value is ready.
type pending struct {
	asked *Asked // where they stand for the next run; nil for nowhere

	mu      sync.Mutex
	order   list.List                // guarded by mu; of expected, oldest first
	entries map[string]*list.Element // guarded by mu; by the request's signature
	workers map[key.ID]int           // guarded by mu; entries of each
}

// expected is a request whose receipt is still to come.
type expected struct {
	proof  string // our signature over it
	expect receipt.Expectation
	at     time.Time // when it was sent
	behind int64     // its receipt lies behind this at the worker
	slot   int32     // of [Asked]; 0 for none
}

func (p *pending) remember(x expected) {
	if x.proof == "" {
		p.asked.clear(x.slot)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.entries == nil {
		p.entries, p.workers = map[string]*list.Element{}, map[key.ID]int{}
	}
	if p.entries[x.proof] != nil {
		return
	}
	for front := p.order.Front(); front != nil; front = p.order.Front() {
		if p.order.Len() < maxPending && time.Since(front.Value.(expected).at) < pendingMemory {
			break
		}
		p.asked.clear(p.forget(front).slot)
	}
	x.expect.ResponseHash, x.expect.Pulled = "", true // we did not see all of the answer, nor its receipt in time
	p.entries[x.proof] = p.order.PushBack(x)
	p.workers[x.expect.Worker]++
}

func (p *pending) forget(at *list.Element) expected {
	x := at.Value.(expected)
	p.order.Remove(at)
	delete(p.entries, x.proof)
	if p.workers[x.expect.Worker]--; p.workers[x.expect.Worker] == 0 {
		delete(p.workers, x.expect.Worker)
	}
	return x
}

// expectLater remembers a request whose receipt is at p, and lets the next poll
// look there, be it once more.
func (rt *Router) expectLater(p *peer, x expected) {
	rt.pending.remember(x)
	p.lookBehind(x.behind)
}

// lookBehind sets the cursor of receipts back.
func (p *peer) lookBehind(behind int64) {
	p.setBack.Add(1)
	for {
		now := p.receiptsSince.Load()
		if now <= behind || p.receiptsSince.CompareAndSwap(now, behind) {
			return
		}
	}
}

// has reports whether a request to the worker waits for its receipt.
func (p *pending) has(worker key.ID, proof string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.entries[proof]
	return at != nil && at.Value.(expected).expect.Worker == worker
}

// take returns what is expected for a request's signature, and forgets it.
func (p *pending) take(proof string) (expected, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.entries[proof]
	if at == nil {
		return expected{}, false
	}
	return p.forget(at), true
}

// least is behind which number all receipts lie that the worker owes, if it
// owes any.
func (p *pending) least(worker key.ID) (behind int64, any bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.workers[worker] == 0 {
		return 0, false
	}
	behind = math.MaxInt64
	for at := p.order.Front(); at != nil; at = at.Next() {
		if x := at.Value.(expected); x.expect.Worker == worker {
			behind = min(behind, x.behind)
		}
	}
	return behind, true
}

// resume takes up what an earlier run left, less what it kept in the moment
// before it was killed.
func (rt *Router) resume(ctx context.Context) {
	left := rt.Asked.takeLeft()
	if len(left) == 0 {
		return
	}
	var kept []*receipt.Signed
	if rt.Ledger != nil {
		var err error
		if kept, _, err = rt.Ledger.Recent(ctx, keptBefore); err != nil {
			// Receipts that are kept are known by their nonces, too.
			rt.Logger.LogAttrs(ctx, slog.LevelWarn, "cannot look which receipts are kept already", errAttr(err))
		}
	}
	for _, x := range left {
		if rt.Ledger == nil || slices.ContainsFunc(kept, x.answeredBy) {
			rt.Asked.clear(x.slot)
			continue
		}
		x.expect.Requester = rt.Identity.ID()
		rt.pending.remember(x)
	}
}

// answeredBy reports whether s is the receipt, be it one that names no request.
func (x expected) answeredBy(s *receipt.Signed) bool {
	if s.Worker != x.expect.Worker || s.RequestSignature != "" {
		return s.Worker == x.expect.Worker && s.RequestSignature == x.proof
	}
	return s.Model == x.expect.Model && (s.RequestHash == "" || s.RequestHash == x.expect.RequestHash) &&
		s.CompletedAt.After(x.at.Add(-receipt.Window))
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
	behind, any := rt.pending.least(p.ID)
	if !any {
		rt.skip(ctx, p)
		return
	}
	p.receiptsSince.CompareAndSwap(0, behind) // after a restart
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

// noReceipt is a number behind which no receipt lies; a worker answers with that
// of its last one.
const noReceipt = 1 << 53

// skip moves the cursor behind all receipts that are there, since none of them
// is wanted: those of later requests come after them. So what is pulled one day
// is what was made since, and not the whole history.
func (rt *Router) skip(ctx context.Context, p *peer) {
	if !p.moved.CompareAndSwap(true, false) {
		return
	}
	page, err := rt.receiptPage(ctx, p, noReceipt)
	if err != nil {
		rt.Logger.LogAttrs(ctx, slog.LevelDebug, "cannot ask for the last receipt", peerAttr(p), errAttr(err))
		p.moved.Store(true)
		return
	}
	if page.Next < 0 || page.Next >= noReceipt {
		return // it does not tell
	}
	p.receiptsSince.Store(page.Next)
	if behind, any := rt.pending.least(p.ID); any { // a request ended in the meantime
		p.lookBehind(behind)
	}
}

// receiptPage is the answer of GET /receipts?since=SEQ, oldest first.
type receiptPage struct {
	Receipts []json.RawMessage `json:"receipts"`
	Next     int64             `json:"next"`
}

func (rt *Router) receiptPage(ctx context.Context, p *peer, since int64) (page receiptPage, err error) {
	ctx, cancel := context.WithTimeout(ctx, rt.Timeouts.Capacity)
	defer cancel()
	body, err := rt.get(ctx, p, "/receipts", "since="+strconv.FormatInt(since, 10), maxPageBytes)
	if err == nil {
		err = json.Unmarshal(body, &page)
	}
	return page, err
}

func (rt *Router) pullPage(ctx context.Context, p *peer) (more bool, err error) {
	setBack, since := p.setBack.Load(), p.receiptsSince.Load()
	page, err := rt.receiptPage(ctx, p, since)
	if err != nil {
		return false, err
	}
	for _, envelope := range page.Receipts {
		rt.pulled(p, envelope)
	}
	if len(page.Receipts) == 0 && page.Next < since {
		p.receiptsSince.CompareAndSwap(since, 0) // its ledger is another one than it was
		return true, nil
	}
	more = len(page.Receipts) > 0 && page.Next > since
	// If it was set back in the meantime, it stays there, be it where it was before:
	// the ledger may have refused a receipt of this very page.
	p.receiptsSince.CompareAndSwap(since, max(since, page.Next))
	if p.setBack.Load() != setBack {
		p.receiptsSince.CompareAndSwap(max(since, page.Next), since)
		return false, nil // the next poll goes on, since a ledger that refuses would refuse again
	}
	return more, nil
}

// pulled settles an envelope if it is for a request that waits for one.
func (rt *Router) pulled(p *peer, envelope []byte) {
	var peek struct {
		Receipt struct {
			RequestSignature string `json:"requestSignature"`
		} `json:"receipt"`
	}
	if json.Unmarshal(envelope, &peek) != nil {
		return // not one of ours
	}
	if !rt.pending.has(p.ID, peek.Receipt.RequestSignature) {
		return // the most are, so their signatures are not checked again
	}
	if signed, err := receipt.Open(envelope); err == nil {
		rt.settleAwaited(p, signed)
	}
}

// settleEarlier settles the receipt of an answer that a peer gave before, when
// it did not arrive, unless that was pulled in the meantime.
func (rt *Router) settleEarlier(p *peer, text string) {
	if rt.Ledger == nil || text == "" {
		return
	}
	if signed, err := receipt.OpenText(text); err == nil {
		rt.settleAwaited(p, signed)
	}
}

func (rt *Router) settleAwaited(p *peer, signed *receipt.Signed) {
	if signed.Worker != p.ID || !rt.pending.has(p.ID, signed.RequestSignature) {
		return // before anything is forgotten: only the worker itself may answer for its request
	}
	if x, ok := rt.pending.take(signed.RequestSignature); ok {
		rt.settler.put(settlement{peer: p, signed: signed, expected: x})
	}
}
