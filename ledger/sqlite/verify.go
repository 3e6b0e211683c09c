package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"lobstah/ledger"
)

const pageSize = 1024 // rows held in memory at a time

// Verify checks everything in one snapshot; see [ledger.Ledger]. What is too
// damaged to be read is a fault in the report, not an error.
func (l *Ledger) Verify(ctx context.Context) (ledger.Report, error) {
	tx, err := l.read.BeginTx(ctx, nil)
	if err != nil {
		return ledger.Report{}, l.explain("verify", err)
	}
	defer tx.Rollback() // it only read
	audit := ledger.NewAudit(l.owner, l.tiles(ctx, tx))
	var root tlog.Hash
	var size int64
	var accounts []ledger.Account
	for _, step := range []func() error{
		func() error { return checkFile(ctx, tx, audit) },
		func() error { return checkNonces(ctx, tx, audit) },
		func() error { return checkEntries(ctx, tx, audit) },
		func() error { return checkBeyond(ctx, tx, audit) },
		func() (err error) { accounts, err = readAccounts(ctx, tx); return err },
		func() (err error) { size, root, err = readBook(ctx, tx); return err },
	} {
		if err := step(); isDamage(err) {
			audit.Fault(ledger.Fault{Reason: err.Error()})
		} else if err != nil {
			return ledger.Report{}, l.explain("verify", err)
		}
	}
	return audit.Finish(size, root, accounts), nil
}

func readBook(ctx context.Context, db querier) (size int64, root tlog.Hash, err error) {
	var raw []byte
	err = db.QueryRowContext(ctx, "SELECT size, root FROM book WHERE id = 1").Scan(&size, &raw)
	copy(root[:], raw)
	return size, root, err
}

// checkFile lets SQLite check pages, indexes and uniqueness.
func checkFile(ctx context.Context, db querier, audit *ledger.Audit) error {
	return each(ctx, db, func(rows *sql.Rows) error {
		var text string
		err := rows.Scan(&text)
		if err == nil && text != "ok" {
			audit.Fault(ledger.Fault{Reason: "the database file: " + text})
		}
		return err
	}, "PRAGMA integrity_check(20)")
}

// checkNonces finds nonces that count twice, or not at all.
func checkNonces(ctx context.Context, db querier, audit *ledger.Audit) error {
	fault := func(reason string) func(*sql.Rows) error {
		return func(rows *sql.Rows) error {
			f := ledger.Fault{Reason: reason}
			err := rows.Scan(&f.Seq, &f.Nonce)
			audit.Fault(f)
			return err
		}
	}
	return errors.Join(
		each(ctx, db, fault("its nonce is counted on two sides"), `SELECT b.seq, lower(hex(b.nonce)) FROM entry a JOIN entry b USING (nonce)
			WHERE a.side < b.side AND a.imported = b.imported AND a.counted AND b.counted`),
		each(ctx, db, fault("its nonce is not counted"), `SELECT seq, lower(hex(nonce)) FROM entry e WHERE NOT counted AND NOT EXISTS
			(SELECT 1 FROM entry o WHERE o.nonce = e.nonce AND o.side <> e.side AND o.counted AND NOT o.imported)`),
	)
}

// each calls f for every row.
func each(ctx context.Context, db querier, f func(*sql.Rows) error, query string, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func checkEntries(ctx context.Context, db querier, audit *ledger.Audit) error {
	for last := int64(0); ; {
		rows, err := readRows(ctx, db, last)
		if err != nil || len(rows) == 0 {
			return err
		}
		end := rows[len(rows)-1].Seq
		var notes [][]byte
		err = each(ctx, db, func(r *sql.Rows) error {
			var note []byte
			err := r.Scan(&note)
			notes = append(notes, note)
			return err
		}, "SELECT note FROM checkpoint WHERE size > ? AND size <= ? ORDER BY size", last, end)
		if err != nil {
			return err
		}
		audit.Entries(rows, notes)
		last = end
	}
}

// checkBeyond finds checkpoints over entries that are no longer there.
func checkBeyond(ctx context.Context, db querier, audit *ledger.Audit) error {
	return each(ctx, db, func(rows *sql.Rows) error {
		var size, there int64
		err := rows.Scan(&size, &there)
		audit.Fault(ledger.Fault{Reason: fmt.Sprintf("a checkpoint was signed over %d entries, but only %d are there", size, there)})
		return err
	}, "SELECT size, (SELECT coalesce(max(seq), 0) FROM entry) AS there FROM checkpoint WHERE size > there ORDER BY size DESC LIMIT 1")
}

// readRows returns the entries after seq, a page of them.
func readRows(ctx context.Context, db querier, after int64) (list []ledger.Row, err error) {
	err = each(ctx, db, func(rows *sql.Rows) error {
		var r ledger.Row
		var nonce []byte
		var completed int64
		err := rows.Scan(&r.Seq, &r.Side, &r.Imported, &r.Counted, &nonce, &completed, &r.Model, &r.Worker, &r.Requester, &r.Envelope)
		r.Nonce, r.Completed = hex.EncodeToString(nonce), time.UnixMilli(completed)
		list = append(list, r)
		return err
	}, `SELECT e.seq, e.side, e.imported, e.counted, e.nonce, e.completed, e.model,
			coalesce(w.name, ''), coalesce(r.name, ''), v.body
		FROM entry e LEFT JOIN envelope v USING (seq)
		LEFT JOIN account w ON w.id = e.worker LEFT JOIN account r ON r.id = e.requester
		WHERE e.seq > ? ORDER BY e.seq LIMIT ?`, after, pageSize)
	return list, err
}
