package gguf

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/internal/memnet"
	"lobstah/internal/tinygguf"
)

// A client that asks for a stream and never reads it loses the slot after a while.
// The network is in memory and without a buffer, the time virtual.
func TestClientsThatDoNotReadLoseTheirSlot(t *testing.T) {
	t.Parallel()
	m := build(t, tinygguf.Random(1))
	synctest.Test(t, func(t *testing.T) {
		h := NewHandler(m, Options{Slots: 1})
		server, l := &http.Server{Handler: h}, memnet.Listen("engine")
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		client, err := l.DialContext(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		askAndNeverRead(t, client)
		synctest.Wait() // the answer began and waits for its reader
		ctx, cancel := context.WithTimeout(t.Context(), 2*writeTimeout)
		defer cancel()
		s, err := h.slots.take(ctx, nil)
		if err != nil {
			t.Fatalf("after %s the slot is still taken: %v", time.Since(begin), err)
		}
		h.slots.put(s)
		if waited := time.Since(begin); waited != writeTimeout {
			t.Errorf("the slot was free after %s, want %s", waited, writeTimeout)
		}
		client.Close()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
}

func askAndNeverRead(t *testing.T, client net.Conn) {
	t.Helper()
	body := `{"prompt":"x","stream":true,"ignore_eos":true}`
	if _, err := fmt.Fprintf(client, "POST /v1/completions HTTP/1.1\r\nHost: engine\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
		t.Fatal(err)
	}
}
