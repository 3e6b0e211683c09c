package sqlite

import (
	"errors"
	"fmt"
	"syscall"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"lobstah/ledger"
)

// explain says what was being done and what to do next, and gives SQLite's
// codes the meaning that the ledger package names. A file that proves damaged
// is remembered, so that nothing is appended to it any more.
func (l *Ledger) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	if known := l.damaged(); known != nil && err == known {
		return err // explained before
	}
	switch c := code(err); {
	case isDamage(err):
		err = l.wreck(doing, err, "Save what can be read with 'lobstah ledger export', move")
		l.damage.CompareAndSwap(nil, &err)
		return err
	case c == lib.SQLITE_FULL, errors.Is(err, syscall.ENOSPC):
		err = fmt.Errorf("%w: nothing was written; free some space and try again: %w", ledger.ErrFull, err)
	case c == lib.SQLITE_BUSY, c == lib.SQLITE_LOCKED:
		err = fmt.Errorf("%w and did not let go for %s: %w", ledger.ErrBusy, busyTimeout, err)
	}
	return fmt.Errorf("%s the ledger %s: %w", doing, l.path, err)
}

// wreck explains damage; first is what to do first, up to the word "move".
func (l *Ledger) wreck(doing string, err error, first string) error {
	if !errors.Is(err, ledger.ErrDamaged) {
		err = fmt.Errorf("%w: %w", ledger.ErrDamaged, err)
	}
	return fmt.Errorf("%s the ledger %s: %w. Nothing was changed. %s it and the files beside it whose names begin so out of the way, start again, and give what you exported to 'lobstah ledger import'", doing, l.path, err, first)
}

// damaged returns the error that made the file refuse appends, if any.
func (l *Ledger) damaged() error {
	if err := l.damage.Load(); err != nil {
		return *err
	}
	return nil
}

// isDamage reports whether an error means that the file is damaged.
func isDamage(err error) bool {
	switch code(err) {
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return true
	}
	return errors.Is(err, ledger.ErrDamaged)
}

// code is SQLite's primary result code, 0 when err is not SQLite's.
func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}
