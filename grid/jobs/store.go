package jobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"lobstah/grid"
	"lobstah/receipt"
)

// Database is the file that jobs are kept in: the ledger's.
type Database interface {
	// Update makes a change of the job tables and returns once it is durable.
	// Changes run one after another.
	Update(ctx context.Context, change func(ctx context.Context, tx *sql.Conn) error) error
	// Earn does the same and keeps a receipt that this machine made as a
	// worker, both or neither.
	Earn(ctx context.Context, s *receipt.Signed, change func(ctx context.Context, tx *sql.Conn) error) error
	// Reading is for queries.
	Reading() *sql.DB
}

// A Side says whose jobs they are. One file holds those of both.
type Side uint8

// The sides, by the numbers of the ledger's.
const (
	ForOthers Side = iota + 1 // a worker's: run here
	Ours                      // a router's: asked of others
)

// Errors of the store.
var (
	ErrUnknown  = errors.New("there is no such job")
	ErrConflict = errors.New("the idempotency key was used for another request")
	ErrQuota    = errors.New("too many jobs")
	ErrNone     = errors.New("no job waits")
)

// A Job is one row with what the service needs of it.
type Job struct {
	State
	grid.Order
	Seq     int64
	Result  []byte
	Receipt []byte
	note    []byte
}

// A store reads and writes the jobs of one side.
type store struct {
	db   Database
	side Side
}

// tierNumbers are the tiers as they are stored.
var tierNumbers = []grid.Tier{grid.Interactive, grid.Batch, grid.BestEffort}

func tierNumber(t grid.Tier) int {
	for i, known := range tierNumbers {
		if t == known {
			return i
		}
	}
	return len(tierNumbers) - 1
}

// hashOf is what a job is looked up by, so that how long it takes says nothing
// about ids.
func hashOf(id string) []byte {
	sum := sha256.Sum256([]byte(id))
	return sum[:]
}

// A Quota bounds what is kept. Zero members bound nothing.
type Quota struct {
	Open  int   // jobs of one purse that have not ended
	Bytes int64 // of requests and results of one purse
	All   int   // jobs of everybody that have not ended
}

// submit keeps a job, or returns the one that was submitted with the same
// idempotency key before (again is true). once is empty without a key. With
// only, no new job is kept.
func (s store) submit(ctx context.Context, j *Job, once []byte, only bool, q Quota) (kept *Job, again bool, err error) {
	err = s.db.Update(ctx, func(ctx context.Context, tx *sql.Conn) error {
		if once != nil {
			kept, err = s.sameBefore(ctx, tx, j, once)
			if !errors.Is(err, ErrUnknown) {
				again = err == nil
				return err
			}
		}
		if only {
			return ErrUnknown
		}
		if err := s.withinQuota(ctx, tx, j, q); err != nil {
			return err
		}
		return s.insert(ctx, tx, j, once)
	})
	if err != nil || again {
		return kept, again, err
	}
	return j, false, nil
}

// insert writes a new job down and fills in its Seq.
func (s store) insert(ctx context.Context, tx *sql.Conn, j *Job, once []byte) error {
	turn, err := s.turn(ctx, tx, j)
	if err != nil {
		return err
	}
	result, err := tx.ExecContext(ctx, `INSERT INTO job
		(side, hash, id, once, owner, purse, model, status, tier, turn, created, due, expires, bytes)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		s.side, hashOf(j.ID), j.ID, nullable(once), j.Owner, j.Purse, j.Model, j.Status, tierNumber(j.Tier), turn,
		milli(j.Created), milli(j.Due), milli(j.Expires), len(j.Body))
	if err != nil {
		return err
	}
	if j.Seq, err = result.LastInsertId(); err != nil {
		return err
	}
	metadata, err := json.Marshal(j.Metadata)
	if err != nil {
		return err
	}
	fault, err := faultText(j.Fault)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO job_body (seq, request, metadata, seal, fault) VALUES (?, ?, ?, ?, ?)",
		j.Seq, j.Body, string(metadata), string(j.Seal), fault)
	return err
}

func nullable(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// sameBefore finds the job of an idempotency key.
func (s store) sameBefore(ctx context.Context, tx *sql.Conn, j *Job, once []byte) (*Job, error) {
	before, err := s.scan(tx.QueryRowContext(ctx, selectFull+"WHERE once = ?", once))
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(before.Body, j.Body) {
		return nil, ErrConflict
	}
	return before, nil
}

func (s store) withinQuota(ctx context.Context, tx *sql.Conn, j *Job, q Quota) error {
	var all, own int
	var held int64
	err := tx.QueryRowContext(ctx, `SELECT coalesce(sum(open), 0),
		coalesce(sum(open) FILTER (WHERE purse = ?2), 0), coalesce(sum(bytes) FILTER (WHERE purse = ?2), 0)
		FROM job_tally WHERE side = ?1`, s.side, j.Purse).Scan(&all, &own, &held)
	switch {
	case err != nil:
		return err
	case q.Open > 0 && own >= q.Open:
		return fmt.Errorf("%w: %d of yours wait or run, which is the most", ErrQuota, own)
	case q.Bytes > 0 && held+int64(len(j.Body)) > q.Bytes:
		return fmt.Errorf("%w: those of yours that are kept hold %d MiB, of %d that may be; each goes some time after it was fetched", ErrQuota, held>>20, q.Bytes>>20)
	case q.All > 0 && all >= q.All:
		return fmt.Errorf("%w: %d wait or run here, which is the most", ErrQuota, all)
	}
	return nil
}

// turn puts a job behind the last one of its purse, and not before those whose
// turn it is now: purses take turns, however many jobs each has.
func (s store) turn(ctx context.Context, tx *sql.Conn, j *Job) (turn int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT max(
		coalesce((SELECT turn FROM job WHERE side = ?1 AND status = 1 AND tier = ?2 ORDER BY turn LIMIT 1), 0),
		coalesce((SELECT turn + 1 FROM job WHERE side = ?1 AND purse = ?3 AND status = 1 AND tier = ?2 ORDER BY turn DESC LIMIT 1), 0))`,
		s.side, tierNumber(j.Tier), j.Purse).Scan(&turn)
	return turn, err
}

// find returns the job of an id, without its request.
func (s store) find(ctx context.Context, id string) (*Job, error) {
	j, err := s.scan(s.db.Reading().QueryRowContext(ctx, selectShown+"WHERE hash = ? AND side = ?", hashOf(id), s.side))
	if err == nil && subtle.ConstantTimeCompare([]byte(j.ID), []byte(id)) != 1 {
		return nil, ErrUnknown
	}
	return j, err
}

// A page chooses jobs of one owner, newest first.
type page struct {
	owner  string
	after  int64 // only those that were submitted before this one; 0 for all
	status Status
	limit  int
}

func (s store) list(ctx context.Context, p page) (list []*Job, err error) {
	rows, err := s.db.Reading().QueryContext(ctx, selectHead+
		"WHERE side = ? AND owner = ? AND (? = 0 OR job.seq < ?) AND (? = 0 OR status = ?) ORDER BY job.seq DESC LIMIT ?",
		s.side, p.owner, p.after, p.after, p.status, p.status, p.limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		j, err := s.scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, j)
	}
	return list, rows.Err()
}

// next returns the tier of the job that is to be claimed next, by the order of
// tiers, or when the earliest will be due (zero for none).
func (s store) next(ctx context.Context, now time.Time, order []grid.Tier) (tier grid.Tier, due time.Time, err error) {
	for _, tier := range order {
		var one int
		err := s.db.Reading().QueryRowContext(ctx, "SELECT 1 FROM job WHERE side = ? AND status = 1 AND tier = ? AND due <= ? ORDER BY turn, seq LIMIT 1",
			s.side, tierNumber(tier), milli(now)).Scan(&one)
		if !errors.Is(err, sql.ErrNoRows) {
			return tier, time.Time{}, err
		}
	}
	var earliest sql.NullInt64
	err = s.db.Reading().QueryRowContext(ctx, "SELECT min(due) FROM job WHERE side = ? AND status = 1", s.side).Scan(&earliest)
	return "", fromMilli(earliest.Int64), err
}

// claim gives the next job to holder.
func (s store) claim(ctx context.Context, holder string, now, lease time.Time, order []grid.Tier) (j *Job, err error) {
	err = s.db.Update(ctx, func(ctx context.Context, tx *sql.Conn) error {
		for _, tier := range order {
			j, err = s.scan(tx.QueryRowContext(ctx, selectFull+"WHERE side = ? AND status = 1 AND tier = ? AND due <= ? ORDER BY turn, job.seq LIMIT 1",
				s.side, tierNumber(tier), milli(now)))
			if !errors.Is(err, ErrUnknown) {
				break
			}
		}
		if errors.Is(err, ErrUnknown) {
			return ErrNone
		} else if err != nil {
			return err
		}
		if j.State, err = j.Claim(holder, now, lease); err != nil {
			return err
		}
		return write(ctx, tx, j.Seq, j.State)
	})
	return j, err
}

// change applies an event to a job's state, and writes the parts of its body
// that are given.
func (s store) change(ctx context.Context, seq int64, event func(State) (State, error), body ...column) (State, error) {
	var after State
	err := s.db.Update(ctx, applied(seq, event, &after, body))
	return after, err
}

// earn is change that keeps a receipt with it.
func (s store) earn(ctx context.Context, seq int64, signed *receipt.Signed, event func(State) (State, error), body ...column) (State, error) {
	var after State
	err := s.db.Earn(ctx, signed, applied(seq, event, &after, body))
	return after, err
}

func applied(seq int64, event func(State) (State, error), after *State, body []column) func(context.Context, *sql.Conn) error {
	return func(ctx context.Context, tx *sql.Conn) error {
		before, err := scanState(tx.QueryRowContext(ctx, "SELECT "+stateColumns+" FROM job JOIN job_body USING (seq) WHERE seq = ?", seq))
		if err != nil {
			return err
		}
		if *after, err = event(before); err != nil {
			return err
		}
		if err := write(ctx, tx, seq, *after); err != nil {
			return err
		}
		for _, c := range body {
			if _, err := tx.ExecContext(ctx, "UPDATE job_body SET "+c.name+" = ? WHERE seq = ?", c.value, seq); err != nil {
				return err
			}
			if raw, ok := c.value.([]byte); ok {
				if _, err := tx.ExecContext(ctx, "UPDATE job SET bytes = bytes + ? WHERE seq = ?", len(raw), seq); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// A column is a part of a job's body.
type column struct {
	name  string // one of the constants' kind: never from outside
	value any
}
