package ledgertest

import (
	"bytes"
	"slices"
	"testing"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/receipt"
)

func testLists(t *testing.T, o Open) {
	p, a, b := open(t, o), key.Generate(), key.Generate()
	later := func(r *receipt.Receipt) { r.CompletedAt = Completed.Add(1e9); r.Model = "qwen2.5:7b" }
	p.served(a.ID().String(), 1, nil)           // 1
	p.asked(a, 2, later)                        // 2
	p.served(b.ID().String(), 3, later)         // 3
	p.asked(b, 4, nil)                          // 4
	last := p.served(receipt.Anonymous, 5, nil) // 5
	for name, test := range map[string]struct {
		f    ledger.Filter
		want []int64
	}{
		"all":       {ledger.Filter{}, []int64{5, 4, 3, 2, 1}},
		"limit":     {ledger.Filter{Limit: 2}, []int64{5, 4}},
		"ascending": {ledger.Filter{Limit: 2, Ascending: true}, []int64{1, 2}},
		"after":     {ledger.Filter{AfterSeq: 3}, []int64{5, 4}},
		"before":    {ledger.Filter{BeforeSeq: 4, Limit: 2}, []int64{3, 2}},
		"peer":      {ledger.Filter{Peer: a.ID().String()}, []int64{2, 1}},
		"no peer":   {ledger.Filter{Peer: key.Generate().ID().String()}, nil},
		"side":      {ledger.Filter{Side: ledger.Requester}, []int64{4, 2}},
		"model":     {ledger.Filter{Model: "qwen2.5:7b"}, []int64{3, 2}},
		"both":      {ledger.Filter{Model: "qwen2.5:7b", Peer: b.ID().String()}, []int64{3}},
		"since":     {ledger.Filter{After: Completed.Add(1e9)}, []int64{3, 2}},
		"until":     {ledger.Filter{Before: Completed.Add(1e9)}, []int64{5, 4, 1}},
	} {
		got, err := p.List(t.Context(), test.f)
		if err != nil || !slices.Equal(seqs(got), test.want) {
			t.Errorf("%s: entries %v, %v; want %v", name, seqs(got), err, test.want)
		}
	}
	recent, err := p.Recent(t.Context(), 1)
	if err != nil || len(recent) != 1 {
		t.Fatalf("Recent: %d entries, %v", len(recent), err)
	}
	e := recent[0]
	if !bytes.Equal(e.Signed.Envelope(), last.Envelope()) || e.Side != ledger.Worker || e.Imported || e.At.IsZero() {
		t.Errorf("the newest entry is %+v", e)
	}
}

func seqs(list []ledger.Entry) (n []int64) {
	for _, e := range list {
		n = append(n, e.Seq)
	}
	return n
}

func testSince(t *testing.T, o Open) {
	p, a, b := open(t, o), key.Generate(), key.Generate()
	p.served(a.ID().String(), 1, nil) // 1
	p.served(b.ID().String(), 1, nil) // 2
	p.asked(a, 1, nil)                // 3
	p.served(a.ID().String(), 1, nil) // 4
	p.served(a.ID().String(), 1, nil) // 5
	for _, test := range []struct {
		who   key.ID
		after int64
		limit int
		want  []int64
	}{
		{a.ID(), 0, 10, []int64{1, 4, 5}}, {a.ID(), 1, 1, []int64{4}}, {a.ID(), 5, 10, nil},
		{b.ID(), 0, 10, []int64{2}}, {key.Generate().ID(), 0, 10, nil},
	} {
		got, err := p.Since(t.Context(), test.who, test.after, test.limit)
		if err != nil || !slices.Equal(seqs(got), test.want) {
			t.Errorf("Since(%d, %d): entries %v, %v; want %v", test.after, test.limit, seqs(got), err, test.want)
		}
	}
}
