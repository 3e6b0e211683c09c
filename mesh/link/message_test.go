package link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// What asMessage makes the library reads, at either end.
func TestMessagesAreReadByTheLibrary(t *testing.T) {
	t.Parallel()
	sizes := []int{0, 1, 3, 125, 126, 127, 1023, 1025, 1<<16 - 1, 1 << 16, 140_001}
	payload := func(n int) []byte { return bytes.Repeat([]byte("0123456789abc"), n/13+1)[:n] }
	say := func(w io.Writer, masked bool) error {
		for _, n := range sizes {
			if _, err := w.Write(asMessage(append(make([]byte, maxHeader), payload(n)...), masked)); err != nil {
				return err
			}
		}
		return nil
	}
	hear := func(ws *websocket.Conn) {
		ws.SetReadLimit(messageBytes)
		for _, n := range sizes {
			kind, got, err := ws.Read(t.Context())
			if err != nil || kind != websocket.MessageBinary || !bytes.Equal(got, payload(n)) {
				t.Errorf("a message of %d bytes was read as %s of %d, %v", n, kind, len(got), err)
				return
			}
		}
	}
	heard := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(heard)
		up := &upgrading{ResponseWriter: w}
		ws, err := websocket.Accept(up, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.CloseNow()
		hear(ws)
		if err := say(up.wire, false); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	dialer := &Dialer{Identity: testIdentity(t, 1, strongText)}
	u, err := ParseURL("ws" + strings.TrimPrefix(server.URL, "http"))
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := dialer.socket(t.Context(), t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := say(s.wire, true); err != nil {
		t.Fatal(err)
	}
	hear(s.ws)
	<-heard
}

func TestMaskIsUndoneByItself(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 4, 5, 1023, 1024, 1025, 5000} {
		plain := bytes.Repeat([]byte{7}, n)
		covered := bytes.Clone(plain)
		key := [4]byte{1, 2, 3, 4}
		maskWith(key, covered)
		for i := range covered {
			if covered[i] != 7^key[i%4] {
				t.Fatalf("byte %d of %d is covered by %d, want %d", i, n, covered[i]^7, key[i%4])
			}
		}
		if maskWith(key, covered); !bytes.Equal(covered, plain) {
			t.Errorf("%d bytes are not the same when they are uncovered", n)
		}
	}
}

func TestNoMessageAfterTheGoodbye(t *testing.T) {
	t.Parallel()
	s := &socket{wire: &wire{Conn: &fakeConn{}, bare: true}}
	if _, err := s.Write([]byte("a")); err != nil {
		t.Error(err)
	}
	s.closing.Store(true)
	if _, err := s.Write([]byte("b")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a message after the goodbye: %v", err)
	}
}
