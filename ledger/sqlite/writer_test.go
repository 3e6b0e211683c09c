package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/ledger/ledgertest"
	"lobstah/receipt"
)

func openTest(t *testing.T) (*Ledger, key.Pair) {
	t.Helper()
	pair := key.Generate()
	l, err := Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"), pair)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l, pair
}

// pragma runs on the writer's connection, between its transactions.
func (l *Ledger) pragma(t *testing.T, text string) (value int) {
	t.Helper()
	if err := l.write.conn.QueryRowContext(t.Context(), "PRAGMA "+text).Scan(&value); err != nil {
		t.Fatalf("PRAGMA %s: %v", text, err)
	}
	return value
}

func (l *Ledger) one(t *testing.T, pair key.Pair) error {
	t.Helper()
	return l.Append(t.Context(), ledger.Worker, ledgertest.Receipt(t, pair, receipt.Anonymous, 1, 0, nil))
}

// TestDurability holds the settings on which acknowledgements rest.
func TestDurability(t *testing.T) {
	t.Parallel()
	l, _ := openTest(t)
	if got := l.pragma(t, "synchronous"); got != 2 {
		t.Errorf("synchronous is %d, want 2 (FULL)", got)
	}
	if got := l.pragma(t, "fullfsync"); got != 1 {
		t.Errorf("fullfsync is %d, want 1", got)
	}
	var mode string
	if err := l.write.conn.QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
		t.Errorf("journal_mode is %q, %v; want wal", mode, err)
	}
}

// TestFullDisk fills the database to a limit and makes room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	l, pair := openTest(t)
	l.pragma(t, fmt.Sprintf("max_page_count = %d", l.pragma(t, "page_count")+20))
	kept := int64(0)
	var err error
	for err == nil && kept < 1000 {
		if err = l.one(t, pair); err == nil {
			kept++
		}
	}
	if !errors.Is(err, ledger.ErrFull) || kept == 0 {
		t.Fatalf("after %d appends: %v, want ErrFull", kept, err)
	}
	check := func() {
		t.Helper()
		report, err := l.Verify(t.Context())
		if err != nil || !report.OK() || report.Entries != kept {
			t.Errorf("Verify: %d entries, faults %v, %v; want %d", report.Entries, report.Faults, err, kept)
		}
	}
	check()
	l.pragma(t, "max_page_count = 1000000")
	for range 10 {
		if err := l.one(t, pair); err != nil {
			t.Fatalf("after making room: %v", err)
		}
		kept++
	}
	check()
}

// TestBusy holds the file's lock in another connection.
func TestBusy(t *testing.T) {
	t.Parallel()
	l, pair := openTest(t)
	l.pragma(t, "busy_timeout = 1")
	other := openDB(l.path, 1, "mode=rw")
	defer other.Close()
	tx, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	if err := l.one(t, pair); !errors.Is(err, ledger.ErrBusy) {
		t.Errorf("Append: %v, want ErrBusy", err)
	}
	if _, err := l.Balances(t.Context()); err != nil {
		t.Errorf("reading waits for the writer: %v", err)
	}
	if _, err := tx.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := l.one(t, pair); err != nil {
		t.Errorf("Append after the lock is gone: %v", err)
	}
	if err := tx.Close(); err != nil {
		t.Error(err)
	}
}

// TestCheckpointPolicy moves the writer's clock.
func TestCheckpointPolicy(t *testing.T) {
	t.Parallel()
	l, pair := openTest(t)
	// The clock is the goroutine's; sending it a request orders the change.
	now := time.Unix(1_790_000_000, 0)
	signed := func() int64 {
		t.Helper()
		s, err := scanCheckpoint(l.read.QueryRowContext(t.Context(), checkpointQuery))
		if err != nil {
			t.Fatal(err)
		}
		return s.size
	}
	l.write.now = func() time.Time { return now }
	for i, step := range []struct {
		later time.Duration
		want  int64
	}{
		{0, 1}, // none was ever signed, so it is due
		{time.Minute, 1}, {8 * time.Minute, 1}, {time.Minute, 4}, {time.Minute, 4}, {time.Hour, 6},
	} {
		now = now.Add(step.later)
		if err := l.one(t, pair); err != nil {
			t.Fatal(err)
		}
		if got := signed(); got != step.want {
			t.Errorf("after append %d, %d entries are signed, want %d", i+1, got, step.want)
		}
	}
	items := make([]item, ledger.CheckpointEvery)
	for i := range items {
		items[i] = item{side: ledger.Worker, signed: ledgertest.Receipt(t, pair, receipt.Anonymous, 1, 0, nil)}
	}
	if _, err := l.ask(t.Context(), request{items: items}); err != nil {
		t.Fatal(err)
	}
	if got := signed(); got != 6+ledger.CheckpointEvery {
		t.Errorf("%d entries are signed, want %d", got, 6+ledger.CheckpointEvery)
	}
}

// TestMigrations runs every step on an old file, and none twice.
func TestMigrations(t *testing.T) {
	t.Parallel()
	l, _ := openTest(t)
	for range 2 {
		if err := migrate(context.Background(), l.write.conn); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.pragma(t, "user_version"); got != len(migrations) {
		t.Errorf("the version is %d, want %d", got, len(migrations))
	}
}
