package host

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// spoolMemory is how much a spool keeps in memory; what goes beyond waits in a temporary file.
const spoolMemory = 8 << 20

// Spool is an [interp.Spool] on a temporary file. The zero Spool is ready and takes any amount.
type Spool struct {
	Limit int64 // in bytes, 0 for none
	size  int64
	buf   bytes.Buffer
	file  *os.File
}

// Write keeps b. Beyond the limit it fails and keeps nothing of b.
func (s *Spool) Write(b []byte) (int, error) {
	if s.size += int64(len(b)); s.Limit > 0 && s.size > s.Limit {
		return 0, fmt.Errorf("the output exceeds %d bytes; narrow it down, let the pipeline write it to a file, or raise LOBSTER_MAX_PRINT_BYTES", s.Limit)
	}
	if s.buf.Len()+len(b) > spoolMemory {
		if err := s.flush(); err != nil {
			return 0, err
		}
	}
	return s.buf.Write(b)
}

func (s *Spool) flush() error {
	if s.file == nil {
		f, err := os.CreateTemp("", "lobster-output-")
		if err != nil {
			return err
		}
		s.file = f
		_ = os.Remove(f.Name()) // systems that cannot remove an open file do it in Close
	}
	_, err := s.buf.WriteTo(s.file)
	return err
}

// CopyTo writes all that was kept.
func (s *Spool) CopyTo(w io.Writer) error {
	if s.file != nil {
		if _, err := s.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(w, s.file); err != nil {
			return err
		}
	}
	_, err := s.buf.WriteTo(w)
	return err
}

// Close forgets everything.
func (s *Spool) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	if gone := os.Remove(s.file.Name()); !errors.Is(gone, os.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}
