package link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
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

// Writing to a connection that takes nothing does not wait; what is kept goes out
// in its order when the connection takes it, and is bounded.
func TestWireNeverWaits(t *testing.T) {
	t.Parallel()
	near, far := connected(t)
	told := 0
	w := &wire{Conn: near}
	w.prompt(func() { told++ })
	part := bytes.Repeat([]byte("0123456789abcdef"), 1<<12)
	var sent []byte
	for told < 3 { // the system takes no more
		if n, err := w.Write(part); n != len(part) || err != nil {
			t.Fatalf("wrote %d bytes, %v", n, err)
		}
		sent = append(sent, part...)
	}
	var draining sync.WaitGroup
	draining.Go(func() {
		if err := w.drain(); err != nil {
			t.Error(err)
		}
	})
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("what arrived differs (%v)", err)
	}
	draining.Wait()
	var err error
	for n := 0; err == nil; n += len(part) {
		if n > 1<<30 {
			t.Fatal("a gigabyte was kept for a connection that takes nothing")
		}
		_, err = w.Write(part)
	}
	if w.mu.Lock(); len(*w.out) > keptBytes+len(part) {
		t.Errorf("%d bytes are kept, want about %d at most", len(*w.out), keptBytes)
	}
	w.mu.Unlock()
	if again := w.drain(); !errors.Is(again, err) {
		t.Errorf("drain gave %v, want %v", again, err)
	}
}

// Where writing cannot be tried, everything is kept and drained.
func TestWireKeepsWhatItCannotTry(t *testing.T) {
	t.Parallel()
	conn := &fakeConn{}
	told := 0
	w := &wire{Conn: conn}
	w.prompt(func() { told++ })
	w.Write([]byte("a"))
	w.hold()
	w.Write([]byte("b"))
	w.Write([]byte("c"))
	if err := errors.Join(w.release(), w.drain()); err != nil {
		t.Error(err)
	}
	if got := string(bytes.Join(conn.writes, []byte("|"))); got != "abc" || told != 2 {
		t.Errorf("wrote %s and told of it %d times, want abc at once, and 2", got, told)
	}
	conn.err = errors.New("broken")
	w.Write([]byte("d"))
	if err := w.drain(); !errors.Is(err, conn.err) {
		t.Errorf("a failed write gave %v", err)
	}
	if _, err := w.Write([]byte("e")); !errors.Is(err, conn.err) {
		t.Errorf("a write after it gave %v", err)
	}
}

// connected gives the two ends of a TCP connection.
func connected(t *testing.T) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if near, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}
