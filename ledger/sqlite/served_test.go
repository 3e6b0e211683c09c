package sqlite

import (
	"testing"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/ledger/ledgertest"
)

func TestLastServed(t *testing.T) {
	t.Parallel()
	l, _ := openTest(t)
	pair, a, b := l.write.pair, key.Generate(), key.Generate()
	for _, to := range []key.Pair{a, b, a, b, b} {
		if err := l.Append(t.Context(), ledger.Worker, ledgertest.Receipt(t, pair, to.ID().String(), 1, 0, nil)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Append(t.Context(), ledger.Requester, ledgertest.Receipt(t, a, pair.ID().String(), 1, 0, nil)); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[key.ID]int64{a.ID(): 3, b.ID(): 5, key.Generate().ID(): 0} {
		if got, err := l.LastServed(t.Context(), id); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", id.Short(), got, err, want)
		}
	}
}
