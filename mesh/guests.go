package mesh

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"lobstah/key"
	"lobstah/mesh/circuit"
	"lobstah/mesh/link"
)

// Guests know no secret and may be anybody: few at a time, and each only for a
// moment unless a handler keeps it.
const (
	maxGuests = 64
	guestTime = 30 * time.Second
)

// GuestListener accepts what guests open: connections whose key is proven, of
// nodes that are no members. It is nil unless Config.Guests is set. Requests from
// it are for [Caller], as those of members are.
func (n *Node) GuestListener() net.Listener {
	if n.guests == nil {
		return nil
	}
	return n.guests
}

// KeepGuest lets the link of a guest last until then, if it is here.
func (n *Node) KeepGuest(id key.ID, until time.Time) {
	n.hosted.mu.Lock()
	defer n.hosted.mu.Unlock()
	if g := n.hosted.guests[id]; g != nil {
		g.timer.Reset(time.Until(until))
	}
}

// hosted are the guests that are here.
type hosted struct {
	mu     sync.Mutex
	guests map[key.ID]*guest // guarded by mu
}

type guest struct {
	link  *link.Link
	timer *time.Timer
}

// host owns the link of a guest.
func (n *Node) host(ctx context.Context, l *link.Link) {
	g := &guest{l, time.AfterFunc(guestTime, func() { l.Close(link.CodeLeaving) })}
	defer g.timer.Stop()
	if !n.hosted.enter(g) {
		l.Close(link.CodeLeaving)
	}
	defer n.hosted.leave(g)
	if !n.spawn(func() { n.acceptVisits(ctx, l) }) {
		l.Close(link.CodeLeaving)
	}
	err := l.Run(ctx, func([]byte) error { return errors.New("a guest has no say about members") })
	n.cfg.Log.Debug("a guest left", "key", l.Peer, "err", err)
}

// enter counts a guest in. A newer link of the same key takes the older's place.
func (h *hosted) enter(g *guest) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.guests[g.link.Peer]
	if old == nil && len(h.guests) >= maxGuests {
		return false
	}
	if old != nil {
		old.link.Close(link.CodeReplaced)
	}
	if h.guests == nil {
		h.guests = map[key.ID]*guest{}
	}
	h.guests[g.link.Peer] = g
	return true
}

func (h *hosted) leave(g *guest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.guests[g.link.Peer] == g {
		delete(h.guests, g.link.Peer)
	}
}

func (n *Node) acceptVisits(ctx context.Context, l *link.Link) {
	for {
		conn, err := l.Accept(ctx)
		if err != nil {
			return // the link has ended, and Run tells why
		}
		if !n.guests.deliver(conn) {
			conn.Close()
		}
	}
}

// A Visit is a guest's way to its host. The fields up to Log are needed.
type Visit struct {
	Pair key.Pair
	URLs []string // of the host, tried in order
	Host key.ID

	Roots *x509.CertPool // optional: of outer certificates
	Dial  func(ctx context.Context, network, addr string) (net.Conn, error)
}

// A Visitor sends requests to the host of a [Visit], over a link that it makes
// when one is needed. It is an [http.RoundTripper], safe for concurrent use; the
// scheme and host of a request's URL are those of the host, whatever they say.
type Visitor struct {
	visit     Visit
	identity  *circuit.Identity
	transport *http.Transport
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	running   sync.WaitGroup

	mu   sync.Mutex
	link *link.Link // guarded by mu; nil before the first and after the last has ended
	url  string     // guarded by mu; of the link
}

// NewVisitor makes a visitor. It dials nobody yet.
func NewVisitor(v Visit) (*Visitor, error) {
	identity, err := circuit.NewIdentity(v.Pair, func(key.ID) error { return nil })
	if err != nil {
		return nil, err
	}
	s := &Visitor{visit: v, identity: identity}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.transport = &http.Transport{
		DialTLSContext: s.dial, ForceAttemptHTTP2: true, DisableCompression: true, IdleConnTimeout: idleTime,
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingTime, PingTimeout: pingTime},
	}
	return s, nil
}

// RoundTrip sends a request to the host.
func (s *Visitor) RoundTrip(r *http.Request) (*http.Response, error) {
	inner := r.Clone(r.Context())
	inner.URL.Scheme, inner.URL.Host, inner.Host = "https", s.visit.Host.String(), s.visit.Host.String()
	hopless(inner.Header)
	response, err := s.transport.RoundTrip(inner)
	if response != nil {
		response.Request = r
	}
	return response, err
}

// URL is the address that led to the host, empty before the first request.
func (s *Visitor) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url
}

// Close ends the link and waits for what the visitor began.
func (s *Visitor) Close() error {
	s.transport.CloseIdleConnections()
	s.cancel()
	s.running.Wait()
	return nil
}

func (s *Visitor) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	l, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := l.Open(ctx)
	if err != nil {
		return nil, err
	}
	return s.identity.Client(ctx, raw, s.visit.Host, "h2")
}

// connect returns the link, made anew when there is none.
func (s *Visitor) connect(ctx context.Context) (*link.Link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil {
		select {
		case <-s.link.Ended():
		default:
			return s.link, nil
		}
	}
	d := link.Dialer{Identity: link.Identity{Pair: s.visit.Pair}, DialContext: s.visit.Dial, Roots: s.visit.Roots}
	var errs []error
	for _, url := range s.visit.URLs {
		l, err := d.Visit(ctx, url, s.visit.Host)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.link, s.url = l, url
		s.running.Go(func() {
			_ = l.Run(s.ctx, func([]byte) error { return errors.New("a host tells a guest nothing") }) // the next request makes another
		})
		return l, nil
	}
	return nil, fmt.Errorf("reach %s: %w", s.visit.Host.Short(), errors.Join(errs...))
}
