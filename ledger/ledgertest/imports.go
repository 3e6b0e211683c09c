package ledgertest

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/receipt"
)

func testImportMintsNothing(t *testing.T, o Open) {
	p, a, b := open(t, o), key.Generate(), key.Generate()
	text := strings.Join([]string{
		string(Receipt(t, a, b.ID().String(), 500, 0, nil).Envelope()), // between others
		string(Receipt(t, a, p.name(), 70, 0, nil).Envelope()),
		string(Receipt(t, p.pair, b.ID().String(), 8, 0, nil).Envelope()),
	}, "\r\n")
	sum, lines := p.importLines(text)
	if want := (ledger.Imported{Lines: 3, Imported: 3}); sum != want || len(lines) != 3 {
		t.Fatalf("Import = %+v, want %+v", sum, want)
	}
	p.wantAvailable(a.ID(), ledger.Allowance)
	p.wantAvailable(b.ID(), ledger.Allowance)
	p.wantOwed(a.ID(), 0)
	p.wantOwed(b.ID(), 0)
	s := p.summary()
	if s.Receipts != 0 || s.Tokens != 0 || s.Self.Tally != (ledger.Tally{}) {
		t.Errorf("imports count: %+v", s)
	}
	for name, want := range map[string]ledger.Tally{
		a.ID().String(): {Earned: 570, Served: 2},
		b.ID().String(): {Spent: 508, Asked: 2},
	} {
		if got := p.account(name).Imported; got != want {
			t.Errorf("imported tally is %+v, want %+v", got, want)
		}
	}
	list, err := p.List(t.Context(), ledger.Filter{Ascending: true})
	if err != nil {
		t.Fatal(err)
	}
	var sides []ledger.Side
	for _, e := range list {
		sides = append(sides, e.Side)
		if !e.Imported {
			t.Errorf("entry %d is not marked as imported", e.Seq)
		}
	}
	if want := []ledger.Side{ledger.Other, ledger.Requester, ledger.Worker}; !slices.Equal(sides, want) {
		t.Errorf("sides are %v, want %v", sides, want)
	}
	if r := p.wantSound(3); r.Imported != 3 {
		t.Errorf("the report says %d imported", r.Imported)
	}
}

func testImportThenAccept(t *testing.T, o Open) {
	p, peer := open(t, o), key.Generate()
	s := Receipt(t, peer, p.name(), 70, 5, Bind)
	p.importLines(string(s.Envelope()))
	other := Receipt(t, peer, p.name(), 700, 5, func(r *receipt.Receipt) { r.Nonce = s.Nonce })
	if err := p.Append(t.Context(), ledger.Requester, other); !errors.Is(err, ledger.ErrDuplicate) {
		t.Errorf("another receipt with an imported nonce: %v, want ErrDuplicate", err)
	}
	p.append(ledger.Requester, s)
	p.wantOwed(peer.ID(), -75)
	a := p.account(peer.ID().String())
	if want := (ledger.Tally{Earned: 75, Served: 1}); a.Tally != want || a.Imported != (ledger.Tally{}) || !a.Bound {
		t.Errorf("the account is %+v", a)
	}
	if err := p.Append(t.Context(), ledger.Requester, s); !errors.Is(err, ledger.ErrDuplicate) {
		t.Errorf("accepted twice: %v, want ErrDuplicate", err)
	}
	// An import on one side does not hide what is accepted on the other.
	self := Receipt(t, p.pair, p.name(), 9, 0, nil)
	p.importLines(string(self.Envelope()))
	p.append(ledger.Requester, self)
	if got := p.summary().Self.SelfServed.Earned; got != 9 {
		t.Errorf("self-served tokens are %d, want 9", got)
	}
	p.append(ledger.Worker, self) // the import, accepted now, counts no more
	if got := p.summary().Self; got.SelfServed.Earned != 9 || got.Imported != (ledger.Tally{}) {
		t.Errorf("our account is %+v, want the nonce once and nothing imported", got)
	}
	p.wantSound(3)
}

func testExportImport(t *testing.T, o Open) {
	p, peer := open(t, o), key.Generate()
	const n = 600 // more than two batches
	for i := range n {
		if i%2 == 0 {
			p.served(peer.ID().String(), 1, nil)
		} else {
			p.asked(peer, 1, nil)
		}
	}
	var text bytes.Buffer
	out, err := p.Export(t.Context(), &text)
	if err != nil || out.Written != n || out.Unreadable != 0 {
		t.Fatalf("Export = %+v, %v; want %d lines", out, err, n)
	}
	sum, _ := p.importLines(text.String())
	if want := (ledger.Imported{Lines: n, Duplicates: n}); sum != want {
		t.Errorf("importing our own export gave %+v, want %+v", sum, want)
	}
	p.wantSound(n)
}
