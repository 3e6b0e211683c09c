package main

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// Connections that become no link are few, whatever they do: the oldest makes room,
// and those that became one are not counted.
func TestStrangersAreFew(t *testing.T) {
	t.Parallel()
	n := &node{onPort: http.NewServeMux(), log: slog.New(slog.DiscardHandler)}
	n.onPort.HandleFunc("/link", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		io.Copy(conn, conn) // it says what it hears until the test leaves
	})
	server := httptest.NewUnstartedServer(nil)
	server.Config = n.openServer()
	server.Start()
	t.Cleanup(server.Close)
	get := func(conn net.Conn, path string) error {
		conn.SetDeadline(time.Now().Add(patienceInTests))
		if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			return err
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	open := func(path string) net.Conn {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if path == "/link" {
			_, err = io.WriteString(conn, "GET /link HTTP/1.1\r\nHost: h\r\n\r\n")
		} else {
			err = get(conn, path)
		}
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	link := open("/link")
	if _, err := http.ReadResponse(bufio.NewReader(io.LimitReader(link, int64(len("HTTP/1.1 101 Switching Protocols\r\n\r\n")))), nil); err != nil {
		t.Fatal(err)
	}
	first, second := open("/nothing"), open("/nothing")
	for range maxStrangers - 1 {
		open("/nothing")
	}
	if err := get(first, "/nothing"); err == nil {
		t.Errorf("the first of %d connections is open still", maxStrangers+1)
	}
	if err := get(second, "/nothing"); err != nil {
		t.Errorf("the second is closed: %v", err)
	}
	said := make([]byte, 1)
	if _, err := link.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	link.SetDeadline(time.Now().Add(patienceInTests))
	if _, err := io.ReadFull(link, said); err != nil || said[0] != 'x' {
		t.Errorf("the link is closed: %v", err)
	}
}
