package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"lobstah/ledger"
	"lobstah/receipt"
)

// A Change alters tables of another package that live in the ledger's file (see
// migrations), inside a transaction that is not its own: it neither begins nor
// ends one, and keeps tx no longer than it runs. Changes run one after another
// and others wait for them, so they do no more than they must. After an error
// nothing of it remains.
type Change = func(ctx context.Context, tx *sql.Conn) error

// Update makes a change and returns once it is durable, together with whatever
// else waited to be written. The error is the change's own, unless the file
// failed it. When ctx ends before the change began, it is not made.
func (l *Ledger) Update(ctx context.Context, change Change) error {
	return l.alter(ctx, item{change: change})
}

// AppendWith appends a receipt and makes a change, both or neither. A receipt
// that is kept already is [ledger.ErrDuplicate], and the change is not made.
func (l *Ledger) AppendWith(ctx context.Context, side ledger.Side, s *receipt.Signed, change Change) error {
	if err := ledger.CheckSide(l.owner, side, &s.Receipt); err != nil {
		return l.explain("append to", err)
	}
	return l.alter(ctx, item{side: side, signed: s, change: change})
}

// Reading is for queries of those tables. It never waits for writers, and sees
// what is durable.
func (l *Ledger) Reading() *sql.DB { return l.read }

// alter hands over an item and waits for its end, even beyond ctx: the change
// uses what belongs to the caller.
func (l *Ledger) alter(ctx context.Context, it item) error {
	if ctx.Err() != nil {
		return l.explain("write to", context.Cause(ctx))
	}
	reply, err := l.send(ctx, request{items: []item{it}})
	if err != nil {
		return err
	}
	a := <-reply
	switch refused := a.errs[0]; {
	case a.err != nil:
		return a.err
	case code(refused) != 0:
		return l.explain("write to", refused)
	case it.signed != nil && errors.Is(refused, ledger.ErrDuplicate):
		return l.explain("append to", refused)
	default:
		return refused
	}
}

// alter makes a change, and appends its receipt if it has one, both or neither.
func (tx *transaction) alter(ctx context.Context, it item) (refused, err error) {
	if _, err := tx.stmts.savepoint.ExecContext(ctx); err != nil {
		return nil, err
	}
	refused = it.change(ctx, tx.conn)
	if it.change = nil; refused == nil && it.signed != nil {
		if refused, err = tx.take(ctx, it); err != nil {
			return nil, err
		}
	}
	if refused != nil {
		if _, err := tx.stmts.undo.ExecContext(ctx); err != nil {
			return nil, err
		}
	}
	_, err = tx.stmts.release.ExecContext(ctx)
	return refused, err
}
