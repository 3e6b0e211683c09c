package openaiapi

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
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
		if body == oneModel { // the call, which gets no answer, or the end of what net/http did not keep
			_, _ = http.ReadRequest(reader)
		}
		conn.Close()
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
	for _, server := range []string{"uvicorn", "llama.cpp"} {
		var mu sync.Mutex
		requests := map[string]int{} // by connection; guarded by mu
		url := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			requests[r.RemoteAddr]++
			mu.Unlock()
			w.Header().Set("Server", server)
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, oneModel)
		}))
		e := newEngine(t, Config{BaseURL: url})
		for range 8 {
			answer, err := e.Do(t.Context(), chat)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
		// The list's connection serves the first call too: it was kept. On a busy
		// machine net/http gives up a connection now and then.
		most := slices.Max(slices.Collect(maps.Values(requests)))
		if kept := most > 2; kept != (server == "uvicorn") {
			t.Errorf("%s: %d of 9 requests came on one connection", server, most)
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
