// Package circuit carries streams between nodes that have no direct link. A
// circuit begins with a short header that names its destination and the nodes it
// has passed; each relay sends it on by its own routes and then copies bytes that
// it cannot read: inside runs TLS 1.3 between the two ends ([Identity]).
//
// A [Switch] is what a node is on circuits: origin with [Switch.Dial], relay and
// destination with [Switch.Serve]. It starts no goroutine that outlives its call.
//
// mesh composes it with links and routes; nothing else imports it. Headers come
// from members and are hostile all the same: length, hops and time are capped,
// loops refused, and what one member may have open through a relay is bounded.
// A Switch is safe for concurrent use.
package circuit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"lobstah/key"
)

// Bounds of relaying.
const (
	MaxByNeighbour = 256 // circuits through this node that one neighbour sends
	MaxByOrigin    = 64  // circuits through this node that one node began
	MaxRelayed     = 1024
	candidates     = 3 // next hops that are tried
	openTime       = 10 * time.Second
)

// Routes finds the way. Hops gives the neighbours to try for a destination, best
// first, without those in path.
type Routes interface {
	Hops(dest key.ID, path []key.ID, limit int) []key.ID
}

// Opener opens a stream to a direct neighbour.
type Opener interface {
	Open(ctx context.Context, neighbour key.ID) (net.Conn, error)
}

// Switch opens, relays and takes circuits. Deliver takes a circuit that ends
// here, and owns it; it reports false when it takes none.
type Switch struct {
	Self    key.ID
	Routes  Routes
	Links   Opener
	Deliver func(net.Conn) bool

	mu          sync.Mutex
	relayed     int            // all guarded by mu
	byNeighbour map[key.ID]int // no entry is zero
	byOrigin    map[key.ID]int
}

// Dial opens a circuit to dest. The error names the node that refused it, when
// one did, as an [*Error].
func (s *Switch) Dial(ctx context.Context, dest key.ID) (net.Conn, error) {
	conn, err := s.forward(ctx, header{ttl: TTL, dest: dest})
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", dest.Short(), err)
	}
	return conn, nil
}

// Serve handles one stream that a neighbour opened, until it ends. It returns an
// error when the neighbour broke the protocol.
func (s *Switch) Serve(ctx context.Context, conn net.Conn, from key.ID) error {
	delivered := false
	defer func() {
		if !delivered {
			conn.Close()
		}
	}()
	conn.SetReadDeadline(time.Now().Add(openTime))
	h, err := readHeader(conn, from)
	if err != nil {
		return err
	}
	conn.SetReadDeadline(time.Time{})
	if h.dest == s.Self {
		if _, err := conn.Write((&Error{OK, s.Self}).encode()); err != nil {
			return nil // it gave up meanwhile
		}
		delivered = s.Deliver(conn)
		return nil
	}
	return s.relay(ctx, conn, h, from)
}

func (s *Switch) relay(ctx context.Context, up net.Conn, h header, from key.ID) error {
	if !s.enter(from, h.origin()) {
		s.refuse(up, &Error{Limit, s.Self})
		return nil
	}
	defer s.leave(from, h.origin())
	if h.passed(s.Self) {
		s.refuse(up, &Error{Loop, s.Self})
		return nil
	}
	down, err := s.forward(ctx, h)
	if err != nil {
		refusal, ok := errors.AsType[*Error](err)
		if !ok {
			refusal = &Error{PeerGone, s.Self}
		}
		s.refuse(up, refusal)
		return nil
	}
	defer down.Close()
	if _, err := up.Write((&Error{OK, s.Self}).encode()); err != nil {
		return nil
	}
	splice(ctx, up, down)
	return nil
}

// refuse tells why; whether it arrives matters no more.
func (s *Switch) refuse(conn net.Conn, why *Error) { conn.Write(why.encode()) }

// forward opens the rest of a circuit by the best next hop that works.
func (s *Switch) forward(ctx context.Context, h header) (net.Conn, error) {
	if h.ttl--; h.ttl < 0 || len(h.path) >= MaxTTL {
		return nil, &Error{TTLExceeded, s.Self}
	}
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	hops := s.Routes.Hops(h.dest, h.path, candidates)
	h.path = append(h.path[:len(h.path):len(h.path)], s.Self)
	var last error = &Error{NoRoute, s.Self}
	for _, hop := range hops {
		if hop != h.dest && h.ttl == 0 {
			last = &Error{TTLExceeded, s.Self}
			break
		}
		next := h
		next.ttl = max(h.ttl, 1) // the destination asks for one
		conn, err := s.open(ctx, hop, &next)
		if err == nil {
			return conn, nil
		}
		if last = err; ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

func (s *Switch) open(ctx context.Context, hop key.ID, h *header) (net.Conn, error) {
	conn, err := s.Links.Open(ctx, hop)
	if err != nil {
		return nil, errors.Join(&Error{PeerGone, hop}, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	status, err := h.exchange(conn)
	if !stop() { // ctx ended: the deadline may have spoiled conn
		err = cmp.Or(err, ctx.Err())
	}
	if err == nil && status.Code != OK {
		err = &status
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (h *header) exchange(conn net.Conn) (Error, error) {
	if _, err := conn.Write(h.encode()); err != nil {
		return Error{}, err
	}
	return readStatus(conn)
}

func (s *Switch) enter(neighbour, origin key.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.relayed >= MaxRelayed || s.byNeighbour[neighbour] >= MaxByNeighbour || s.byOrigin[origin] >= MaxByOrigin {
		return false
	}
	if s.byNeighbour == nil {
		s.byNeighbour, s.byOrigin = map[key.ID]int{}, map[key.ID]int{}
	}
	s.relayed++
	s.byNeighbour[neighbour]++
	s.byOrigin[origin]++
	return true
}

func (s *Switch) leave(neighbour, origin key.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.relayed--
	drop(s.byNeighbour, neighbour)
	drop(s.byOrigin, origin)
}

func drop(counts map[key.ID]int, id key.ID) {
	if counts[id]--; counts[id] == 0 {
		delete(counts, id)
	}
}

// Relayed is how many circuits pass through this node now.
func (s *Switch) Relayed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.relayed
}

// splice copies both ways until one side ends, and closes both. The ends speak
// TLS, which says goodbye by itself, so half-open circuits need not be kept. Streams
// of links pass on to each other what comes, without a hand in between.
func splice(ctx context.Context, a, b net.Conn) {
	closeBoth := sync.OnceFunc(func() {
		a.Close()
		b.Close()
		past := time.Unix(1, 0) // wakes reads that a half-close does not
		a.SetDeadline(past)
		b.SetDeadline(past)
	})
	stop := context.AfterFunc(ctx, closeBoth)
	defer stop()
	var copying sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		copying.Go(func() {
			defer closeBoth()
			io.Copy(way[0], way[1]) // how a circuit ends is its ends' affair
		})
	}
	copying.Wait()
}
