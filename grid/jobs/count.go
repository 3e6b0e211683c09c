package jobs

import (
	"context"

	"lobstah/grid"
)

// counts tells how many jobs there are in each status, as clients see it.
func (s store) counts(ctx context.Context) (c grid.JobCounts, err error) {
	rows, err := s.db.Reading().QueryContext(ctx, "SELECT status, started > 0, count(*) FROM job WHERE side = ? GROUP BY 1, 2", s.side)
	if err != nil {
		return c, err
	}
	defer rows.Close()
	for rows.Next() {
		var status Status
		var started bool
		var n int
		if err := rows.Scan(&status, &started, &n); err != nil {
			return c, err
		}
		switch {
		case status == Done:
			c.Done += n
		case status == Failed:
			c.Error += n
		case started:
			c.Running += n
		default:
			c.Queued += n
		}
	}
	return c, rows.Err()
}

// mostAhead bounds how far ahead counts.
const mostAhead = 1000

// ahead counts the queued jobs that go before this one, of each tier no more
// than mostAhead.
func (s store) ahead(ctx context.Context, j *Job, order []grid.Tier) (n int, err error) {
	var tiers [3]int // the rank of each tier by its number
	for rank, tier := range order {
		tiers[tierNumber(tier)] = rank
	}
	own := tierNumber(j.Tier)
	for tier, rank := range tiers {
		var count int
		switch {
		case rank < tiers[own]:
			err = s.db.Reading().QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM job WHERE side = ? AND status = 1 AND tier = ? LIMIT ?)", s.side, tier, mostAhead).Scan(&count)
		case tier == own:
			err = s.db.Reading().QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM job JOIN (SELECT turn AS mine FROM job WHERE seq = ?3)
				WHERE side = ?1 AND status = 1 AND tier = ?2 AND (turn < mine OR turn = mine AND seq < ?3) LIMIT ?4)`, s.side, tier, j.Seq, mostAhead).Scan(&count)
		}
		if err != nil {
			return 0, err
		}
		n += count
	}
	return n, nil
}
