package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"lobstah/ledger"
)

// Checkpoint returns a signed note over the whole tree as it is now; of a
// ledger that is open for reading only, the newest that there is.
func (l *Ledger) Checkpoint(ctx context.Context) ([]byte, error) {
	if l.write == nil {
		return l.covering(ctx, 0)
	}
	a, err := l.ask(ctx, request{sign: true})
	return a.note, err
}

// covering returns a checkpoint over at least size entries, and signs one when
// there is none.
func (l *Ledger) covering(ctx context.Context, size int64) ([]byte, error) {
	s, err := scanCheckpoint(l.read.QueryRowContext(ctx, checkpointQuery))
	switch {
	case err != nil:
		return nil, l.explain("read a checkpoint of", err)
	case s.note != nil && s.size >= size:
		return s.note, nil
	case l.write == nil:
		return nil, l.explain("read a checkpoint of", ledger.ErrNotSigned)
	}
	return l.Checkpoint(ctx)
}

// Inclusion proves that entry seq is under the newest checkpoint.
func (l *Ledger) Inclusion(ctx context.Context, seq int64) (ledger.Inclusion, error) {
	var body []byte
	err := l.read.QueryRowContext(ctx, "SELECT body FROM envelope WHERE seq = ?", seq).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("%w: number %d", ledger.ErrNoEntry, seq)
	}
	if err != nil {
		return ledger.Inclusion{}, l.explain("prove an entry of", err)
	}
	note, err := l.covering(ctx, seq)
	if err != nil {
		return ledger.Inclusion{}, err
	}
	p, err := ledger.ProveInclusion(l.owner, seq-1, body, note, l.tiles(ctx, l.read))
	return p, l.explain("prove an entry of", err)
}

// InclusionOf does so for the entry with this side and nonce.
func (l *Ledger) InclusionOf(ctx context.Context, side ledger.Side, nonce string) (ledger.Inclusion, error) {
	raw, err := parseNonce(nonce)
	if err != nil {
		return ledger.Inclusion{}, l.explain("prove an entry of", err)
	}
	var seq int64
	err = l.read.QueryRowContext(ctx, "SELECT seq FROM entry WHERE nonce = ? AND side = ?", raw, side).Scan(&seq)
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("%w: nonce %s on the %s side", ledger.ErrNoEntry, nonce, side)
	}
	if err != nil {
		return ledger.Inclusion{}, l.explain("prove an entry of", err)
	}
	return l.Inclusion(ctx, seq)
}

// Consistency proves that the tree of the first old entries is the beginning
// of the tree under the newest checkpoint.
func (l *Ledger) Consistency(ctx context.Context, old int64) (ledger.Consistency, error) {
	note, err := l.covering(ctx, old)
	if err != nil {
		return ledger.Consistency{}, err
	}
	p, err := ledger.ProveConsistency(l.owner, old, note, l.tiles(ctx, l.read))
	return p, l.explain("prove the growth of", err)
}

func (l *Ledger) tiles(ctx context.Context, db querier) ledger.ReadTile {
	return func(level int, n int64) ([]byte, error) {
		return scanTile(db.QueryRowContext(ctx, tileQuery, level, n), level, n)
	}
}
