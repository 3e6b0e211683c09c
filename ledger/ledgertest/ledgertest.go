// Package ledgertest is the suite that every ledger backend passes: call [Run]
// from the backend's tests. It also makes receipts for tests and benchmarks
// ([Receipt]). Only tests import it.
package ledgertest

import (
	"context"
	"errors"
	"fmt"
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
