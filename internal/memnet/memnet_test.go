package memnet_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/internal/memnet"
)

func TestServesHTTP(t *testing.T) {
	t.Parallel()
	l := memnet.Listen("demo")
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.RemoteAddr)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	client := &http.Client{Transport: &http.Transport{DialContext: l.DialContext}}

	response, err := client.Get("http://engine/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got, err := io.ReadAll(response.Body); string(got) != "demo#1" || err != nil {
		t.Errorf("the server saw the client at %q (error %v), want demo#1", got, err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve ended with %v, want ErrServerClosed", err)
	}
	if _, err := client.Get("http://engine/"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("GET after Close: %v, want connection refused", err)
	}
}

func TestCloseUnblocksAccept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("a")
		got := make(chan error)
		go func() {
			_, err := l.Accept()
			got <- err
		}()
		synctest.Wait()
		l.Close()
		l.Close()
		if err := <-got; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close: %v, want net.ErrClosed", err)
		}
	})
}

func TestDialWaitsNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		if _, err := l.DialContext(ctx, "tcp", "ignored"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("DialContext: %v, want the context's error", err)
		}
		if waited := time.Since(begin); waited != time.Minute {
			t.Errorf("DialContext waited %s, want 1m0s", waited)
		}
	})
}

func TestConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("a")
		accepted := make(chan net.Conn)
		go func() {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
			}
			accepted <- c
		}()
		client, err := l.DialContext(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		server := <-accepted
		l.Close() // an accepted connection stays
		if got := [2]string{client.RemoteAddr().String(), server.RemoteAddr().String()}; got != [2]string{"a", "a#1"} {
			t.Errorf("remote addresses are %v, want [a a#1]", got)
		}
		client.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read past the deadline: %v, want os.ErrDeadlineExceeded", err)
		}
		go server.Close()
		client.SetReadDeadline(time.Time{})
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("Read after the other end closed: %v, want EOF", err)
		}
		client.Close()
	})
}
