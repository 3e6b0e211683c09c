package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"slices"

	"lobstah/ledger"
	"lobstah/receipt"
)

// Export writes the canonical envelopes, one a line, oldest first. Of a
// damaged file it writes what is still genuine and counts the rest.
func (l *Ledger) Export(ctx context.Context, w io.Writer) (ledger.Exported, error) {
	var sum ledger.Exported
	size, err := l.exportSize(ctx)
	if err != nil {
		return sum, l.explain("export", err)
	}
	for last := int64(0); last < size; {
		end := min(last+pageSize, size)
		page, err := l.exportPage(ctx, last, end)
		if err != nil {
			return sum, l.explain("export", err)
		}
		for _, body := range page {
			if _, err := w.Write(append(body, '\n')); err != nil {
				return sum, fmt.Errorf("write the export: %w", err)
			}
			sum.Written++
		}
		last = end
	}
	sum.Unreadable = size - sum.Written
	return sum, nil
}

// exportSize asks the book, and if that is damaged the envelopes.
func (l *Ledger) exportSize(ctx context.Context) (size int64, err error) {
	if size, _, err = readBook(ctx, l.read); err == nil {
		return size, nil
	}
	err = l.read.QueryRowContext(ctx, "SELECT coalesce(max(seq), 0) FROM envelope").Scan(&size)
	return size, err
}

// exportPage returns the lines of the entries from after+1 to last.
func (l *Ledger) exportPage(ctx context.Context, after, last int64) ([][]byte, error) {
	if l.damaged() == nil {
		page, err := readEnvelopes(ctx, l.read, after, last)
		if !isDamage(err) && !slices.ContainsFunc(page, brokenLine) {
			return page, err
		}
	}
	var page [][]byte
	for seq := after; seq < last; seq++ {
		one, err := readEnvelopes(ctx, l.read, seq, seq+1)
		if err != nil && !isDamage(err) {
			return nil, err
		}
		if err != nil || len(one) == 0 {
			continue
		}
		if s, err := receipt.Open(one[0]); err == nil {
			page = append(page, s.Envelope())
		}
	}
	return page, nil
}

// brokenLine reports whether body cannot stand on a line; an envelope can.
func brokenLine(body []byte) bool { return len(body) == 0 || bytes.IndexByte(body, '\n') >= 0 }

// readEnvelopes reads the entries from after+1 to last.
func readEnvelopes(ctx context.Context, db querier, after, last int64) (page [][]byte, err error) {
	err = each(ctx, db, func(rows *sql.Rows) error {
		var body []byte
		err := rows.Scan(&body)
		page = append(page, body)
		return err
	}, "SELECT body FROM envelope WHERE seq > ? AND seq <= ? ORDER BY seq", after, last)
	return page, err
}
