package sqlite_test

import (
	"path/filepath"
	"testing"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/ledger/ledgertest"
	"lobstah/ledger/sqlite"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	ledgertest.Run(t, func(t *testing.T) ledgertest.Open {
		path := filepath.Join(t.TempDir(), "ledger.db")
		return func(t *testing.T, pair key.Pair) ledger.Ledger {
			l, err := sqlite.Open(t.Context(), path, pair)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
	})
}
