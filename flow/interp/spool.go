package interp

import (
	"bytes"
	"io"
)

// MaxPrinted is how many bytes a run may print, unless LOBSTER_MAX_PRINT_BYTES says otherwise.
const MaxPrinted = 4 << 30

// Spool keeps text until it is known that it may be shown: nobody shall see half of what failed. Whoever gets one closes it.
type Spool interface {
	io.Writer
	// CopyTo writes all that was kept.
	CopyTo(w io.Writer) error
	Close() error
}

// Keep returns an empty spool.
func (e *Env) Keep() Spool {
	if e.Spool == nil {
		return &memorySpool{}
	}
	return e.Spool()
}

// memorySpool is the spool of an Env that has no place for files.
type memorySpool struct{ bytes.Buffer }

func (s *memorySpool) CopyTo(w io.Writer) error {
	_, err := s.WriteTo(w)
	return err
}

func (s *memorySpool) Close() error { return nil }
