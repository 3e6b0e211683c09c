package main

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// spoolMemory is how much of an output is kept in memory; what goes beyond waits in a temporary file.
const spoolMemory = 8 << 20

// spool keeps output until it is known that the run succeeded, because a caller must not get half of a failed one. The zero spool is
// ready; it must be closed.
type spool struct {
	buf  bytes.Buffer
	file *os.File
}

func (s *spool) Write(b []byte) (int, error) {
	if s.buf.Len()+len(b) > spoolMemory {
		if err := s.flush(); err != nil {
			return 0, err
		}
	}
	return s.buf.Write(b)
}

func (s *spool) flush() error {
	if s.file == nil {
		f, err := os.CreateTemp("", "lobster-output-")
		if err != nil {
			return err
		}
		s.file = f
		_ = os.Remove(f.Name()) // systems that cannot remove an open file do it in close
	}
	_, err := s.buf.WriteTo(s.file)
	return err
}

// copyTo writes all that was kept.
func (s *spool) copyTo(w io.Writer) error {
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

func (s *spool) close() {
	if s.file == nil {
		return
	}
	err := s.file.Close()
	if _, statErr := os.Stat(s.file.Name()); errors.Join(err, statErr) == nil {
		_ = os.Remove(s.file.Name())
	}
}
