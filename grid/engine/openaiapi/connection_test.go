package openaiapi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// An engine that closes a kept connection just as the next call arrives gets it
// again on a new one.
func TestCallMeetsAClosingConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- closeOnSecondRequest(l) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	e := newEngine(t, Config{BaseURL: l.Addr().String()})
	if _, err := e.Models(t.Context()); err != nil {
		t.Fatal(err)
	}
	answer, err := e.Do(t.Context(), chat)
	if err != nil {
		t.Fatalf("the call was lost: %v", err)
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || string(text) != `{"second":true}` {
		t.Errorf("the answer is %q, %v", text, err)
	}
}

// closeOnSecondRequest answers the first request of the first connection, closes
// it at the second, and answers one request of the second connection.
func closeOnSecondRequest(l net.Listener) error {
	for _, body := range []string{oneModel, `{"second":true}`} {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		reader := bufio.NewReader(conn)
		if err := answerOne(conn, reader, body); err != nil {
			return err
		}
		if body == oneModel {
			_, err = http.ReadRequest(reader) // the call, which gets no answer
		}
		conn.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func answerOne(w io.Writer, r *bufio.Reader, body string) error {
	if _, err := http.ReadRequest(r); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return err
}

// Connections are kept, except to llama-server, whose kept ones lose calls.
func TestConnectionsPerEngine(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		server string
		want   int64
	}{{"uvicorn", 1}, {"llama.cpp", 4}} {
		var opened atomic.Int64
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Server", test.server)
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, oneModel)
		}))
		server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened.Add(1)
			}
		}
		server.Start()
		t.Cleanup(server.Close)
		e := newEngine(t, Config{BaseURL: server.URL})
		for range 4 {
			answer, err := e.Do(t.Context(), chat)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
		// The list's connection serves the first call too: it was kept.
		if got := opened.Load(); got != test.want {
			t.Errorf("%s: 4 calls opened %d connections; want %d", test.server, got, test.want)
		}
	}
}

// BenchmarkDo is what a call costs on this side: with a server in the same
// process, so that theirs is in it too.
func BenchmarkDo(b *testing.B) {
	for _, name := range []string{"kept", "llama.cpp"} {
		b.Run(name, func(b *testing.B) {
			server := httptest.NewServer(serveAs(name))
			defer server.Close()
			e, err := New(Config{BaseURL: server.URL})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				answer, err := e.Do(b.Context(), chat)
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			}
		})
	}
}

func serveAs(server string) http.Handler {
	list := serve(oneModel, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{}")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", server)
		list.ServeHTTP(w, r)
	})
}
