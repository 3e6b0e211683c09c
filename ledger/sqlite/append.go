package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"lobstah/ledger"
	"lobstah/receipt"
)

// Append keeps an accepted receipt; see [ledger.Ledger].
func (l *Ledger) Append(ctx context.Context, side ledger.Side, s *receipt.Signed) error {
	if err := ledger.CheckSide(l.owner, side, &s.Receipt); err != nil {
		return l.explain("append to", err)
	}
	a, err := l.ask(ctx, request{items: []item{{side: side, signed: s}}})
	if err != nil {
		return err
	}
	return l.explain("append to", a.errs[0])
}

// Import reads JSON Lines; see [ledger.Import].
func (l *Ledger) Import(ctx context.Context, r io.Reader, each func(ledger.Line)) (ledger.Imported, error) {
	return ledger.Import(ctx, r, l.importAll, each)
}

func (l *Ledger) importAll(ctx context.Context, list []*receipt.Signed) []error {
	items := make([]item, len(list))
	for i, s := range list {
		items[i] = item{side: ledger.SideOf(l.owner, &s.Receipt), signed: s, imported: true}
	}
	a, err := l.ask(ctx, request{items: items})
	if err != nil {
		return slices.Repeat([]error{err}, len(list))
	}
	return a.errs
}

// transact appends the items and signs a checkpoint when one is due or asked
// for, all or nothing but for duplicates, which get an error of their own.
func (w *writer) transact(items []item, errs []error, sign bool) (err error) {
	ctx := context.Background() // others wait for this group too
	if err := w.ledger.damaged(); err != nil {
		return err
	}
	if _, err := w.stmts.begin.ExecContext(ctx); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			w.tree = nil
			// After some errors SQLite has rolled back by itself.
			_, undo := w.stmts.rollback.ExecContext(ctx)
			if undo != nil && code(undo) == 0 {
				err = errors.Join(err, undo)
			}
		}
	}()
	if err := w.refresh(ctx); err != nil {
		return err
	}
	tx := transaction{writer: w, at: w.now(), accounts: make(map[string]*posting)}
	for i, it := range items {
		if errs[i], err = tx.take(ctx, it); err != nil {
			return err
		}
	}
	signed, err := tx.settle(ctx, sign)
	if err != nil {
		return err
	}
	if _, err := w.stmts.commit.ExecContext(ctx); err != nil {
		return err
	}
	w.signed = signed
	return nil
}

// refresh reads the tree again when another process appended or a transaction
// failed.
func (w *writer) refresh(ctx context.Context) error {
	var size int64
	var root []byte
	if err := w.stmts.book.QueryRowContext(ctx).Scan(&size, &root); err != nil {
		return err
	}
	if w.tree != nil && w.tree.Size() == size {
		return nil
	}
	return w.load(ctx)
}

// load reads the edge of the tree and the newest checkpoint, and checks that
// they fit what the book says.
func (w *writer) load(ctx context.Context) error {
	var size int64
	var root []byte
	if err := w.stmts.book.QueryRowContext(ctx).Scan(&size, &root); err != nil {
		return err
	}
	tree, err := ledger.LoadTree(size, func(level int, n int64) ([]byte, error) {
		return scanTile(w.stmts.tile.QueryRowContext(ctx, level, n), level, n)
	})
	if err != nil {
		return err
	}
	if got := tree.Root(); !bytes.Equal(got[:], root) {
		return fmt.Errorf("%w: the hashes of its tree do not give its root", ledger.ErrDamaged)
	}
	w.tree = tree
	w.signed, err = scanCheckpoint(w.stmts.checkpoint.QueryRowContext(ctx))
	return err
}

// A transaction gathers what a group of appends changes.
type transaction struct {
	*writer
	at       time.Time
	accounts map[string]*posting
}

// A posting is the change of one account.
type posting struct {
	id     int64
	change ledger.Account
}

// take does what an item asks for. refused is the item's own affair; err spoils
// the transaction.
func (tx *transaction) take(ctx context.Context, it item) (refused, err error) {
	if it.change != nil {
		return tx.alter(ctx, it)
	}
	if err = tx.add(ctx, it); errors.Is(err, ledger.ErrDuplicate) {
		refused, err = err, nil
	}
	return refused, err
}

// add appends one item, or promotes an imported entry that is now accepted.
func (tx *transaction) add(ctx context.Context, it item) error {
	nonce, err := hex.DecodeString(it.signed.Nonce)
	if err != nil {
		return err
	}
	known, counted, err := tx.lookUp(ctx, nonce, it)
	if err != nil {
		return err
	}
	if known != nil {
		return tx.promote(ctx, it, *known, counted)
	}
	return tx.insert(ctx, it, nonce, counted)
}

// A place is where a nonce stands already.
type place struct {
	seq               int64
	side              ledger.Side
	imported, counted bool
}

// lookUp finds out whether the item's nonce is there. counted says whether the
// item changes the accounts; known is an import on the same side.
func (tx *transaction) lookUp(ctx context.Context, nonce []byte, it item) (known *place, counted bool, err error) {
	rows, err := tx.stmts.byNonce.QueryContext(ctx, nonce)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	counted = true
	for rows.Next() {
		var p place
		if err := rows.Scan(&p.seq, &p.side, &p.imported, &p.counted); err != nil {
			return nil, false, err
		}
		switch {
		case it.imported, p.side == it.side && !p.imported:
			return nil, false, fmt.Errorf("%w: nonce %s, entry %d", ledger.ErrDuplicate, it.signed.Nonce, p.seq)
		case p.side == it.side:
			known = &p
		case !p.imported && p.counted:
			counted = false
		}
	}
	return known, counted, rows.Err()
}

func (tx *transaction) insert(ctx context.Context, it item, nonce []byte, counted bool) error {
	r := &it.signed.Receipt
	worker, err := tx.account(ctx, r.Worker.String())
	if err != nil {
		return err
	}
	requester, err := tx.account(ctx, r.Requester)
	if err != nil {
		return err
	}
	seq, body := tx.tree.Size()+1, it.signed.Envelope()
	if _, err := tx.stmts.addEntry.ExecContext(ctx, seq, it.side, it.imported, counted,
		tx.at.UnixMilli(), r.CompletedAt.UnixMilli(), worker.id, requester.id, nonce, r.Model); err != nil {
		return err
	}
	if _, err := tx.stmts.addEnvelope.ExecContext(ctx, seq, body); err != nil {
		return err
	}
	tx.tree.Append(body)
	if counted {
		tx.post(it, ledger.Account.Plus)
	}
	return nil
}

// promote turns an imported entry into an accepted one: what was only claimed
// is now proven. The tree does not change.
func (tx *transaction) promote(ctx context.Context, it item, known place, counted bool) error {
	var body []byte
	if err := tx.stmts.envelope.QueryRowContext(ctx, known.seq).Scan(&body); err != nil {
		return err
	}
	if !bytes.Equal(body, it.signed.Envelope()) {
		return fmt.Errorf("%w: nonce %s, entry %d, which was imported and differs", ledger.ErrDuplicate, it.signed.Nonce, known.seq)
	}
	for _, name := range []string{it.signed.Worker.String(), it.signed.Requester} {
		if _, err := tx.account(ctx, name); err != nil {
			return err
		}
	}
	if _, err := tx.stmts.promote.ExecContext(ctx, counted, known.seq); err != nil {
		return err
	}
	if known.counted {
		tx.post(item{side: it.side, signed: it.signed, imported: true}, ledger.Account.Minus)
	}
	if counted {
		tx.post(it, ledger.Account.Plus)
	}
	return nil
}

// account finds or makes an account, once for each group.
func (tx *transaction) account(ctx context.Context, name string) (*posting, error) {
	if p := tx.accounts[name]; p != nil {
		return p, nil
	}
	p := new(posting)
	err := tx.stmts.account.QueryRowContext(ctx, name).Scan(&p.id)
	if errors.Is(err, sql.ErrNoRows) {
		err = tx.stmts.addAccount.QueryRowContext(ctx, name).Scan(&p.id)
	}
	if err != nil {
		return nil, err
	}
	tx.accounts[name] = p
	return p, nil
}

func (tx *transaction) post(it item, apply func(ledger.Account, ledger.Account) ledger.Account) {
	for _, change := range ledger.Post(&it.signed.Receipt, it.side, it.imported) {
		p := tx.accounts[change.Name]
		p.change = apply(p.change, change)
	}
}

// settle writes the accounts, the tree, and a checkpoint when it is due.
func (tx *transaction) settle(ctx context.Context, sign bool) (signedTree, error) {
	for _, name := range slices.Sorted(maps.Keys(tx.accounts)) {
		p := tx.accounts[name]
		c, self, in := p.change, p.change.SelfServed, p.change.Imported
		if _, err := tx.stmts.setAccount.ExecContext(ctx, c.Earned, c.Spent, c.Served, c.Asked, self.Earned, self.Served,
			in.Earned, in.Spent, in.Served, in.Asked, c.Bound, p.id); err != nil {
			return tx.signed, err
		}
	}
	changed := tx.tree.Changed()
	for _, tile := range changed {
		if _, err := tx.stmts.setTile.ExecContext(ctx, tile.Level, tile.N, tile.Hashes); err != nil {
			return tx.signed, err
		}
	}
	root := tx.tree.Root()
	if len(changed) > 0 {
		if _, err := tx.stmts.setBook.ExecContext(ctx, tx.tree.Size(), root[:]); err != nil {
			return tx.signed, err
		}
	}
	size := tx.tree.Size()
	if !ledger.CheckpointDue(size, tx.signed.size, tx.at, tx.signed.at) && (!sign || tx.signed.note != nil && tx.signed.size == size) {
		return tx.signed, nil
	}
	note, err := ledger.SignCheckpoint(tx.pair, size, root)
	if err != nil {
		return tx.signed, err
	}
	_, err = tx.stmts.addCheckpoint.ExecContext(ctx, size, tx.at.UnixMilli(), string(note))
	return signedTree{size, tx.at, note}, err
}
