package ledgertest

import (
	"bytes"
	"embed"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/receipt"
)

//go:embed testdata
var testdata embed.FS

func recorded(t *testing.T, name string) string {
	t.Helper()
	data, err := testdata.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// recordedPair returns the recording's worker (0x11) or router (0x22).
func recordedPair(b byte) key.Pair {
	return key.FromSeed([32]byte(bytes.Repeat([]byte{b}, 32)))
}

// originalBalance is how the original states one account.
type originalBalance struct {
	Pubkey                                  string
	Earned, Spent, Net, Available, Receipts int64
}

type originalBalances struct {
	Totals  originalBalance
	PerPeer []originalBalance
}

func recordedBalances(t *testing.T, name string) (b originalBalances) {
	t.Helper()
	if err := json.Unmarshal([]byte(recorded(t, name)), &b); err != nil {
		t.Fatal(err)
	}
	return b
}

// testOriginalLedgers imports what the original wrote and exports it again.
func testOriginalLedgers(t *testing.T, o Open) {
	p := reopen(t, o, recordedPair(0x11))
	worker, router := recorded(t, "worker_ledger.jsonl"), recorded(t, "router_ledger.jsonl")
	sum, _ := p.importLines(worker)
	if want := (ledger.Imported{Lines: 8, Imported: 8}); sum != want {
		t.Errorf("the worker's ledger gave %+v, want %+v", sum, want)
	}
	// The router's receipts are a subset: the original keeps them twice.
	sum, _ = p.importLines(router)
	if want := (ledger.Imported{Lines: 3, Duplicates: 3}); sum != want {
		t.Errorf("the router's ledger gave %+v, want %+v", sum, want)
	}
	self := p.summary().Self
	if self.Tally != (ledger.Tally{}) || self.Imported != (ledger.Tally{Earned: 72, Served: 8}) {
		t.Errorf("the worker's account is %+v", self)
	}
	var out bytes.Buffer
	if _, err := p.Export(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	got, want := lines(t, out.String()), lines(t, worker)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("exported\n%s\nwant the same JSON as\n%s", out.String(), worker)
	}
	p.wantSound(8)
}

// lines parses JSON Lines.
func lines(t *testing.T, text string) (list []any) {
	t.Helper()
	for line := range strings.Lines(text) {
		var v any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return list
}

// testOriginalImportBalance compares the sums of an import with the original's
// balances over the same file, forged line included.
func testOriginalImportBalance(t *testing.T, o Open) {
	p := open(t, o)
	sum, outcome := p.importLines(recorded(t, "balance_ledger.jsonl"))
	if want := (ledger.Imported{Lines: 3, Imported: 2, Refused: 1}); sum != want {
		t.Errorf("Import = %+v, want %+v", sum, want)
	}
	if len(outcome) != 3 {
		t.Fatalf("%d lines were told, want 3", len(outcome))
	}
	for _, line := range outcome {
		if refused := line.Status == ledger.LineRefused; refused != (line.Number == 3) || refused != (line.Reason != "") {
			t.Errorf("line %d was %s: %s", line.Number, line.Status, line.Reason)
		}
	}
	for _, want := range recordedBalances(t, "balance.json").PerPeer {
		got := p.account(want.Pubkey)
		if got.Imported.Earned != want.Earned || got.Imported.Spent != want.Spent || got.Imported.Available() != want.Available {
			t.Errorf("imported tally is %+v, the original says %+v", got.Imported, want)
		}
		if got.Tally != (ledger.Tally{}) {
			t.Errorf("the import counts: %+v", got.Tally)
		}
	}
}

// testOriginalBalance accepts the receipts of the original's router, one by
// one, and compares with what it answered to GET /balance.
func testOriginalBalance(t *testing.T, o Open) {
	p := reopen(t, o, recordedPair(0x22))
	for line := range strings.Lines(recorded(t, "router_ledger.jsonl")) {
		s, err := receipt.Open([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		p.append(ledger.Requester, s)
	}
	want, got := recordedBalances(t, "router_balance.json"), p.summary()
	if got.Receipts != want.Totals.Receipts || got.Tokens != want.Totals.Earned {
		t.Errorf("totals are %d receipts, %d tokens; the original says %+v", got.Receipts, got.Tokens, want.Totals)
	}
	accounts := append(got.Peers, got.Self)
	if len(accounts) != len(want.PerPeer) {
		t.Fatalf("%d accounts, the original has %d", len(accounts), len(want.PerPeer))
	}
	for i, w := range want.PerPeer {
		a := accounts[i]
		if a.Name != w.Pubkey || a.Earned != w.Earned || a.Spent != w.Spent || a.Net() != w.Net || a.Available() != w.Available {
			t.Errorf("account %d is %+v, the original says %+v", i, a, w)
		}
	}
	p.wantSound(3)
}
