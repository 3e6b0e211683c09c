package jobs

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// renew makes all leases of holder last until then.
func (s store) renew(ctx context.Context, holder string, until time.Time) error {
	return s.db.Update(ctx, func(ctx context.Context, tx *sql.Conn) error {
		_, err := tx.ExecContext(ctx, "UPDATE job SET lease = ? WHERE side = ? AND status = 2 AND holder = ?", milli(until), s.side, holder)
		return err
	})
}

// lapse takes jobs from those, but for holder, whose lease is over at that time.
func (s store) lapse(ctx context.Context, holder string, over, now time.Time, l Lives) (n int, err error) {
	return s.sweep(ctx, "status = 2 AND holder <> ? AND lease <= ?", []any{holder, milli(over)}, func(st State) (State, error) {
		if st.Lease.After(now) { // over is later than now when the holders are known to be gone
			st.Lease = now
		}
		return st.Lapse(now, l)
	})
}

// expire gives up what waited too long.
func (s store) expire(ctx context.Context, now time.Time, l Lives) (n int, err error) {
	return s.sweep(ctx, "status = 1 AND expires <= ?", []any{milli(now)}, func(st State) (State, error) { return st.Expire(now, l) })
}

const sweepBatch = 500 // rows of one transaction, which others wait for

func (s store) sweep(ctx context.Context, where string, args []any, event func(State) (State, error)) (n int, err error) {
	return s.batches(ctx, where, args, func(ctx context.Context, tx *sql.Conn, seq int64) error {
		var after State
		err := applied(seq, event, &after, nil)(ctx, tx)
		if errors.Is(err, ErrNotReady) || errors.Is(err, ErrUnknown) {
			return nil // it changed since it was looked for
		}
		return err
	})
}

// collect deletes what has ended and was kept long enough.
func (s store) collect(ctx context.Context, now time.Time) (n int, err error) {
	return s.batches(ctx, "status IN (3, 4) AND expires <= ?", []any{milli(now)}, func(ctx context.Context, tx *sql.Conn, seq int64) error {
		for _, table := range []string{"job", "job_body"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE seq = ?", seq); err != nil {
				return err
			}
		}
		return nil
	})
}

// batches does something to all jobs of a kind, some at a time. Where there are
// none, nothing is written.
func (s store) batches(ctx context.Context, where string, args []any, do func(context.Context, *sql.Conn, int64) error) (n int, err error) {
	query := "SELECT seq FROM job WHERE side = ? AND " + where + " LIMIT ?"
	args = append(append([]any{s.side}, args...), sweepBatch)
	for {
		seqs, err := s.seqs(ctx, query, args)
		if err != nil || len(seqs) == 0 {
			return n, err
		}
		err = s.db.Update(ctx, func(ctx context.Context, tx *sql.Conn) error {
			for _, seq := range seqs {
				if err := do(ctx, tx, seq); err != nil {
					return err
				}
			}
			return nil
		})
		n += len(seqs)
		if err != nil || len(seqs) < sweepBatch {
			return n, err
		}
	}
}

func (s store) seqs(ctx context.Context, query string, args []any) (list []int64, err error) {
	rows, err := s.db.Reading().QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return nil, err
		}
		list = append(list, seq)
	}
	return list, rows.Err()
}
