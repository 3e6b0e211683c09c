package mesh_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/mesh"
	"lobstah/mesh/link"
)

func hostsGuests(c *mesh.Config) { c.Guests = true }

// serveGuests serves what guests ask, until the node stops.
func serveGuests(t *testing.T, r *running, h http.Handler) {
	server := &http.Server{Handler: h}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(r.GuestListener()); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve guests: %v", err)
		}
	})
	t.Cleanup(func() { server.Close(); serving.Wait() })
}

func visitor(t *testing.T, n byte, host *running, urls ...string) *mesh.Visitor {
	v, err := mesh.NewVisitor(mesh.Visit{Pair: pair(n), URLs: urls, Host: host.ID()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func TestGuestProvesItsKeyAndIsNoMember(t *testing.T) {
	t.Parallel()
	members := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a guest reached what members are served") })
	host := start(t, 1, members, hostsGuests)
	serveGuests(t, host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := mesh.Caller(r)
		fmt.Fprintf(w, "%s %v %s", caller, err, r.Proto)
	}))
	v := visitor(t, 2, host, "ws://127.0.0.1:1", host.url) // the first address leads nowhere
	want := pair(2).ID().String() + " <nil> HTTP/2.0"
	for range 3 {
		if got, err := get(t, v, "https://whatever/"); got != want || err != nil {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
	if v.URL() != host.url {
		t.Errorf("reached by %q; want %q", v.URL(), host.url)
	}
	if list := host.Members(); len(list) != 0 {
		t.Errorf("members %v; want none", list)
	}
}

func TestGuestsAreRefusedWhereNobodyHostsThem(t *testing.T) {
	t.Parallel()
	host := start(t, 1, http.NotFoundHandler())
	if got, err := get(t, visitor(t, 2, host, host.url), "https://x/"); err == nil {
		t.Errorf("got %q from a node without guests", got)
	}
}

func TestGuestKnowsItsHost(t *testing.T) {
	t.Parallel()
	host := start(t, 1, http.NotFoundHandler(), hostsGuests)
	other := start(t, 3, http.NotFoundHandler(), hostsGuests)
	_, err := get(t, visitor(t, 2, host, other.url), "https://x/")
	if err == nil || !strings.Contains(err.Error(), host.ID().String()) || !strings.Contains(err.Error(), other.ID().String()) {
		t.Errorf("%v; want a refusal that shows both keys", err)
	}
}

func TestNewerVisitTakesTheOlderOnesPlace(t *testing.T) {
	t.Parallel()
	host := start(t, 1, http.NotFoundHandler(), hostsGuests)
	serveGuests(t, host, http.NotFoundHandler())
	dialer := link.Dialer{Identity: link.Identity{Pair: pair(2)}}
	visit := func() (*link.Link, chan error) {
		l, err := dialer.Visit(t.Context(), host.url, host.ID())
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- l.Run(t.Context(), func([]byte) error { return nil }) }()
		return l, ended
	}
	// The host may take the two in either order, so either may be the older one.
	a, endOfA := visit()
	b, endOfB := visit()
	var err error
	staying := endOfB
	select {
	case err = <-endOfA:
	case err = <-endOfB:
		staying = endOfA
	}
	closed, ok := errors.AsType[*link.ClosedError](err)
	if !ok || closed.Code != link.CodeReplaced {
		t.Errorf("the older visit ended with %v; want %v", err, link.CodeReplaced)
	}
	host.KeepGuest(pair(2).ID(), time.Now()) // its time is over
	if err := <-staying; err == nil {
		t.Error("a guest stayed beyond its time")
	}
	a.Close(link.CodeLeaving)
	b.Close(link.CodeLeaving)
}
