package mux

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// script is a connection on which the other side says what it likes.
type script struct {
	io.Reader
	io.Writer
}

// hear runs the accepting end on what an other side says, and tells why it ended.
// It remembers streams that it closed to the end, so that what is allowed does not
// depend on how long it takes.
func hear(t testing.TB, said []byte) error {
	t.Helper()
	s := New(script{bytes.NewReader(said), io.Discard}, false, time.Hour)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			st, err := s.Accept(t.Context())
			if err != nil {
				return
			}
			st.Close()
		}
	})
	s.Run()
	accepting.Wait()
	return s.Err()
}

func frames(list ...frame) (b []byte) {
	for _, f := range list {
		b = f.appendTo(b)
		if f.kind == kindData {
			b = append(b, make([]byte, f.length)...)
		}
	}
	return b
}

func TestFramesThatAreNotAllowed(t *testing.T) {
	t.Parallel()
	syn := frame{kind: kindWindow, flags: flagSYN, stream: 1}
	full := frame{kind: kindData, stream: 1, length: Window}
	for name, test := range map[string]struct {
		said []byte
		want string // empty: it is allowed
	}{
		"nothing":                {nil, ""},
		"data":                   {frames(syn, frame{kind: kindData, stream: 1, length: 2}), ""},
		"SYN with data":          {frames(frame{kind: kindData, flags: flagSYN, stream: 1, length: 2}), ""},
		"a full window":          {frames(syn, full), ""},
		"for a stream forgotten": {frames(frame{kind: kindData, stream: 7, length: Window}, frame{kind: kindWindow, stream: 9}), ""},
		"a huge window":          {frames(syn, frame{kind: kindWindow, stream: 1, length: 1<<32 - 1}, frame{kind: kindWindow, stream: 1, length: 1<<32 - 1}), ""},
		"closed and reset":       {frames(syn, frame{kind: kindWindow, flags: flagFIN, stream: 1}, frame{kind: kindWindow, flags: flagRST, stream: 1}), ""},
		"accepts what was never": {frames(syn, frame{kind: kindWindow, flags: flagACK, stream: 1}), ""},
		"more than the window":   {frames(syn, full, frame{kind: kindData, stream: 1, length: 1}), "more than its window"},
		"long data":              {frames(syn, frame{kind: kindData, stream: 1, length: Window + 1}), "at most"},
		"ping":                   {frames(frame{kind: kindPing}), "ping"},
		"ping inside of data":    {frames(syn, frame{kind: kindData, stream: 1, length: 24}), ""},
		"go away":                {frames(frame{kind: kindGoAway, length: 1}), "code 1"},
		"unknown kind":           {frames(frame{kind: 9}), "unknown kind 9"},
		"version":                {append([]byte{1}, frames(syn)[1:]...), "version 1"},
		"our number":             {frames(frame{kind: kindWindow, flags: flagSYN, stream: 2}), "cannot be opened"},
		"number zero":            {frames(frame{kind: kindWindow, flags: flagSYN}), "cannot be opened"},
		"opened twice":           {frames(syn, syn), "cannot be opened"},
		"half a frame":           {frames(syn)[:7], "unexpected EOF"},
		"half of the data":       {frames(syn, full)[:100], "unexpected EOF"},
	} {
		err := hear(t, test.said)
		if test.want == "" && !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: ended with %v, want %q", name, err, test.want)
		}
		if _, broken := errors.AsType[*ProtocolError](err); broken != (test.want != "" && !strings.HasPrefix(test.want, "unexpected")) {
			t.Errorf("%s: %v counts as a breach of the protocol: %v", name, err, broken)
		}
	}
}

// A side that asks and never reads the answers is cut off.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer far.Close()
	s := start(t, near, false)
	var id uint32
	for {
		id += 2
		_, err := far.Write(frames(frame{kind: kindWindow, flags: flagSYN, stream: id - 1}))
		if err != nil {
			break
		}
		if id > 1<<20 {
			t.Fatal("half a million streams were asked for and refused, and no answer was read")
		}
	}
	if <-s.Done(); !errors.Is(s.Err(), errUnread) {
		t.Errorf("ended with %v, want %v", s.Err(), errUnread)
	}
	if s.mu.Lock(); len(s.streams) > MaxStreams {
		t.Errorf("%d streams are waiting, want at most %d", len(s.streams), MaxStreams)
	}
	s.mu.Unlock()
}

func FuzzSession(f *testing.F) {
	f.Add(frames(frame{kind: kindWindow, flags: flagSYN, stream: 1}, frame{kind: kindData, stream: 1, length: 5}, frame{kind: kindData, flags: flagFIN, stream: 1, length: 1}))
	f.Add(frames(frame{kind: kindData, flags: flagSYN | flagFIN, stream: 3, length: 70}, frame{kind: kindWindow, flags: flagRST, stream: 3}))
	f.Add(frames(frame{kind: kindPing, flags: flagSYN}))
	f.Fuzz(func(t *testing.T, said []byte) {
		if err := hear(t, said); err == nil {
			t.Error("the session ended without a reason")
		}
	})
}
