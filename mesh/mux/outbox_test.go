package mux

import (
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
)

// gate is a writer that waits for permission for each write.
type gate struct {
	allow  chan error
	writes chan int
}

func (g *gate) Write(p []byte) (int, error) {
	err := <-g.allow
	if err == nil {
		g.writes <- len(p)
	}
	return len(p), err
}

func newOutbox(g *gate) *outbox { return &outbox{conn: g, wake: make(chan struct{}, 1)} }

func newPiece(stream uint32, n int) *piece {
	return &piece{turn: make(chan struct{}, 1), head: frame{kind: kindData, stream: stream, length: uint32(n)}, body: make([]byte, n)}
}

func TestWhatWaitsGoesOutTogether(t *testing.T) {
	t.Parallel()
	g := &gate{make(chan error, 1), make(chan int, 4)}
	o := newOutbox(g)
	var running sync.WaitGroup
	var ended error
	running.Go(func() { ended = o.run() })
	if err := o.control(frame{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first write is under way", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.queue == nil
	})
	// Four pieces fit, the others wait for their turns.
	var turns []*piece
	for i := range 7 {
		p := newPiece(uint32(i), pieceBytes)
		queued, err := o.put(p)
		if want := i < 4; queued != want || err != nil {
			t.Errorf("piece %d was queued: %v, %v; want %v", i, queued, err, want)
		}
		turns = append(turns, p)
	}
	if small := newPiece(9, 1); o.offer(small) {
		t.Error("a piece overtook those that wait")
	}
	if !o.withdraw(turns[5]) || o.withdraw(turns[0]) {
		t.Error("only a piece that waits can be withdrawn")
	}
	g.allow <- nil
	g.allow <- nil
	if first, second := <-g.writes, <-g.writes; first != headerBytes || second != 4*(headerBytes+pieceBytes) {
		t.Errorf("wrote %d and %d bytes, want a frame and four pieces", first, second)
	}
	<-turns[4].turn
	<-turns[6].turn
	if err := errors.Join(o.result(turns[4]), o.result(turns[6])); err != nil {
		t.Error(err)
	}
	broken := errors.New("broken")
	g.allow <- broken
	if running.Wait(); !errors.Is(ended, broken) {
		t.Errorf("run ended with %v, want %v", ended, broken)
	}
}

func TestWhoWaitsHearsOfTheEnd(t *testing.T) {
	t.Parallel()
	o := newOutbox(&gate{})
	full, closed, failed := newPiece(1, queueBytes), newPiece(2, 1), newPiece(3, 1)
	for p, want := range map[*piece]bool{full: true} {
		if queued, err := o.put(p); queued != want || err != nil {
			t.Fatal(queued, err)
		}
	}
	for _, p := range []*piece{closed, failed} {
		if queued, err := o.put(p); queued || err != nil {
			t.Fatalf("beyond the bound: queued %v, %v", queued, err)
		}
	}
	if err := o.finish(closed, frame{kind: kindWindow, flags: flagFIN, stream: 2}); err != nil {
		t.Fatal(err)
	}
	<-closed.turn
	if err := o.result(closed); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a piece of a stream that was closed: %v", err)
	}
	if _, err := o.put(closed); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a piece after the end of its stream: %v", err)
	}
	end := errors.New("the end")
	o.fail(end)
	<-failed.turn
	if err := o.result(failed); !errors.Is(err, end) || !errors.Is(o.control(frame{}), end) {
		t.Errorf("after the end: %v", err)
	}
	if slices.Contains(o.waiting, failed) {
		t.Error("it still waits")
	}
}
