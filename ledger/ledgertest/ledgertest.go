// Package ledgertest is the suite that every ledger backend passes: call [Run]
// from the backend's tests. It also makes receipts for tests and benchmarks
// ([Receipt]). Only tests import it.
package ledgertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/receipt"
)

// An Open opens one test's ledger for pair; called again in the same test, it
// opens the same one once more, after the first was closed.
type Open func(t *testing.T, pair key.Pair) ledger.Ledger

// Run runs the suite; start is called once for each test and returns its Open.
func Run(t *testing.T, start func(t *testing.T) Open) {
	for name, test := range map[string]func(*testing.T, Open){
		"Accounts":           testAccounts,
		"Sides":              testSides,
		"Duplicates":         testDuplicates,
		"SelfServed":         testSelfServed,
		"Anonymous":          testAnonymous,
		"Bound":              testBound,
		"ImportMintsNothing": testImportMintsNothing,
		"ImportThenAccept":   testImportThenAccept,
		"Lists":              testLists,
		"Since":              testSince,
		"Concurrent":         testConcurrent,
		"Proofs":             testProofs,
		"ExportImport":       testExportImport,
		"Reopen":             testReopen,
		"Closed":             testClosed,
		"HugeCounts":         testHugeCounts,
		"Random":             testRandom,
		"OriginalLedgers":    testOriginalLedgers,
		"OriginalImport":     testOriginalImportBalance,
		"OriginalBalance":    testOriginalBalance,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t))
		})
	}
}

// party is one ledger with its owner's pair.
type party struct {
	ledger.Ledger
	pair key.Pair
	t    *testing.T
}

func open(t *testing.T, open Open) party {
	t.Helper()
	pair := key.Generate()
	return reopen(t, open, pair)
}

func reopen(t *testing.T, open Open, pair key.Pair) party {
	t.Helper()
	l := open(t, pair)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return party{l, pair, t}
}

func (p party) name() string { return p.pair.ID().String() }

// served makes and appends a receipt of ours for requester.
func (p party) served(requester string, tokens int64, change func(*receipt.Receipt)) *receipt.Signed {
	p.t.Helper()
	s := Receipt(p.t, p.pair, requester, tokens, 0, change)
	p.append(ledger.Worker, s)
	return s
}

// asked makes and appends a receipt of worker for us.
func (p party) asked(worker key.Pair, tokens int64, change func(*receipt.Receipt)) *receipt.Signed {
	p.t.Helper()
	s := Receipt(p.t, worker, p.name(), tokens, 0, change)
	p.append(ledger.Requester, s)
	return s
}

func (p party) append(side ledger.Side, s *receipt.Signed) {
	p.t.Helper()
	if err := p.Append(p.t.Context(), side, s); err != nil {
		p.t.Fatalf("Append: %v", err)
	}
}

func (p party) summary() ledger.Summary {
	p.t.Helper()
	s, err := p.Balances(p.t.Context())
	if err != nil {
		p.t.Fatalf("Balances: %v", err)
	}
	return s
}

// account returns a peer's account, the zero one when it has none.
func (p party) account(name string) ledger.Account {
	p.t.Helper()
	for _, a := range p.summary().Peers {
		if a.Name == name {
			return a
		}
	}
	return ledger.Account{Name: name}
}

func (p party) wantOwed(peer key.ID, want int64) {
	p.t.Helper()
	got, err := p.Owed(p.t.Context(), peer)
	if err != nil || got != want {
		p.t.Errorf("Owed = %d, %v; want %d", got, err, want)
	}
}

func (p party) wantAvailable(peer key.ID, want int64) {
	p.t.Helper()
	got, err := p.Available(p.t.Context(), peer)
	if err != nil || got != want {
		p.t.Errorf("Available = %d, %v; want %d", got, err, want)
	}
}

// wantSound runs Verify.
func (p party) wantSound(entries int64) ledger.Report {
	p.t.Helper()
	r, err := p.Verify(p.t.Context())
	if err != nil {
		p.t.Fatalf("Verify: %v", err)
	}
	if !r.OK() || r.Entries != entries {
		p.t.Errorf("Verify: %d entries (want %d), faults %v", r.Entries, entries, r.Faults)
	}
	return r
}

func (p party) importLines(text string) (ledger.Imported, []ledger.Line) {
	p.t.Helper()
	var lines []ledger.Line
	sum, err := p.Import(p.t.Context(), strings.NewReader(text), func(l ledger.Line) { lines = append(lines, l) })
	if err != nil {
		p.t.Fatalf("Import: %v", err)
	}
	return sum, lines
}

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

func testConcurrent(t *testing.T, o Open) {
	p := open(t, o)
	const appenders, each = 16, 40
	peers := []key.Pair{key.Generate(), key.Generate(), key.Generate()}
	var wg sync.WaitGroup
	for n := range appenders {
		wg.Go(func() {
			for i := range each {
				s := Receipt(t, p.pair, peers[(n+i)%len(peers)].ID().String(), 1, 0, nil)
				if err := p.Append(t.Context(), ledger.Worker, s); err != nil {
					t.Errorf("Append: %v", err)
				}
				if err := p.Append(t.Context(), ledger.Worker, s); !errors.Is(err, ledger.ErrDuplicate) {
					t.Errorf("Append again: %v", err)
				}
			}
		})
		wg.Go(func() {
			for range each {
				if _, err := p.Balances(t.Context()); err != nil {
					t.Errorf("Balances: %v", err)
				}
				if _, err := p.Recent(t.Context(), 3); err != nil {
					t.Errorf("Recent: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if got := p.summary().Self.Earned; got != appenders*each {
		t.Errorf("earned %d, want %d", got, appenders*each)
	}
	p.wantSound(appenders * each)
}

func testProofs(t *testing.T, o Open) {
	p := open(t, o)
	ctx := t.Context()
	first, err := p.Checkpoint(ctx)
	if err != nil {
		t.Fatalf("Checkpoint of an empty ledger: %v", err)
	}
	if c, err := ledger.OpenCheckpoint(p.pair.ID(), first); err != nil || c.Size != 0 {
		t.Fatalf("the first checkpoint is %+v, %v", c, err)
	}
	var signed []*receipt.Signed
	var older []ledger.Checkpoint
	for size := 1; size <= 20; size++ {
		signed = append(signed, p.served(receipt.Anonymous, int64(size), nil))
		note, err := p.Checkpoint(ctx)
		if err != nil {
			t.Fatal(err)
		}
		c, err := ledger.OpenCheckpoint(p.pair.ID(), note)
		if err != nil || c.Size != int64(size) {
			t.Fatalf("checkpoint of %d entries is %+v, %v", size, c, err)
		}
		older = append(older, c)
	}
	for i, s := range signed {
		proof, err := p.Inclusion(ctx, int64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		got, err := proof.Verify(p.pair.ID())
		if err != nil || got.Nonce != s.Nonce {
			t.Errorf("the proof of entry %d: %v", i+1, err)
		}
		growth, err := p.Consistency(ctx, older[i].Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := growth.Verify(p.pair.ID(), older[i]); err != nil {
			t.Errorf("the growth from %d: %v", older[i].Size, err)
		}
	}
	byNonce, err := p.InclusionOf(ctx, ledger.Worker, signed[7].Nonce)
	if err != nil || byNonce.Index != 7 {
		t.Errorf("InclusionOf = leaf %d, %v; want 7", byNonce.Index, err)
	}
	if _, err := p.InclusionOf(ctx, ledger.Requester, signed[7].Nonce); !errors.Is(err, ledger.ErrNoEntry) {
		t.Errorf("InclusionOf the other side: %v, want ErrNoEntry", err)
	}
	if _, err := p.Inclusion(ctx, 21); !errors.Is(err, ledger.ErrNoEntry) {
		t.Errorf("Inclusion of entry 21: %v, want ErrNoEntry", err)
	}
	if _, err := p.Consistency(ctx, 21); !errors.Is(err, ledger.ErrNoEntry) {
		t.Errorf("Consistency from 21: %v, want ErrNoEntry", err)
	}
	if r := p.wantSound(20); r.Signed != 20 {
		t.Errorf("%d entries are under a checkpoint, want 20", r.Signed)
	}
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

func testReopen(t *testing.T, o Open) {
	pair, peer := key.Generate(), key.Generate()
	const n = 300 // past one tile
	for round := range 3 {
		p := party{o(t, pair), pair, t}
		for range n {
			p.served(peer.ID().String(), 2, nil)
		}
		if err := p.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		p = party{o(t, pair), pair, t}
		p.wantOwed(peer.ID(), int64(round+1)*2*n)
		if r := p.wantSound(int64(round+1) * n); r.Signed != r.Entries {
			t.Errorf("closing left %d of %d entries unsigned", r.Entries-r.Signed, r.Entries)
		}
		if err := p.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
}

func testClosed(t *testing.T, o Open) {
	pair := key.Generate()
	l := o(t, pair)
	var wg sync.WaitGroup
	for range 8 { // Close waits for these or refuses them, and never hangs
		wg.Go(func() {
			err := l.Append(t.Context(), ledger.Worker, Receipt(t, pair, receipt.Anonymous, 1, 0, nil))
			if err != nil && !errors.Is(err, ledger.ErrClosed) {
				t.Errorf("Append beside Close: %v", err)
			}
		})
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
	err := l.Append(t.Context(), ledger.Worker, Receipt(t, pair, receipt.Anonymous, 1, 0, nil))
	if !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("Append after Close: %v, want ErrClosed", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fmt.Errorf("gone"))
	if err := l.Append(ctx, ledger.Worker, Receipt(t, pair, receipt.Anonymous, 1, 0, nil)); err == nil {
		t.Error("Append with a cancelled context succeeded")
	}
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
