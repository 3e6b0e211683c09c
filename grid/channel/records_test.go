package channel

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"

	"lobstah/key"
)

// securedPair connects a client of ours to a TLS server over TCP.
func securedPair(t *testing.T) (client net.Conn, server *tls.Conn) {
	t.Helper()
	pair := key.Generate()
	config, err := pair.ServerTLS()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	accepted := make(chan *tls.Conn, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			close(accepted)
			return
		}
		secure := tls.Server(conn, config)
		if secure.HandshakeContext(t.Context()) != nil {
			conn.Close()
		}
		accepted <- secure
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if client, err = openTLS(t.Context(), &arriving{Conn: conn}, key.PinnedTLS(pair.ID())); err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// arriving is a connection that can be read when all has arrived, and not before.
type arriving struct {
	net.Conn
	all  bool
	rest *bytes.Reader
}

func (a *arriving) Read(p []byte) (int, error) {
	if !a.all {
		return a.Conn.Read(p)
	}
	if a.rest == nil {
		rest, err := io.ReadAll(a.Conn)
		if err != nil {
			return 0, err
		}
		a.rest = bytes.NewReader(rest)
	}
	return a.rest.Read(p)
}

func TestRecordsComeTogether(t *testing.T) {
	client, server := securedPair(t)
	const records = 20
	for range records {
		if _, err := server.Write([]byte("data: word\n\n")); err != nil {
			t.Fatal(err)
		}
	}
	// A close_notify behind them must not swallow what came before it.
	if err := server.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := server.NetConn().(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	client.(*secured).records.Conn.(*arriving).all = true
	var reads, got int
	buffer := make([]byte, 32<<10)
	for {
		n, err := client.Read(buffer)
		got += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		reads++
	}
	if got != records*len("data: word\n\n") || reads > records/2 {
		t.Errorf("%d bytes in %d reads; want all of %d records in few", got, reads, records)
	}
}

func TestLargeRecordsAndSmallBuffers(t *testing.T) {
	client, server := securedPair(t)
	want := make([]byte, 100_000)
	for i := range want {
		want[i] = byte(i)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := server.Write(want)
		sent <- errors.Join(err, server.CloseWrite())
	}()
	got, err := io.ReadAll(&small{client})
	if err != nil || string(got) != string(want) {
		t.Errorf("%d bytes, %v; want %d", len(got), err, len(want))
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// small reads seven bytes at a time.
type small struct{ r io.Reader }

func (s *small) Read(p []byte) (int, error) { return s.r.Read(p[:min(7, len(p))]) }

func TestACutRecordIsAnError(t *testing.T) {
	client, server := securedPair(t)
	if _, err := server.NetConn().Write([]byte{23, 3, 3}); err != nil {
		t.Fatal(err)
	}
	server.NetConn().Close()
	if n, err := client.Read(make([]byte, 10)); n != 0 || err == nil || errors.Is(err, io.EOF) && err != io.ErrUnexpectedEOF {
		t.Errorf("read %d bytes, %v; want a failure that is no clean end", n, err)
	}
}
