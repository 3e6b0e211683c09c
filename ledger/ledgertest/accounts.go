package ledgertest

import (
	"errors"
	"testing"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/receipt"
)

func testAccounts(t *testing.T, o Open) {
	p, peer := open(t, o), key.Generate()
	p.wantOwed(peer.ID(), 0)
	p.wantAvailable(peer.ID(), ledger.Allowance)
	p.served(peer.ID().String(), 700, nil)
	p.served(peer.ID().String(), 50, nil)
	p.asked(peer, 300, nil)
	p.wantOwed(peer.ID(), 450)
	p.wantAvailable(peer.ID(), ledger.Allowance-450)
	want := ledger.Tally{Earned: 300, Spent: 750, Served: 1, Asked: 2}
	if got := p.account(peer.ID().String()).Tally; got != want {
		t.Errorf("the peer's account is %+v, want %+v", got, want)
	}
	s := p.summary()
	want = ledger.Tally{Earned: 750, Spent: 300, Served: 2, Asked: 1}
	if s.Self.Tally != want || s.Self.Net() != 450 {
		t.Errorf("our account is %+v, want %+v", s.Self.Tally, want)
	}
	if s.Receipts != 3 || s.Tokens != 1050 || s.Owner != p.pair.ID() {
		t.Errorf("totals are %d receipts, %d tokens of %s; want 3, 1050", s.Receipts, s.Tokens, s.Owner)
	}
	p.served(peer.ID().String(), 11_000, nil)
	p.wantAvailable(peer.ID(), ledger.Allowance-11_450)
	p.wantSound(4)
}

func testSides(t *testing.T, o Open) {
	p, peer := open(t, o), key.Generate()
	ours := Receipt(t, p.pair, peer.ID().String(), 1, 1, nil)
	theirs := Receipt(t, peer, p.name(), 1, 1, nil)
	strangers := Receipt(t, peer, key.Generate().ID().String(), 1, 1, nil)
	for _, wrong := range []struct {
		side ledger.Side
		s    *receipt.Signed
	}{{ledger.Requester, ours}, {ledger.Worker, theirs}, {ledger.Worker, strangers}, {ledger.Requester, strangers}, {ledger.Other, strangers}, {0, ours}} {
		if err := p.Append(t.Context(), wrong.side, wrong.s); !errors.Is(err, ledger.ErrNotOurs) {
			t.Errorf("Append on the %s side: %v, want ErrNotOurs", wrong.side, err)
		}
	}
	p.wantSound(0)
}

func testDuplicates(t *testing.T, o Open) {
	p, peer := open(t, o), key.Generate()
	s := p.served(peer.ID().String(), 10, nil)
	again := Receipt(t, p.pair, peer.ID().String(), 99, 0, func(r *receipt.Receipt) { r.Nonce = s.Nonce })
	for _, dup := range []*receipt.Signed{s, again} {
		if err := p.Append(t.Context(), ledger.Worker, dup); !errors.Is(err, ledger.ErrDuplicate) {
			t.Errorf("a second receipt with the nonce: %v, want ErrDuplicate", err)
		}
	}
	if sum, _ := p.importLines(string(s.Envelope()) + "\n"); sum.Duplicates != 1 {
		t.Errorf("importing what is there gave %+v", sum)
	}
	// The nonce on the other side is another entry that counts no more.
	p.asked(peer, 10, func(r *receipt.Receipt) { r.Nonce = s.Nonce })
	p.wantOwed(peer.ID(), 10)
	p.wantSound(2)
}

func testSelfServed(t *testing.T, o Open) {
	p := open(t, o)
	s := p.served(p.name(), 40, Bind)
	p.append(ledger.Requester, s)
	sum := p.summary()
	if sum.Self.Tally != (ledger.Tally{}) || len(sum.Peers) != 0 {
		t.Errorf("self-served tokens count as a debt: %+v", sum)
	}
	if want := (ledger.Tally{Earned: 40, Spent: 40, Served: 1, Asked: 1}); sum.Self.SelfServed != want {
		t.Errorf("self-served is %+v, want %+v", sum.Self.SelfServed, want)
	}
	if sum.Receipts != 1 || sum.Tokens != 40 {
		t.Errorf("totals are %d receipts, %d tokens; want each nonce once", sum.Receipts, sum.Tokens)
	}
	p.wantOwed(p.pair.ID(), 0)
	p.wantAvailable(p.pair.ID(), ledger.Allowance)
	p.wantSound(2)
}

func testAnonymous(t *testing.T, o Open) {
	p := open(t, o)
	p.served(receipt.Anonymous, 30, nil)
	a := p.account(receipt.Anonymous)
	if want := (ledger.Tally{Spent: 30, Asked: 1}); a.Tally != want {
		t.Errorf("the anonymous account is %+v, want %+v", a.Tally, want)
	}
	if owed := p.summary().Owed(a); owed != 0 {
		t.Errorf("anonymous requesters owe %d; nobody can be asked", owed)
	}
	got, err := p.List(t.Context(), ledger.Filter{Peer: receipt.Anonymous})
	if err != nil || len(got) != 1 {
		t.Errorf("List of anonymous: %d entries, %v", len(got), err)
	}
}

func testBound(t *testing.T, o Open) {
	p, binds, never, imported := open(t, o), key.Generate(), key.Generate(), key.Generate()
	p.asked(binds, 1, Bind)
	p.asked(binds, 1, nil)
	p.asked(never, 1, nil)
	p.served(never.ID().String(), 1, Bind) // ours, which says nothing of theirs
	p.importLines(string(Receipt(t, imported, p.name(), 1, 1, Bind).Envelope()))
	for worker, want := range map[key.ID]bool{binds.ID(): true, never.ID(): false, imported.ID(): false, key.Generate().ID(): false, p.pair.ID(): false} {
		if got, err := p.Bound(t.Context(), worker); got != want || err != nil {
			t.Errorf("Bound = %t, %v; want %t", got, err, want)
		}
	}
	p.wantSound(5)
}

// testHugeCounts has a peer claim the most tokens that a receipt can.
func testHugeCounts(t *testing.T, o Open) {
	p, peer := open(t, o), key.Generate()
	const most = 1 << 40
	for range 3 {
		s := Receipt(t, peer, p.name(), most, most, nil)
		p.append(ledger.Requester, s)
	}
	p.wantOwed(peer.ID(), -6*most)
	p.wantSound(3)
}
