package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"

	"lobstah/ledger"
	"lobstah/ledger/ledgertest"
	"lobstah/receipt"
)

// note is a change of a table that is not the ledger's; then is its end.
func note(text string, then error) Change {
	return func(ctx context.Context, tx *sql.Conn) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO note (text) VALUES (?)", text); err != nil {
			return err
		}
		return then
	}
}

func openNotes(t *testing.T) (*Ledger, func() string) {
	t.Helper()
	l, _ := openTest(t)
	err := l.Update(t.Context(), func(ctx context.Context, tx *sql.Conn) error {
		_, err := tx.ExecContext(ctx, "CREATE TABLE note (text TEXT NOT NULL UNIQUE)")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return l, func() (list string) {
		t.Helper()
		if err := l.Reading().QueryRowContext(t.Context(), "SELECT coalesce(group_concat(text), '') FROM note").Scan(&list); err != nil {
			t.Fatal(err)
		}
		return list
	}
}

// A change and its receipt are kept together or not at all, and what fails does
// so alone.
func TestUpdate(t *testing.T) {
	t.Parallel()
	l, notes := openNotes(t)
	pair := l.write.pair
	ours := errors.New("no")
	first := ledgertest.Receipt(t, pair, receipt.Anonymous, 1, 0, nil)
	second := ledgertest.Receipt(t, pair, receipt.Anonymous, 2, 0, nil)
	for _, test := range []struct {
		name  string
		do    func() error
		want  error
		notes string
		size  int64
	}{
		{"a change", func() error { return l.Update(t.Context(), note("a", nil)) }, nil, "a", 0},
		{"one that fails", func() error { return l.Update(t.Context(), note("b", ours)) }, ours, "a", 0},
		{"with a receipt", func() error { return l.AppendWith(t.Context(), ledger.Worker, first, note("c", nil)) }, nil, "a,c", 1},
		{"with the same receipt", func() error { return l.AppendWith(t.Context(), ledger.Worker, first, note("d", nil)) }, ledger.ErrDuplicate, "a,c", 1},
		{"failing with a receipt", func() error { return l.AppendWith(t.Context(), ledger.Worker, second, note("e", ours)) }, ours, "a,c", 1},
		{"and again, well", func() error { return l.AppendWith(t.Context(), ledger.Worker, second, note("f", nil)) }, nil, "a,c,f", 2},
		{"on a side that is not ours", func() error { return l.AppendWith(t.Context(), ledger.Requester, second, note("g", nil)) }, ledger.ErrNotOurs, "a,c,f", 2},
	} {
		if err := test.do(); !errors.Is(err, test.want) {
			t.Errorf("%s: %v; want %v", test.name, err, test.want)
		}
		sum, err := l.Balances(t.Context())
		if got := notes(); err != nil || got != test.notes || sum.Receipts != test.size {
			t.Errorf("%s: notes %q, %d receipts, %v; want %q and %d", test.name, got, sum.Receipts, err, test.notes, test.size)
		}
	}
	if err := l.Update(t.Context(), note("a", nil)); err == nil {
		t.Error("a violated constraint is no error")
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Update(done, note("z", nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that ended: %v", err)
	}
	if report, err := l.Verify(t.Context()); err != nil || !report.OK() {
		t.Errorf("Verify: %+v, %v", report, err)
	}
}

// Appends and changes from many goroutines, some of which fail, leave a sound
// ledger.
func TestUpdatesAtOnce(t *testing.T) {
	t.Parallel()
	l, _ := openNotes(t)
	pair := l.write.pair
	const each = 40
	ours := errors.New("no")
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range each {
				s := ledgertest.Receipt(t, pair, receipt.Anonymous, 1, 0, nil)
				text := fmt.Sprint(n, ".", i)
				var err, want error
				switch i % 4 {
				case 0:
					err = l.Append(t.Context(), ledger.Worker, s)
				case 1:
					err = l.AppendWith(t.Context(), ledger.Worker, s, note(text, nil))
				case 2:
					err, want = l.AppendWith(t.Context(), ledger.Worker, s, note(text, ours)), ours
				case 3:
					err = l.Update(t.Context(), note(text, nil))
				}
				if !errors.Is(err, want) {
					t.Errorf("%s: %v; want %v", text, err, want)
				}
			}
		})
	}
	wg.Wait()
	var notes int
	if err := l.Reading().QueryRowContext(t.Context(), "SELECT count(*) FROM note").Scan(&notes); err != nil || notes != 8*each/2 {
		t.Errorf("%d notes, %v; want %d", notes, err, 8*each/2)
	}
	report, err := l.Verify(t.Context())
	if err != nil || !report.OK() || report.Entries != 8*each/2 {
		t.Errorf("Verify: %+v, %v; want %d entries", report, err, 8*each/2)
	}
}
