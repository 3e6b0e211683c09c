package mux

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
)

// pair runs the two ends of a session over a pipe until the test ends.
func pair(t testing.TB) (dialler, acceptor *Session) {
	t.Helper()
	a, b := net.Pipe()
	return start(t, a, true), start(t, b, false)
}

// start runs one end of a session until the test ends, or it ends itself. Streams
// linger for as long as any test may take: no slow reader is cut off.
func start(t testing.TB, conn net.Conn, dialler bool) *Session {
	t.Helper()
	s := New(conn, dialler, time.Hour)
	var running sync.WaitGroup
	running.Go(s.Run)
	running.Go(func() { <-s.Done(); conn.Close() })
	t.Cleanup(func() { s.Close(); running.Wait() })
	return s
}

func open(t testing.TB, from, to *Session) (near, far *Stream) {
	t.Helper()
	near, err := from.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	far, err = to.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// send writes all of b and closes the stream.
func send(t testing.TB, to io.WriteCloser, b []byte) {
	if _, err := to.Write(b); err != nil {
		t.Errorf("write %d bytes: %v", len(b), err)
	}
	if err := to.Close(); err != nil {
		t.Error(err)
	}
}

func receive(t testing.TB, from io.Reader, want []byte) {
	t.Helper()
	got, err := io.ReadAll(from)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, the same: %v, %v; want %d", len(got), bytes.Equal(got, want), err, len(want))
	}
}

func TestManyStreamsBothWays(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	var running sync.WaitGroup
	for i := range 40 {
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		near, far := open(t, from, to)
		data := random(i * 20_000)
		running.Go(func() { send(t, near, data) })
		running.Go(func() { receive(t, far, data); far.Close() })
	}
	running.Wait()
	for _, s := range []*Session{a, b} {
		eventually(t, "all streams are forgotten", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.streams) == 0
		})
		if len(s.asked) != 0 || len(s.places) != 0 {
			t.Errorf("%d streams are still asked for, %d have a place", len(s.asked), len(s.places))
		}
	}
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came about that %s", what)
		}
	}
}

// Nodes of before spoke through yamux itself.
func TestSpeaksWithYamux(t *testing.T) {
	t.Parallel()
	for _, dialler := range []bool{true, false} {
		a, b := net.Pipe()
		ours := start(t, a, dialler)
		config := yamux.DefaultConfig()
		config.EnableKeepAlive, config.LogOutput = false, io.Discard
		config.ConnectionWriteTimeout = time.Hour // a loaded machine may be slow
		var theirs *yamux.Session
		var err error
		if dialler {
			theirs, err = yamux.Server(b, config)
		} else {
			theirs, err = yamux.Client(b, config)
		}
		if err != nil {
			t.Fatal(err)
		}
		data := random(3 * Window)
		var running sync.WaitGroup
		for range 8 {
			near, err := ours.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			far, err := theirs.AcceptStream()
			if err != nil {
				t.Fatal(err)
			}
			running.Go(func() { send(t, near, data) })
			running.Go(func() { receive(t, far, data); far.Close() })

			answer, err := theirs.OpenStream()
			if err != nil {
				t.Fatal(err)
			}
			heard, err := ours.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			running.Go(func() { send(t, answer, data) })
			running.Go(func() { receive(t, heard, data); heard.Close() })
		}
		running.Wait()
		theirs.Close()
		<-ours.Done()
	}
}

// Bytes that pass a relay arrive whole and in order, whether they were passed on
// at once or waited, and a receiver that stops holds up its own stream alone.
func TestRelayKeepsTheOrder(t *testing.T) {
	t.Parallel()
	origin, relayIn := pair(t)
	relayOut, end := pair(t)
	var relaying, running sync.WaitGroup
	for i := range 12 {
		near, in := open(t, origin, relayIn)
		out, far := open(t, relayOut, end)
		data := random(1<<20 + i)
		relaying.Go(func() {
			n, err := in.WriteTo(out)
			if err != nil || n != int64(len(data)) {
				t.Errorf("passed on %d bytes, %v; want %d", n, err, len(data))
			}
			out.Close()
			in.Close()
		})
		running.Go(func() { send(t, near, data) })
		running.Go(func() {
			defer far.Close()
			slow := rand.New(rand.NewPCG(1, uint64(i)))
			got := make([]byte, 0, len(data))
			for buf := make([]byte, 64<<10); ; {
				n, err := far.Read(buf[:1+slow.IntN(len(buf))])
				got = append(got, buf[:n]...)
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
			if !bytes.Equal(got, data) {
				t.Errorf("stream %d: %d bytes arrived, want %d, the same", i, len(got), len(data))
			}
		})
	}
	stuck, stuckIn := open(t, origin, relayIn)
	stuckOut, unread := open(t, relayOut, end)
	relaying.Go(func() { stuckIn.WriteTo(stuckOut) })
	running.Go(func() { stuck.Write(make([]byte, 8*Window)) }) // until it is closed
	eventually(t, "the receiver that reads nothing has a full window", func() bool {
		unread.mu.Lock()
		defer unread.mu.Unlock()
		return unread.inbox.unread == Window
	})
	echoed, echoIn := open(t, origin, relayIn) // while that one is stuck
	echoOut, echoFar := open(t, relayOut, end)
	relaying.Go(func() { echoIn.WriteTo(echoOut); echoOut.Close() })
	running.Go(func() { send(t, echoed, []byte("not held up")) })
	receive(t, echoFar, []byte("not held up"))
	stuck.Close()
	stuckIn.Close()
	stuckOut.Close()
	running.Wait()
	relaying.Wait()
}

func TestUnreadBytesAreBounded(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	near, far := open(t, a, b)
	var n int
	var err error
	var writing sync.WaitGroup
	writing.Go(func() { n, err = near.Write(make([]byte, 2*Window)) })
	eventually(t, "the window is full", func() bool {
		far.mu.Lock()
		defer far.mu.Unlock()
		return far.inbox.unread >= Window
	})
	near.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	writing.Wait()
	if n != Window || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("wrote %d bytes to a receiver that reads nothing, %v; want %d and a timeout", n, err, Window)
	}
	near.SetWriteDeadline(time.Time{})
	done := make(chan error, 1)
	go func() { _, err := near.Write([]byte("more")); done <- err }()
	if _, err := io.ReadFull(far, make([]byte, Window)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("after the receiver has read: %v", err)
	}
}

// Many small frames of a receiver that does not read must not cost it much more
// than their bytes.
func TestSmallFramesArePacked(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	near, far := open(t, a, b)
	for range 5000 {
		if _, err := near.Write(make([]byte, 20)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all has arrived", func() bool {
		far.mu.Lock()
		defer far.mu.Unlock()
		return far.inbox.unread == 100_000
	})
	far.mu.Lock()
	defer far.mu.Unlock()
	if n := len(far.inbox.chunks); n > 100_000/pieceBytes+1 {
		t.Errorf("%d bytes are kept in %d chunks of %d", far.inbox.unread, n, pieceBytes)
	}
}

func TestDeadlines(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	near, _ := open(t, a, b)
	near.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read gave %v, want a timeout", err)
	}
	near.SetReadDeadline(time.Time{})
	ended := make(chan error, 1)
	go func() { _, err := near.WriteTo(io.Discard); ended <- err }()
	near.SetDeadline(time.Unix(1, 0)) // wakes who waits already
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("WriteTo gave %v, want a timeout", err)
	}
	if _, err := near.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write gave %v, want a timeout", err)
	}
	var timeout net.Error
	if err := error(os.ErrDeadlineExceeded); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Error("a timeout is none to package net")
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	near, far := open(t, a, b)
	reading := make(chan error, 1)
	go func() { _, err := near.Read(make([]byte, 1)); reading <- err }()
	writing := make(chan error, 1)
	go func() { _, err := near.Write(make([]byte, 2*Window)); writing <- err }()
	eventually(t, "the window is full", func() bool {
		far.mu.Lock()
		defer far.mu.Unlock()
		return far.inbox.unread == Window
	})
	near.Close()
	if err := <-reading; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read of a stream that is closed gave %v", err)
	}
	if err := <-writing; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write to a stream that is closed gave %v", err)
	}
	if got, err := io.ReadAll(far); len(got) != Window || err != nil {
		t.Errorf("the other side read %d bytes, %v; want what was written before, %d", len(got), err, Window)
	}
	if _, err := far.Write([]byte("into the void")); err != nil { // nobody has told it yet that nobody reads
		t.Error(err)
	}
	far.Close()
	for _, s := range []*Session{a, b} {
		eventually(t, "the stream is forgotten", func() bool { return s.find(near.id) == nil })
	}
}

// A stream that only one side closes ends after a while.
func TestLingeringStreamIsReset(t *testing.T) {
	t.Parallel()
	x, y := net.Pipe()
	a := New(x, true, time.Millisecond)
	var running sync.WaitGroup
	running.Go(a.Run)
	t.Cleanup(func() { a.Close(); x.Close(); running.Wait() })
	b := start(t, y, false)
	near, far := open(t, a, b)
	near.Close()
	eventually(t, "the other side was told", func() bool {
		far.mu.Lock()
		defer far.mu.Unlock()
		return errors.Is(far.err, ErrReset)
	})
	if _, err := far.Write([]byte("x")); !errors.Is(err, ErrReset) {
		t.Errorf("write gave %v, want %v", err, ErrReset)
	}
	if a.find(near.id) != nil || b.find(near.id) != nil {
		t.Error("a stream that was reset is not forgotten")
	}
}

func TestEndOfTheSession(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	near, far := open(t, a, b)
	full, _ := open(t, a, b)
	blocked := make(chan error, 4)
	go func() { _, err := near.Read(make([]byte, 1)); blocked <- err }()
	go func() { _, err := far.Read(make([]byte, 1)); blocked <- err }()
	go func() { _, err := full.Write(make([]byte, 4*Window)); blocked <- err }()
	go func() { _, err := b.Accept(context.Background()); blocked <- err }()
	a.Close()
	for range 4 {
		if err := <-blocked; err == nil {
			t.Error("something went on after the end of the session")
		}
	}
	if _, err := a.Open(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("a stream was opened after the end: %v", err)
	}
	if near.Close() != nil || far.Close() != nil {
		t.Error("streams cannot be closed after the end")
	}
}

func TestAcceptedStreamsAreCounted(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	var first *Stream
	for i := range MaxStreams {
		_, far := open(t, a, b)
		if i == 0 {
			first = far
		}
	}
	if _, err := a.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := b.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one more than MaxStreams was accepted: %v", err)
	}
	first.Close()
	if _, err := b.Accept(t.Context()); err != nil {
		t.Errorf("a place that became free is not given: %v", err)
	}
}
