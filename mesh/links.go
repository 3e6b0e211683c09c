package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"lobstah/key"
	"lobstah/mesh/link"
)

// Membership messages of one neighbour: more than this wait, and hold up nobody
// but it.
const (
	messagesPerSec = 50
	messageBurst   = 500
	firstRTT       = 10 * time.Millisecond // until the first ping is answered
	staleTime      = 5 * time.Second       // for a stale process to hear that it is one
)

// A Dial is how it goes with one configured peer.
type Dial struct {
	Peer
	Reached key.ID    // the node at the other end of the last link
	Up      bool      // that link lasts, or the node is linked by another one
	Err     error     // why there is none
	Next    time.Time // when it is dialled again; zero while it is being dialled
}

// Dials tells how it goes with the configured peers, in their order.
func (n *Node) Dials() []Dial {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.dials)
}

func (n *Node) noteDial(i int, note func(*Dial)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	note(&n.dials[i])
}

// dialForever keeps a link to one configured peer.
func (n *Node) dialForever(ctx context.Context, i int) {
	p := n.cfg.Peers[i]
	var backoff link.Backoff
	for ctx.Err() == nil {
		n.noteDial(i, func(d *Dial) { d.Next = time.Time{} })
		renewed := n.whenRenewed()
		dialer := link.Dialer{Identity: n.linkIdentity(), Admit: n.admit, Heartbeat: n.cfg.Beat, DialContext: n.cfg.Dial, Roots: n.cfg.Roots}
		l, err := dialer.Dial(ctx, p.URL, n.keyOf(p))
		if err == nil {
			begin := time.Now()
			n.noteDial(i, func(d *Dial) { d.Reached, d.Up, d.Err = l.Peer, true, nil })
			n.cfg.Log.Info("linked to a peer", "url", p.URL, "key", l.Peer.Short())
			err = n.keep(ctx, l, p.Name)
			backoff.Lasted(time.Since(begin))
			n.waitForOther(ctx, l.Peer)
		}
		if hopeless(err) {
			backoff.Hopeless()
		}
		wait := backoff.Next()
		n.noteDial(i, func(d *Dial) { d.Up, d.Err, d.Next = false, err, time.Now().Add(wait) })
		if ctx.Err() == nil {
			n.cfg.Log.Warn("no link to a peer", "url", p.URL, "err", err, "next_try", wait)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		case <-renewed: // what was hopeless may not be any more
			backoff = link.Backoff{}
		}
	}
}

// whenRenewed is closed when the secrets change.
func (n *Node) whenRenewed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.renewed
}

// keyOf is the key that a configured peer must have, zero for any.
func (n *Node) keyOf(p Peer) key.ID {
	if p.Key.IsZero() {
		return (*n.pins.Load())[p.Name]
	}
	return p.Key
}

// waitForOther waits while another link to the same node is up, such as one that
// it dialled.
func (n *Node) waitForOther(ctx context.Context, peer key.ID) {
	for {
		n.mu.Lock()
		other := n.links[peer]
		n.mu.Unlock()
		if other == nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-other.Ended():
		}
		n.forget(other)
	}
}

// hopeless errors do not pass by themselves.
func hopeless(err error) bool {
	closed, ok := errors.AsType[*link.ClosedError](err)
	return errors.Is(err, link.ErrRefused) || errors.Is(err, link.ErrFalseServer) || errors.Is(err, link.ErrUnproven) ||
		errors.Is(err, key.ErrNotPinned) || ok && (closed.Code == link.CodeProtocol || closed.Code == link.CodeRevoked)
}

// take keeps a link that was accepted. The request that brought it ends, and frees
// what the server held for it.
func (n *Node) take(ctx context.Context, l *link.Link) {
	keep := func() { n.keep(ctx, l, "") }
	if !n.spawn(keep) { // the node stops: the link is told
		keep()
	}
}

// keep makes a link part of the mesh until it ends, and tells why it did.
func (n *Node) keep(ctx context.Context, l *link.Link, name string) error {
	peer := &neighbour{l, name}
	stale := !n.adopt(peer)
	limiter := rate.NewLimiter(messagesPerSec, messageBurst)
	receive := func(message []byte) (err error) {
		if stale {
			return nil
		}
		if err := limiter.Wait(ctx); err != nil {
			return err
		}
		n.change(func(now time.Time) {
			if n.links[l.Peer] == peer {
				err = n.state.Receive(now, l.Peer, message)
			}
		})
		return err
	}
	if stale {
		timer := time.AfterFunc(staleTime, func() { l.Close(link.CodeSuperseded) })
		defer timer.Stop()
		stop := context.AfterFunc(ctx, func() { l.Close(link.CodeLeaving) })
		defer stop()
	} else if !n.spawn(func() { n.acceptStreams(ctx, l) }) {
		l.Close(link.CodeLeaving)
	}
	// The link outlives ctx until the neighbours have heard the goodbye.
	err := l.Run(context.WithoutCancel(ctx), receive)
	n.forget(peer)
	return fmt.Errorf("link with %s: %w", l.Peer.Short(), err)
}

// adopt decides between two links with the same node. A newer process wins; of
// one process the newer link does, unless both sides dialled: then both keep the
// one that the smaller key dialled. It reports false for the link of a stale
// process, which it tells of its successor.
func (n *Node) adopt(peer *neighbour) bool {
	adopted := true
	n.change(func(now time.Time) {
		old := n.links[peer.Peer]
		switch {
		case old != nil && peer.PeerEpoch < old.PeerEpoch:
			adopted = false
			if statement := n.state.Statement(peer.Peer); statement != nil {
				peer.Send(statement)
			}
			return
		case old != nil && peer.PeerEpoch == old.PeerEpoch && peer.Dialled != old.Dialled && old.Dialled == n.dialsTo(peer.Peer) && !ended(old):
			peer.Close(link.CodeReplaced)
			return
		case old != nil:
			old.Close(link.CodeReplaced)
		}
		n.links[peer.Peer] = peer
		n.state.Connected(now, peer.Peer, max(peer.RTT(), firstRTT))
	})
	return adopted
}

// dialsTo says whether, of two nodes that dial each other, this one's link stays.
func (n *Node) dialsTo(peer key.ID) bool { return n.self.String() < peer.String() }

func ended(l *neighbour) bool {
	select {
	case <-l.Ended():
		return true
	default:
		return false
	}
}

// forget takes an ended link out of the mesh, unless another has its place.
func (n *Node) forget(peer *neighbour) {
	n.change(func(now time.Time) {
		if n.links[peer.Peer] == peer {
			delete(n.links, peer.Peer)
			n.state.Disconnected(now, peer.Peer)
		}
	})
}

// acceptStreams serves the circuits that a neighbour opens.
func (n *Node) acceptStreams(ctx context.Context, l *link.Link) {
	for {
		conn, err := l.Accept(ctx)
		if err != nil {
			return // the link has ended, and Run tells why
		}
		serve := func() {
			if err := n.circuits.Serve(ctx, conn, l.Peer); err != nil {
				n.cfg.Log.Debug("a circuit was refused", "from", l.Peer, "err", err)
			}
		}
		if !n.spawn(serve) {
			conn.Close()
		}
	}
}

// routes lets circuits ask the membership for ways and the links for streams.
type routes struct{ *Node }

func (r routes) Hops(dest key.ID, path []key.ID, limit int) []key.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.NextHops(dest, path, limit)
}

func (r routes) Open(ctx context.Context, to key.ID) (net.Conn, error) {
	r.mu.Lock()
	l := r.links[to]
	r.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("no link to %s", to.Short())
	}
	return l.Open(ctx)
}
