package ledger

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"lobstah/receipt"
)

// A LineStatus says what became of one line of an import.
type LineStatus string

// The statuses.
const (
	LineImported  LineStatus = "imported"
	LineDuplicate LineStatus = "duplicate"
	LineRefused   LineStatus = "refused"
)

// A Line is the outcome for one line; blank lines have none.
type Line struct {
	Number int        `json:"line"` // from 1
	Status LineStatus `json:"status"`
	Nonce  string     `json:"nonce,omitempty"`
	Reason string     `json:"reason,omitempty"` // why it was refused
}

// Imported counts the outcomes of an import.
type Imported struct {
	Lines      int `json:"lines"`
	Imported   int `json:"imported"`
	Duplicates int `json:"duplicates"`
	Refused    int `json:"refused"`
}

// Exported counts what an export wrote and what it could not read.
type Exported struct {
	Written    int64 `json:"written"`
	Unreadable int64 `json:"unreadable"`
}

const (
	importBatch  = 256
	maxLineBytes = 64 << 10 // far above an envelope, white space included
)

// Import reads envelopes in the original's form, one JSON object a line in any
// member order, verifies each and gives the good ones to keep, in batches and
// in order. keep returns one error for each: nil, or one that wraps
// [ErrDuplicate] for a line that is no news; any other ends the import. Bad
// lines are refused one by one and never end it. each may be nil.
func Import(ctx context.Context, r io.Reader, keep func(context.Context, []*receipt.Signed) []error, each func(Line)) (Imported, error) {
	in := importer{keep: keep, each: each}
	lines := bufio.NewReaderSize(r, maxLineBytes)
	for number := 1; ; number++ {
		text, err := readLine(lines)
		in.line(number, text, err)
		end := err != nil && !errors.Is(err, errLongLine)
		if len(in.batch) == importBatch || end {
			if err := in.flush(ctx); err != nil {
				return in.sum, err
			}
		}
		switch {
		case err == io.EOF:
			return in.sum, nil
		case end:
			return in.sum, fmt.Errorf("read line %d of the import: %w", number, err)
		}
	}
}

var errLongLine = fmt.Errorf("longer than %d bytes", maxLineBytes)

// readLine returns the next line; of an overlong one nothing but the error.
func readLine(r *bufio.Reader) ([]byte, error) {
	text, err := r.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return bytes.TrimSpace(text), err
	}
	for err == bufio.ErrBufferFull {
		_, err = r.ReadSlice('\n')
	}
	if err != nil && err != io.EOF {
		return nil, err
	}
	return nil, errLongLine // at the end of the file the next call says EOF
}

type importer struct {
	keep    func(context.Context, []*receipt.Signed) []error
	each    func(Line)
	sum     Imported
	batch   []*receipt.Signed
	numbers []int // the batch's line numbers
}

// line takes one line in; its outcome is told at once when it is refused.
func (in *importer) line(number int, text []byte, err error) {
	switch {
	case errors.Is(err, errLongLine):
		in.tell(Line{Number: number, Status: LineRefused, Reason: err.Error()})
		return
	case err != nil && err != io.EOF, len(text) == 0:
		return
	}
	s, err := receipt.Open(text)
	if err != nil {
		in.tell(Line{Number: number, Status: LineRefused, Reason: err.Error()})
		return
	}
	in.batch, in.numbers = append(in.batch, s), append(in.numbers, number)
}

func (in *importer) flush(ctx context.Context) error {
	if len(in.batch) == 0 {
		return nil
	}
	for i, err := range in.keep(ctx, in.batch) {
		line := Line{Number: in.numbers[i], Status: LineImported, Nonce: in.batch[i].Nonce}
		switch {
		case errors.Is(err, ErrDuplicate):
			line.Status = LineDuplicate
		case err != nil:
			return fmt.Errorf("import line %d: %w", line.Number, err)
		}
		in.tell(line)
	}
	in.batch, in.numbers = in.batch[:0], in.numbers[:0]
	return nil
}

func (in *importer) tell(line Line) {
	in.sum.Lines++
	switch line.Status {
	case LineImported:
		in.sum.Imported++
	case LineDuplicate:
		in.sum.Duplicates++
	case LineRefused:
		in.sum.Refused++
	}
	if in.each != nil {
		in.each(line)
	}
}
