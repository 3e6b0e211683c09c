// Package mesh gives any node a connection to any other: every node is an HTTP
// server, wherever it is, and reaches the others through links that it dialled,
// the relays between included.
//
// Make a [Node] with [New], mount it at [link.Path] of a server if it shall take
// links, and call [Node.Run]. Serve with any [http.Server] on [Node.Listener];
// call others through [Node.RoundTrip], an [http.RoundTripper] for mesh://lob1...
// and for mesh://NAME where the name is pinned to a key, or [Node.DialContext].
// [Node.Members] says who is there. [Caller] names who sent a request.
//
// The pieces are mesh/member (who is there, a pure state machine), mesh/link (one
// link) and mesh/circuit (streams over relays); commands compose a Node with
// handlers. What comes from other nodes is hostile: the secret makes a member,
// and what a member may do to this node is decided by its key, by the handlers.
// A Node is safe for concurrent use; Run owns every goroutine and waits for them.
package mesh

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lobstah/key"
	"lobstah/mesh/circuit"
	"lobstah/mesh/link"
	"lobstah/mesh/member"
)

// A Peer is a node that this one dials and keeps a link to.
type Peer struct {
	URL  string // ws:// or wss://, see [link.ParseURL]
	Name string // optional: a node of another name is refused
	Key  key.ID // optional: a node with another key is refused
}

// Config is what a node is made of. The fields after Log have good zero values.
type Config struct {
	Pair    key.Pair
	Name    string
	Secrets []link.Secret // the first is the newest
	Peers   []Peer
	Log     *slog.Logger

	Offer  member.Offer
	Epoch  uint64               // zero is the time; see [member.Config]
	Pins   map[string]key.ID    // names that calls may use; names of Peers with a key are pinned too
	Trusts func(by key.ID) bool // whose revocations count; zero: this node's and those of pinned keys

	Retired     []link.Secret      // after the Secrets; proved to pinned nodes and taken from them only
	Revocations [][]byte           // as [Node.Revocations] gave them to an earlier process
	Proxies     link.Proxies       // of the listener that are believed when they name clients
	Guests      bool               // take links of those who know no secret, for [Node.GuestListener]
	Notify      func(member.Event) // is told what happens to members; it must not block, nor call the Node

	Beat  time.Duration  // heartbeat; zero is [link.Heartbeat]
	Roots *x509.CertPool // of outer certificates
	Dial  func(ctx context.Context, network, addr string) (net.Conn, error)
}

// ErrSuperseded says that a newer process with the same key is in the mesh.
var ErrSuperseded = errors.New("another process with this node's key began later: stop one of the two, or give it a key of its own")

// ErrClosed says that the node has stopped.
var ErrClosed = errors.New("the mesh node has stopped")

const (
	goodbyeTime  = time.Second // for neighbours to hear that this node leaves
	measureEvery = time.Second // costs nothing unless a time changed much
)

// Node is one process in the mesh.
type Node struct {
	cfg      Config
	self     key.ID
	circuits *circuit.Switch
	identity *circuit.Identity
	acceptor *link.Acceptor
	listener *listener // of members
	guests   *listener // of those who are none; nil without them
	hosted   hosted
	sessions *sessions
	ends     ends

	ctx    context.Context // ends when the node stops
	cancel context.CancelCauseFunc
	wake   chan struct{} // a step changed the time of the next; capacity 1
	ran    chan struct{} // closed when Run has returned

	pins atomic.Pointer[map[string]key.ID] // read with mu held and without

	mu      sync.Mutex
	running sync.WaitGroup // Add only while mu is held and closing is false
	closing bool           // all below guarded by mu
	started bool
	state   *member.State
	next    time.Time // of the state's step
	links   map[key.ID]*neighbour
	secrets []link.Secret
	retired []link.Secret
	renewed chan struct{} // closed, and made anew, when the secrets change
	dials   []Dial        // by the index of the peer
}

// neighbour is the other end of a link that is part of the mesh.
type neighbour struct {
	*link.Link
	name string // that it must have; empty when any will do
}

// New makes a node. It does nothing until Run.
func New(cfg Config) (*Node, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Pair.IsZero() {
		return nil, errors.New("a mesh node needs a key pair")
	}
	cfg.Epoch = cmp.Or(cfg.Epoch, uint64(time.Now().UnixMilli()))
	n := &Node{
		cfg: cfg, self: cfg.Pair.ID(), links: map[key.ID]*neighbour{}, secrets: slices.Clone(cfg.Secrets), retired: slices.Clone(cfg.Retired),
		wake: make(chan struct{}, 1), ran: make(chan struct{}), renewed: make(chan struct{}),
	}
	for _, p := range cfg.Peers {
		n.dials = append(n.dials, Dial{Peer: p})
	}
	n.SetPins(cfg.Pins)
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	if err := n.build(); err != nil {
		return nil, fmt.Errorf("make the mesh node %s: %w", cfg.Name, err)
	}
	return n, nil
}

func (n *Node) build() (err error) {
	for _, p := range n.cfg.Peers {
		if _, err := link.ParseURL(p.URL); err != nil {
			return err
		}
	}
	n.state, err = member.New(member.Config{
		Pair: n.cfg.Pair, Name: n.cfg.Name, Epoch: n.cfg.Epoch, Offer: n.cfg.Offer, Trusts: n.trusts,
	}, time.Now())
	if err != nil {
		return err
	}
	if err := n.state.Restore(time.Now(), n.cfg.Revocations); err != nil {
		return err
	}
	if n.identity, err = circuit.NewIdentity(n.cfg.Pair, n.admit); err != nil {
		return err
	}
	n.listener = newListener(n)
	n.circuits = &circuit.Switch{Self: n.self, Routes: routes{n}, Links: routes{n}, Deliver: n.listener.deliver}
	n.sessions = newSessions(n)
	n.acceptor = &link.Acceptor{
		Context: n.ctx, Identity: n.linkIdentity, Admit: n.admit, Heartbeat: n.cfg.Beat, Log: n.cfg.Log,
		Serve: n.take, Proxies: n.cfg.Proxies,
	}
	if n.cfg.Guests {
		n.guests = newListener(n)
		n.acceptor.Guest = n.host
	}
	return n.acceptor.Check()
}

// SetPins replaces the names that are pinned to keys. Those of configured peers
// with a key stay pinned. Revocations that newly trusted nodes signed are obeyed.
func (n *Node) SetPins(pins map[string]key.ID) {
	all := maps.Clone(pins)
	if all == nil {
		all = map[string]key.ID{}
	}
	for _, p := range n.cfg.Peers {
		if p.Name != "" && !p.Key.IsZero() {
			all[p.Name] = p.Key
		}
	}
	before := n.pins.Swap(&all)
	if n.state != nil {
		n.change(n.state.Reconsider)
		n.reprove(*before)
	}
}

// reprove ends the links of nodes that were pinned before and are not now, once
// secrets were retired: one of those, which count for pinned nodes only, may have
// let them in. Who knows a secret in force is back in a moment.
func (n *Node) reprove(before map[string]key.ID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.retired) == 0 {
		return
	}
	for _, id := range before {
		if l := n.links[id]; l != nil && !n.Pinned(id) {
			l.Refuse(link.CodeLeaving, errors.New("its key is not verified any more, so it has to prove the secret that is in force"))
		}
	}
}

func (n *Node) trusts(by key.ID) bool {
	if n.cfg.Trusts != nil {
		return n.cfg.Trusts(by)
	}
	return by == n.self || n.Pinned(by)
}

// ID is the node's key.
func (n *Node) ID() key.ID { return n.self }

// Pinned reports whether a key is pinned to a name on this node, which makes it
// a verified one.
func (n *Node) Pinned(id key.ID) bool {
	for _, pinned := range *n.pins.Load() {
		if pinned == id {
			return true
		}
	}
	return false
}

// ServeHTTP takes links from other nodes.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !n.hold() {
		http.Error(w, ErrClosed.Error(), http.StatusServiceUnavailable)
		return
	}
	defer n.running.Done()
	n.acceptor.ServeHTTP(w, r)
}

// Run keeps the node in the mesh until ctx ends, Close is called or a newer
// process with its key appears ([ErrSuperseded]). It says goodbye, waits for all
// that it began, and returns nil when it was asked to stop.
func (n *Node) Run(ctx context.Context) error {
	if !n.start() {
		return errors.New("a mesh node runs once: make a new one")
	}
	defer close(n.ran)
	stop := context.AfterFunc(ctx, func() { n.cancel(nil) })
	defer stop()
	for i := range n.cfg.Peers {
		n.spawn(func() { n.dialForever(n.ctx, i) })
	}
	n.tick()
	n.sayGoodbye()
	n.sessions.drop(key.ID{})
	n.ends.cut(key.ID{})
	n.running.Wait()
	n.listener.drain()
	if n.guests != nil {
		n.guests.drain()
	}
	if err := context.Cause(n.ctx); errors.Is(err, ErrSuperseded) {
		return err
	}
	return nil
}

func (n *Node) start() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	first := !n.started && !n.closing
	n.started = true
	return first
}

// Close stops the node and waits until Run has returned.
func (n *Node) Close() error {
	n.cancel(nil)
	n.mu.Lock()
	started := n.started
	n.closing = n.closing || !started
	n.mu.Unlock()
	if started {
		<-n.ran
	}
	return nil
}

// hold counts one more goroutine that Run waits for, unless the node stops.
func (n *Node) hold() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return false
	}
	n.running.Add(1)
	return true
}

func (n *Node) spawn(do func()) bool {
	if !n.hold() {
		return false
	}
	go func() {
		defer n.running.Done()
		do()
	}()
	return true
}

// tick is the clock of the membership.
func (n *Node) tick() {
	n.change(func(time.Time) {})
	measure := time.NewTicker(measureEvery)
	defer measure.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-measure.C:
			n.change(n.measure)
			n.sessions.sweep(time.Now())
		case <-timer.C:
			n.change(func(time.Time) {})
		case <-n.wake:
		}
		n.mu.Lock()
		timer.Reset(time.Until(n.next))
		n.mu.Unlock()
	}
}

func (n *Node) measure(time.Time) { // mu is held
	for id, l := range n.links {
		if rtt := l.RTT(); rtt > 0 {
			n.state.Measured(id, rtt)
		}
	}
}

// change applies an input to the membership and carries out what comes of it.
func (n *Node) change(input func(now time.Time)) {
	for _, e := range n.step(input) {
		if e.Change == member.Revoked { // its connections have locks of their own
			n.sessions.drop(e.Key)
			n.ends.cut(e.Key)
		}
		if n.cfg.Notify != nil {
			n.cfg.Notify(e)
		}
	}
}

func (n *Node) step(input func(now time.Time)) []member.Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	input(now)
	out := n.state.Step(now)
	for _, m := range out.Messages {
		if l := n.links[m.To]; l != nil && !l.Send(m.Data) {
			n.cfg.Log.Debug("a neighbour is slow: a membership message was dropped, comparing repairs it", "peer", m.To)
		}
	}
	for _, e := range out.Events {
		n.obey(e)
	}
	n.next = out.Next
	select {
	case n.wake <- struct{}{}:
	default:
	}
	return out.Events
}

// obey carries out an event; mu is held.
func (n *Node) obey(e member.Event) {
	level := slog.LevelInfo
	if e.Change == member.Updated { // round-trip times change all the time
		level = slog.LevelDebug
	}
	n.cfg.Log.Log(n.ctx, level, "mesh: "+e.Change.String(), "node", e.Name, "key", e.Key)
	l := n.links[e.Key]
	switch e.Change {
	case member.Superseded:
		n.cancel(ErrSuperseded)
	case member.Revoked:
		if l != nil {
			l.Close(link.CodeRevoked)
		}
	case member.Left:
		if l != nil { // it said goodbye and waits for us to hang up
			l.Close(link.CodeLeaving)
		}
	case member.Joined, member.Updated:
		if l != nil && l.name != "" && l.name != e.Name {
			l.Refuse(link.CodeProtocol, fmt.Errorf("the node at %s is called %s and not %s, as configured; its key is %s", l.Remote, e.Name, l.name, e.Key))
		}
	}
}

// sayGoodbye tells the neighbours that this node leaves, gives them a moment to
// hang up, and ends what is left.
func (n *Node) sayGoodbye() {
	n.listener.Close()
	if !errors.Is(context.Cause(n.ctx), ErrSuperseded) { // else the name is another process's now
		n.change(n.state.Leave)
	}
	deadline := time.After(goodbyeTime)
	n.mu.Lock()
	n.closing = true
	links := slices.Collect(maps.Values(n.links))
	n.mu.Unlock()
	for _, l := range links {
		select {
		case <-l.Ended():
		case <-deadline:
			deadline = closed
		}
		l.Close(link.CodeLeaving)
	}
}

var closed = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

// Members lists the other nodes.
func (n *Node) Members() []member.Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state.Members()
}

// Relayed is how many circuits of others pass through this node now.
func (n *Node) Relayed() int { return n.circuits.Relayed() }

// SetOffer changes what this node offers.
func (n *Node) SetOffer(offer member.Offer) (err error) {
	n.change(func(now time.Time) { err = n.state.SetOffer(now, offer) })
	return err
}

// Revoke ends the membership of a key on all nodes that trust this one.
func (n *Node) Revoke(id key.ID, reason string) (err error) {
	n.change(func(now time.Time) { err = n.state.Revoke(now, id, reason) })
	return err
}

// SetSecrets replaces the secrets for all links that begin from now on. Retired
// ones let pinned nodes in that have not heard of the new ones yet. Peers that
// did not take the ones before are dialled at once.
func (n *Node) SetSecrets(secrets, retired []link.Secret) error {
	if len(secrets) == 0 || len(secrets)+len(retired) > link.MaxSecrets {
		return fmt.Errorf("%d cluster secrets and %d retired ones, want 1 to %d", len(secrets), len(retired), link.MaxSecrets)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.secrets, n.retired = slices.Clone(secrets), slices.Clone(retired)
	close(n.renewed)
	n.renewed = make(chan struct{})
	return nil
}

// Revocations returns the signed revocations that this node obeys, for the Config
// of the next process.
func (n *Node) Revocations() [][]byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state.Revocations()
}

// Revoked reports whether a key is a member no more.
func (n *Node) Revoked(id key.ID) bool { return n.admit(id) != nil }

func (n *Node) admit(id key.ID) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state.Admit(id)
}

func (n *Node) linkIdentity() link.Identity {
	n.mu.Lock()
	defer n.mu.Unlock()
	return link.Identity{Pair: n.cfg.Pair, Epoch: n.state.Epoch(), Secrets: n.secrets, Retired: n.retired, Pinned: n.Pinned}
}
