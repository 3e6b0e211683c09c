package main

import (
	"context"
	"crypto/sha256"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"lobstah/grid/invite"
	"lobstah/grid/worker"
	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

// behindDoor mounts the door for invited machines beside the worker, and keeps
// what the worker tells of itself to those that may use it.
func (p *process) behindDoor(worker http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == invite.Path:
			p.door.ServeHTTP(w, r)
		case p.serveNeighbours(w, r):
		case isRead(r) && !p.mayRead(r):
			refuse(w, "not_allowed", "this worker tells what it has to the machines that may use it; its owner lets one in with: lobstah allow "+namedKey(r)+", or lobstah invite")
		default:
			p.serveGuest(worker, w, r)
		}
	})
}

// invitedOnly guards a port that was opened for an invitation: it speaks TLS,
// and serves the keys on the allow list, whatever the worker's own port does
// for this machine and, under --open, for strangers.
func (p *process) invitedOnly(worker http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.TLS == nil:
			refuse(w, "tls_required", "this port speaks TLS only")
		case r.URL.Path == invite.Path:
			p.door.ServeHTTP(w, r)
		case p.serveNeighbours(w, r):
		case isRead(r) && !p.signedByGuest(r), r.Method != http.MethodGet && r.Method != http.MethodHead && !p.namesGuest(r):
			refuse(w, "not_allowed", "this port serves invited keys, and the request's is not one of them, or no longer; ask the owner for an invitation")
		default:
			if isLoopbackAddr(r) {
				r.RemoteAddr = "" // being on this machine opens nothing here
			}
			p.serveGuest(worker, w, r)
		}
	})
}

// namedKey is the key that a request names, to be typed by who would let it in.
func namedKey(r *http.Request) string {
	if id, err := key.ParseID(r.Header.Get(receipt.RequesterHeader)); err == nil {
		return id.String()
	}
	return "PUBKEY"
}

// isRead tells requests that only read, and tell more than who is there: that
// the connection itself proves.
func isRead(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.URL.Path != "/" && r.URL.Path != "/pubkey"
}

// mayRead reports whether a request may see what the worker has: those of this
// machine's programs, of allowed keys and legacy addresses, and of all under --open.
func (p *process) mayRead(r *http.Request) bool {
	p.mu.Lock()
	open := p.toAll
	p.mu.Unlock()
	return open || worker.IsLocal(r) || p.isLegacy(r) || p.signedByGuest(r)
}

func isLoopbackAddr(r *http.Request) bool {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && at.Addr().Unmap().IsLoopback()
}

func (p *process) isLegacy(r *http.Request) bool {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	from := at.Addr().Unmap().WithZone("")
	for _, e := range p.allowed.Entries() {
		if e.Address == from {
			return true
		}
	}
	return false
}

// namesGuest reports whether a request names a key on the list; the worker
// checks whether it is that key's.
func (p *process) namesGuest(r *http.Request) bool {
	id, err := key.ParseID(r.Header.Get(receipt.RequesterHeader))
	return err == nil && r.Header.Get(receipt.SignatureHeader) != "" && p.isGuest(id)
}

// isGuest reports whether a key is on the list, or this machine's own.
func (p *process) isGuest(id key.ID) bool {
	_, ok := p.allowed.Allowed(id)
	return ok || id == p.id.ID()
}

// signedByGuest reports whether a key on the list signed a request without a
// body, not long ago. That it was made before does no harm: it only reads.
func (p *process) signedByGuest(r *http.Request) bool {
	id, err := key.ParseID(r.Header.Get(receipt.RequesterHeader))
	if err != nil || !p.isGuest(id) {
		return false
	}
	proof, err := receipt.ParseProof(r.Header.Get(receipt.SignatureHeader))
	if err != nil || !receipt.Fresh(proof.Time, time.Now()) {
		return false
	}
	request := receipt.Request{Method: r.Method, Path: r.URL.Path, Worker: p.id.ID(), Requester: id, BodyHash: sha256.Sum256(nil)}
	return request.Verify(proof) == nil
}

func refuse(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	e := &openai.Error{Status: http.StatusForbidden, Type: "permission_error", Code: code, Message: message}
	_, _ = w.Write(e.JSON()) // a client that left needs no answer
}

// guests are the requests of keys on the list that run now, so that they can be
// ended when the key is taken from it. The zero value is ready.
type guests struct {
	mu   sync.Mutex
	runs map[key.ID][]*guestRun // guarded by mu
}

// A guestRun is one request.
type guestRun struct {
	end context.CancelFunc
	cut bool // guarded by guests.mu; it was ended
}

func (g *guests) begin(id key.ID, end context.CancelFunc) *guestRun {
	run := &guestRun{end: end}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.runs == nil {
		g.runs = map[key.ID][]*guestRun{}
	}
	g.runs[id] = append(g.runs[id], run)
	return run
}

// finish takes a request out, and reports whether it was cut.
func (g *guests) finish(id key.ID, run *guestRun) (cut bool) {
	run.end()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.runs[id] = slices.DeleteFunc(g.runs[id], func(other *guestRun) bool { return other == run })
	if len(g.runs[id]) == 0 {
		delete(g.runs, id)
	}
	return run.cut
}

// evict ends the requests of keys that may stay no longer.
func (g *guests) evict(may func(key.ID) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, runs := range g.runs {
		if may(id) {
			continue
		}
		for _, run := range runs {
			run.cut = true
			run.end()
		}
	}
}

// serveGuest lets the worker answer, as long as the key that asks stays on the
// list. What is cut off ends with its connection, so that it never looks whole.
func (p *process) serveGuest(worker http.Handler, w http.ResponseWriter, r *http.Request) {
	id, err := key.ParseID(r.Header.Get(receipt.RequesterHeader))
	if _, ok := p.allowed.Allowed(id); err != nil || !ok {
		worker.ServeHTTP(w, r)
		return
	}
	ctx, end := context.WithCancel(r.Context())
	run := p.guests.begin(id, end)
	defer func() {
		if p.guests.finish(id, run) {
			panic(http.ErrAbortHandler)
		}
	}()
	worker.ServeHTTP(w, r.WithContext(ctx))
}

// evictEvery is how late a guest whose time is over, or who was taken from the
// file by hand, may be sent away; commands do it at once.
const evictEvery = time.Second

// watchGuests sends those away who may stay no longer.
func (p *process) watchGuests() {
	tick := time.NewTicker(evictEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.background.Done():
			return
		case <-tick.C:
			p.guests.evict(p.isGuest)
		}
	}
}
