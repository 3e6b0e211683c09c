package ledgertest

import (
	"errors"
	"math/rand/v2"
	"testing"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/receipt"
)

// A model is a ledger so simple that it is plainly right: it keeps everything
// and adds up on demand.
type model struct {
	owner   key.ID
	entries []modelEntry
}

type modelEntry struct {
	side     ledger.Side
	signed   *receipt.Signed
	imported bool
}

// append says whether the receipt is news.
func (m *model) append(side ledger.Side, s *receipt.Signed) bool {
	for i, e := range m.entries {
		if e.side != side || e.signed.Nonce != s.Nonce {
			continue
		}
		promoted := e.imported && string(e.signed.Envelope()) == string(s.Envelope())
		m.entries[i].imported = e.imported && !promoted
		return promoted
	}
	m.entries = append(m.entries, modelEntry{side, s, false})
	return true
}

func (m *model) importOne(s *receipt.Signed) bool {
	for _, e := range m.entries {
		if e.signed.Nonce == s.Nonce {
			return false
		}
	}
	m.entries = append(m.entries, modelEntry{ledger.SideOf(m.owner, &s.Receipt), s, true})
	return true
}

// net is earned minus spent of a name over accepted receipts, each nonce once.
func (m *model) net(name string) (net int64) {
	seen := map[string]bool{}
	for _, e := range m.entries {
		if e.imported || seen[e.signed.Nonce] {
			continue
		}
		seen[e.signed.Nonce] = true
		if e.signed.Worker.String() == name {
			net += e.signed.Total()
		}
		if e.signed.Requester == name {
			net -= e.signed.Total()
		}
	}
	return net
}

// testRandom does hundreds of random things to a ledger and a model.
func testRandom(t *testing.T, o Open) {
	p := open(t, o)
	m := &model{owner: p.pair.ID()}
	parties := []key.Pair{p.pair, key.Generate(), key.Generate(), key.Generate()}
	var made []*receipt.Signed
	for range 400 {
		// Half the time something that was there before.
		if len(made) == 0 || rand.IntN(2) == 0 {
			requester := receipt.Anonymous
			if n := rand.IntN(len(parties) + 1); n < len(parties) {
				requester = parties[n].ID().String()
			}
			made = append(made, Receipt(t, parties[rand.IntN(len(parties))], requester, rand.Int64N(100), rand.Int64N(100), nil))
		}
		s := made[rand.IntN(len(made))]
		side := ledger.Side(1 + rand.IntN(2))
		switch {
		case rand.IntN(3) == 0:
			sum, _ := p.importLines(string(s.Envelope()))
			if news := m.importOne(s); (sum.Imported == 1) != news {
				t.Fatalf("importing gave %+v, the model says news %t", sum, news)
			}
		case ledger.CheckSide(p.pair.ID(), side, &s.Receipt) == nil:
			err := p.Append(t.Context(), side, s)
			if news := m.append(side, s); news != (err == nil) || err != nil && !errors.Is(err, ledger.ErrDuplicate) {
				t.Fatalf("appending gave %v, the model says news %t", err, news)
			}
		}
	}
	for _, pair := range parties[1:] {
		net := m.net(pair.ID().String())
		p.wantOwed(pair.ID(), -net)
		p.wantAvailable(pair.ID(), ledger.Allowance+net)
	}
	if got, want := p.summary().Self.Net(), m.net(p.name()); got != want {
		t.Errorf("our net is %d, want %d", got, want)
	}
	p.wantSound(int64(len(m.entries)))
}
