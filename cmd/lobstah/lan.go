package main

import (
	"net/http"
	"time"

	"lobstah/grid/channel"
	"lobstah/grid/discover/lan"
)

// lanPatience is how long a neighbour may take to take a connection.
const lanPatience = 3 * time.Second

// lanSource looks for workers in the local network.
func lanSource() *lan.Source {
	transport := &channel.Transport{ConnectTimeout: lanPatience, MaxConns: 1}
	return lan.NewSource(lan.Config{Reach: transport.RoundTripper})
}

// lanBoard tells the local network of the worker of this process, which gives
// its offer at [lan.Path].
func (p *process) lanBoard() *lan.Board {
	b := lan.NewBoard(uint16(p.workerAt().Port), nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.neighbours = b
	return b
}

// serveNeighbours answers at [lan.Path], where the worker is announced there,
// and reports whether it did.
func (p *process) serveNeighbours(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path != lan.Path {
		return false
	}
	p.mu.Lock()
	b := p.neighbours
	p.mu.Unlock()
	if b == nil {
		return false
	}
	b.ServeHTTP(w, r)
	return true
}
