package link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/iotest"
)

// fakeConn reads from a reader and counts what is done with it.
type fakeConn struct {
	net.Conn
	from   io.Reader
	reads  []int // sizes asked for
	writes [][]byte
	err    error // of writes
}

func (c *fakeConn) Read(p []byte) (int, error) {
	c.reads = append(c.reads, len(p))
	return c.from.Read(p)
}

func (c *fakeConn) Write(p []byte) (int, error) {
	c.writes = append(c.writes, bytes.Clone(p))
	return len(p), c.err
}

func TestWireReadsMuchAtOnce(t *testing.T) {
	t.Parallel()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 20<<10) // 320 KiB
	for name, reader := range map[string]io.Reader{
		"whole":             bytes.NewReader(sent),
		"in halves":         iotest.HalfReader(bytes.NewReader(sent)),
		"byte by byte":      iotest.OneByteReader(bytes.NewReader(sent)),
		"EOF with the last": iotest.DataErrReader(bytes.NewReader(sent)),
	} {
		conn := &fakeConn{from: reader}
		w := &wire{Conn: conn}
		w.proven.Store(true)
		got, err := io.ReadAll(io.MultiReader(io.LimitReader(w, 100), struct{ io.Reader }{w}))
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%s: got %d bytes, want %d as sent; %v", name, len(got), len(sent), err)
		}
		if w.gulp != nil {
			t.Errorf("%s: a buffer is kept although nothing is unread", name)
		}
		if name == "whole" && len(conn.reads) > 20 {
			t.Errorf("%d system calls for %d KiB: %v", len(conn.reads), len(sent)>>10, conn.reads)
		}
	}
}

func TestStrangersGetNoLargeBuffers(t *testing.T) {
	t.Parallel()
	conn := &fakeConn{from: bytes.NewReader(make([]byte, 256<<10))}
	w := &wire{Conn: conn}
	buf := make([]byte, sipBytes)
	for range 4 {
		if _, err := io.ReadFull(w, buf); err != nil {
			t.Fatal(err)
		}
	}
	for _, asked := range conn.reads {
		if asked > sipBytes {
			t.Errorf("asked for %d bytes of a stranger", asked)
		}
	}
}

func TestWireHoldsBack(t *testing.T) {
	t.Parallel()
	conn := &fakeConn{}
	w := &wire{Conn: conn}
	write := func(text string) {
		t.Helper()
		if n, err := w.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("write %q: %d, %v", text, n, err)
		}
	}
	write("a")
	w.hold()
	write("b")
	w.hold() // as a message inside of a batch
	write("c")
	if err := w.release(); err != nil || len(conn.writes) != 1 {
		t.Errorf("the inner release wrote: %q, %v", conn.writes, err)
	}
	write("d")
	if err := w.release(); err != nil {
		t.Error(err)
	}
	w.hold()
	if err := w.release(); err != nil { // nothing to write
		t.Error(err)
	}
	write("e")
	if got := string(bytes.Join(conn.writes, []byte("|"))); got != "a|bcd|e" {
		t.Errorf("wrote %s, want a|bcd|e", got)
	}
	conn.err = errors.New("broken")
	w.hold()
	write("f") // is told with the release
	if err := w.release(); !errors.Is(err, conn.err) {
		t.Errorf("a failed write gave %v", err)
	}
}
