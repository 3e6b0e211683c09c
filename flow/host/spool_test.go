package host

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// What does not fit into memory waits in a file, keeps its order, and leaves nothing behind.
func TestSpool(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // on Windows
	var want, got bytes.Buffer
	var s Spool
	for i := range 40 {
		piece := bytes.Repeat([]byte{byte('a' + i%26)}, 1<<19)
		want.Write(piece)
		if _, err := s.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	if s.file == nil || s.buf.Len() > spoolMemory {
		t.Errorf("%d bytes are in memory, file %v", s.buf.Len(), s.file)
	}
	if err := s.CopyTo(&got); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("got %d bytes, %v, want the %d that were written", got.Len(), err, want.Len())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestSpoolLimit(t *testing.T) {
	t.Parallel()
	s := Spool{Limit: 10}
	if _, err := s.Write([]byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("x")); err == nil || !strings.Contains(err.Error(), "LOBSTER_MAX_PRINT_BYTES") {
		t.Errorf("beyond the limit: got %v, want an error that names the setting", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
