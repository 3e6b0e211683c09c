package jobs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"lobstah/grid"
)

// What is read of a job, and in which order; see [store.scan].
const (
	stateColumns = "status, created, due, started, completed, expires, holder, lease, attempts, cancel, placed, fault"
	orderColumns = "job.seq, id, owner, purse, model, tier, metadata"
	selectHead   = "SELECT " + stateColumns + ", " + orderColumns + ", x'', '', '', NULL, NULL FROM job JOIN job_body USING (seq) "
	selectShown  = "SELECT " + stateColumns + ", " + orderColumns + ", x'', '', '', result, receipt FROM job JOIN job_body USING (seq) "
	selectFull   = "SELECT " + stateColumns + ", " + orderColumns + ", request, seal, note, result, receipt FROM job JOIN job_body USING (seq) "
)

// A row is one result of a query.
type row interface{ Scan(...any) error }

// stateRow reads the state's columns.
type stateRow struct {
	state                                             State
	created, due, started, completed, expires, leased int64
	fault                                             string
}

func (r *stateRow) targets() []any {
	s := &r.state
	return []any{&s.Status, &r.created, &r.due, &r.started, &r.completed, &r.expires, &s.Holder, &r.leased, &s.Attempts, &s.Cancel, &s.Placed, &r.fault}
}

func (r *stateRow) read() (State, error) {
	s := r.state
	for _, t := range []struct {
		to *time.Time
		ms int64
	}{{&s.Created, r.created}, {&s.Due, r.due}, {&s.Started, r.started}, {&s.Completed, r.completed}, {&s.Expires, r.expires}, {&s.Lease, r.leased}} {
		*t.to = fromMilli(t.ms)
	}
	if r.fault == "" {
		return s, nil
	}
	s.Fault = new(grid.JobError)
	if err := json.Unmarshal([]byte(r.fault), s.Fault); err != nil {
		return s, fmt.Errorf("the error of a stored job: %w", err)
	}
	return s, nil
}

func scanState(r row) (State, error) {
	var s stateRow
	if err := r.Scan(s.targets()...); err != nil {
		return State{}, unknownFor(err)
	}
	return s.read()
}

func (store) scan(r row) (*Job, error) {
	var s stateRow
	var j Job
	var tier int
	var metadata, seal, note string
	err := r.Scan(append(s.targets(), &j.Seq, &j.ID, &j.Owner, &j.Purse, &j.Model, &tier, &metadata, &j.Body, &seal, &note, &j.Result, &j.Receipt)...)
	if err != nil {
		return nil, unknownFor(err)
	}
	if tier < 0 || tier >= len(tierNumbers) {
		return nil, fmt.Errorf("a stored job has tier %d", tier)
	}
	j.Tier, j.Seal = tierNumbers[tier], json.RawMessage(seal)
	if note != "" {
		j.note = []byte(note)
	}
	if metadata != "" {
		if err := json.Unmarshal([]byte(metadata), &j.Metadata); err != nil {
			return nil, fmt.Errorf("the metadata of a stored job: %w", err)
		}
	}
	j.State, err = s.read()
	return &j, err
}

func unknownFor(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrUnknown
	}
	return err
}

// write puts a state back.
func write(ctx context.Context, tx *sql.Conn, seq int64, s State) error {
	_, err := tx.ExecContext(ctx, `UPDATE job SET status = ?, due = ?, started = ?, completed = ?, expires = ?, holder = ?, lease = ?,
		attempts = ?, cancel = ?, placed = ? WHERE seq = ?`,
		s.Status, milli(s.Due), milli(s.Started), milli(s.Completed), milli(s.Expires), s.Holder, milli(s.Lease), s.Attempts, s.Cancel, s.Placed, seq)
	if err != nil {
		return err
	}
	fault, err := faultText(s.Fault)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE job_body SET fault = ? WHERE seq = ? AND fault <> ?", fault, seq, fault)
	return err
}

// faultText is a fault as it is stored: JSON, empty for none.
func faultText(e *grid.JobError) (string, error) {
	if e == nil {
		return "", nil
	}
	text, err := json.Marshal(e)
	return string(text), err
}

// milli is a time as it is stored: Unix milliseconds, 0 for the zero time.
func milli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
