package main

import (
	"context"
	"net"
	"net/http"

	"lobstah/internal/memnet"
	"lobstah/key"
)

// selfKey marks what this node asks of itself.
type selfKey struct{}

// A selfMesh is the mesh, but for this node itself, which is asked in memory.
type selfMesh struct {
	self   key.ID
	others http.RoundTripper
	memory *http.Transport
}

func (s *selfMesh) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != s.self.String() {
		return s.others.RoundTrip(r)
	}
	r = r.Clone(r.Context())
	r.URL.Scheme = "http"
	return s.memory.RoundTrip(r)
}

// withSelf is the way to all nodes, this one too: what others get, it gets.
func (n *node) withSelf() http.RoundTripper {
	l := memnet.Listen("self")
	n.serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.onMesh.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), selfKey{}, true)))
	}))
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		return l.DialContext(ctx, network, address)
	}
	return &selfMesh{n.id.ID(), n.mesh, &http.Transport{DialContext: dial, IdleConnTimeout: idlePatience}}
}
