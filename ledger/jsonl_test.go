package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"lobstah/ledger"
	"lobstah/ledger/ledgertest"
	"lobstah/receipt"
)

// keepAll accepts each nonce once.
type keepAll map[string]bool

func (k keepAll) keep(_ context.Context, list []*receipt.Signed) []error {
	errs := make([]error, len(list))
	for i, s := range list {
		if k[s.Nonce] {
			errs[i] = ledger.ErrDuplicate
		}
		k[s.Nonce] = true
	}
	return errs
}

func TestImportLines(t *testing.T) {
	t.Parallel()
	good := string(ledgertest.Receipt(t, pair, receipt.Anonymous, 1, 1, nil).Envelope())
	long := strings.Repeat(" ", 1<<20) + good
	text := strings.Join([]string{
		good, "", "  " + good + "\t\r", "{", strings.Replace(good, `"inputTokens":1`, `"inputTokens":2`, 1), long, "null", good[:50], "\xff", long,
	}, "\n")
	want := []string{"1 imported", "3 duplicate", "4 refused", "5 refused", "6 refused", "7 refused", "8 refused", "9 refused", "10 refused"}
	for name, end := range map[string]string{"no final newline": "", "final newline": "\n"} {
		told := map[int]string{}
		sum, err := ledger.Import(t.Context(), strings.NewReader(text+end), keepAll{}.keep, func(l ledger.Line) {
			told[l.Number] = fmt.Sprintf("%d %s", l.Number, l.Status)
			if (l.Status == ledger.LineRefused) != (l.Reason != "") {
				t.Errorf("line %d, %s, has the reason %q", l.Number, l.Status, l.Reason)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if wantSum := (ledger.Imported{Lines: 9, Imported: 1, Duplicates: 1, Refused: 7}); sum != wantSum {
			t.Errorf("%s: %+v, want %+v", name, sum, wantSum)
		}
		for _, w := range want {
			var n int
			fmt.Sscan(w, &n)
			if told[n] != w {
				t.Errorf("%s: line %d was told as %q, want %q", name, n, told[n], w)
			}
		}
	}
}

func TestImportFails(t *testing.T) {
	t.Parallel()
	good := ledgertest.Receipt(t, pair, receipt.Anonymous, 1, 1, nil).Envelope()
	broken := errors.New("the disk is gone")
	reader := iotest.DataErrReader(&failing{bytes.NewReader(append(good, '\n')), broken})
	kept := keepAll{}
	sum, err := ledger.Import(t.Context(), reader, kept.keep, nil)
	if !errors.Is(err, broken) || sum.Imported != 1 || len(kept) != 1 {
		t.Errorf("a read error gave %+v, %v; want what was read before it kept, and the error", sum, err)
	}
	refuse := func(_ context.Context, list []*receipt.Signed) []error { return []error{ledger.ErrFull} }
	if _, err := ledger.Import(t.Context(), bytes.NewReader(good), refuse, nil); !errors.Is(err, ledger.ErrFull) {
		t.Errorf("a full disk gave %v", err)
	}
}

type failing struct {
	*bytes.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.Len() == 0 {
		return 0, f.err
	}
	return f.Reader.Read(p)
}

func FuzzImport(f *testing.F) {
	good := ledgertest.Receipt(f, pair, receipt.Anonymous, 1, 1, nil).Envelope()
	f.Add(append(good, '\n'))
	f.Add([]byte("\n\r\n{}\nnull"))
	f.Fuzz(func(t *testing.T, text []byte) {
		kept := keepAll{}
		last := 0
		sum, err := ledger.Import(t.Context(), bytes.NewReader(text), kept.keep, func(l ledger.Line) { last = max(last, l.Number) })
		if err != nil {
			t.Fatal(err)
		}
		if sum.Imported+sum.Duplicates+sum.Refused != sum.Lines || sum.Imported != len(kept) {
			t.Errorf("the sums do not fit: %+v, kept %d", sum, len(kept))
		}
		if most := bytes.Count(text, []byte("\n")) + 1; sum.Lines > most || last > most {
			t.Errorf("%d outcomes, the last for line %d, of %d lines", sum.Lines, last, most)
		}
	})
}
