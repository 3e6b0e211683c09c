package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/receipt"
)

const (
	tileQuery       = "SELECT hashes FROM tile WHERE level = ? AND n = ?"
	checkpointQuery = "SELECT size, at, note FROM checkpoint ORDER BY size DESC LIMIT 1"
	accountQuery    = `SELECT name, earned, spent, served, asked, self_tokens, self_receipts,
		imported_earned, imported_spent, imported_served, imported_asked, bound FROM account`
	accountNamed = accountQuery + " WHERE name = ?"
)

// Balances returns the maintained sums; see [ledger.Ledger].
func (l *Ledger) Balances(ctx context.Context) (ledger.Summary, error) {
	accounts, err := readAccounts(ctx, l.read)
	if err != nil {
		return ledger.Summary{}, l.explain("read the balances of", err)
	}
	return ledger.Summarize(l.owner, accounts), nil
}

func readAccounts(ctx context.Context, db querier) (list []ledger.Account, err error) {
	rows, err := db.QueryContext(ctx, accountQuery)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		a, err := scanAccount(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, rows.Err()
}

func scanAccount(row interface{ Scan(...any) error }) (a ledger.Account, err error) {
	self, in := &a.SelfServed, &a.Imported
	err = row.Scan(&a.Name, &a.Earned, &a.Spent, &a.Served, &a.Asked, &self.Earned, &self.Served,
		&in.Earned, &in.Spent, &in.Served, &in.Asked, &a.Bound)
	self.Spent, self.Asked = self.Earned, self.Served
	return a, err
}

// account reads one account; an unknown name has the zero account.
func (l *Ledger) account(ctx context.Context, id key.ID) (ledger.Account, error) {
	query := func() *sql.Row { return l.read.QueryRowContext(ctx, accountNamed, id.String()) }
	if l.named != nil {
		query = func() *sql.Row { return l.named.QueryRowContext(ctx, id.String()) }
	}
	a, err := scanAccount(query())
	if errors.Is(err, sql.ErrNoRows) {
		return ledger.Account{Name: id.String()}, nil
	}
	return a, l.explain("read a balance of", err)
}

// Owed is what peer owes us in tokens; see [ledger.Ledger].
func (l *Ledger) Owed(ctx context.Context, peer key.ID) (int64, error) {
	a, err := l.account(ctx, peer)
	return ledger.Summary{Owner: l.owner}.Owed(a), err
}

// Available is the requester's credit in tokens; see [ledger.Ledger].
func (l *Ledger) Available(ctx context.Context, requester key.ID) (int64, error) {
	a, err := l.account(ctx, requester)
	return a.Available(), err
}

// Bound reports whether worker ever gave us a bound receipt.
func (l *Ledger) Bound(ctx context.Context, worker key.ID) (bool, error) {
	a, err := l.account(ctx, worker)
	return a.Bound, err
}

// Recent returns the newest entries, newest first.
func (l *Ledger) Recent(ctx context.Context, limit int) ([]ledger.Entry, error) {
	return l.List(ctx, ledger.Filter{Limit: limit})
}

// Since returns what we served requester after afterSeq, oldest first.
func (l *Ledger) Since(ctx context.Context, requester key.ID, afterSeq int64, limit int) ([]ledger.Entry, error) {
	return l.entries(ctx, `e.requester = (SELECT id FROM account WHERE name = ?) AND e.side = ? AND e.seq > ?`+
		` ORDER BY e.seq LIMIT ?`, requester.String(), ledger.Worker, afterSeq, ledger.Clamp(limit))
}

// LastServed is the Seq of the newest entry that Since would return, 0 for none.
func (l *Ledger) LastServed(ctx context.Context, requester key.ID) (seq int64, err error) {
	err = l.read.QueryRowContext(ctx, `SELECT coalesce(max(seq), 0) FROM entry WHERE requester = (SELECT id FROM account WHERE name = ?) AND side = ?`,
		requester.String(), ledger.Worker).Scan(&seq)
	return seq, l.explain("read", err)
}

// List returns the entries that pass the filter.
func (l *Ledger) List(ctx context.Context, f ledger.Filter) ([]ledger.Entry, error) {
	where := []string{"e.seq > ?"}
	args := []any{f.AfterSeq}
	and := func(condition string, values ...any) {
		where, args = append(where, condition), append(args, values...)
	}
	if f.BeforeSeq > 0 {
		and("e.seq < ?", f.BeforeSeq)
	}
	if f.Peer != "" {
		and("(SELECT id FROM account WHERE name = ?) IN (e.worker, e.requester)", f.Peer)
	}
	if f.Side != 0 {
		and("e.side = ?", f.Side)
	}
	if f.Model != "" {
		and("e.model = ?", f.Model)
	}
	if !f.After.IsZero() {
		and("e.completed >= ?", f.After.UnixMilli())
	}
	if !f.Before.IsZero() {
		and("e.completed < ?", f.Before.UnixMilli())
	}
	order := " ORDER BY e.seq DESC LIMIT ?"
	if f.Ascending {
		order = " ORDER BY e.seq LIMIT ?"
	}
	return l.entries(ctx, strings.Join(where, " AND ")+order, append(args, ledger.Clamp(f.Limit))...)
}

// entries returns the entries after a WHERE. Each is verified again, since the
// file may have been changed by others, and left out when it does not hold.
func (l *Ledger) entries(ctx context.Context, where string, args ...any) (list []ledger.Entry, err error) {
	rows, err := l.read.QueryContext(ctx, "SELECT e.seq, e.side, e.imported, e.at, v.body FROM entry e JOIN envelope v USING (seq) WHERE "+where, args...)
	if err != nil {
		return nil, l.explain("read", err)
	}
	defer rows.Close()
	for rows.Next() {
		var e ledger.Entry
		var at int64
		var body sql.RawBytes
		if err := rows.Scan(&e.Seq, &e.Side, &e.Imported, &at, &body); err != nil {
			return nil, l.explain("read", err)
		}
		e.At = time.UnixMilli(at).UTC()
		if e.Signed, err = receipt.Open(body); err == nil {
			list = append(list, e)
		}
	}
	return list, l.explain("read", rows.Err())
}

func scanTile(row *sql.Row, level int, n int64) (hashes []byte, err error) {
	if err = row.Scan(&hashes); errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("%w: tile %d of level %d of its tree is missing", ledger.ErrDamaged, n, level)
	}
	return hashes, err
}

// scanCheckpoint returns the zero value when there is none.
func scanCheckpoint(row *sql.Row) (s signedTree, err error) {
	var at int64
	var note string
	if err := row.Scan(&s.size, &at, &note); errors.Is(err, sql.ErrNoRows) {
		return signedTree{}, nil
	} else if err != nil {
		return s, err
	}
	s.at, s.note = time.UnixMilli(at), []byte(note)
	return s, nil
}

// parseNonce gives the stored form of a receipt's nonce.
func parseNonce(text string) ([]byte, error) {
	nonce, err := hex.DecodeString(text)
	if err != nil || len(nonce) != 16 {
		return nil, fmt.Errorf("%.80q is no nonce: want 32 hex digits", text)
	}
	return nonce, nil
}
