package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/time/rate"

	"lobstah/grid/announce"
	"lobstah/openai"
)

const (
	hopLimit    = 255 // RFC 6762, section 11
	life        = 2 * time.Minute
	badReads    = 64 // in a row, after which a socket is given up
	answerRate  = 20 // packets a second, to all together
	answerBurst = 40
)

// A Board tells neighbours of this machine's worker while it has an offer, and
// is the http.Handler of [Path]. It is safe for concurrent use.
type Board struct {
	port   uint16
	choose func() ([]net.Interface, error)
	limit  *rate.Limiter

	mu      sync.Mutex
	offer   *announce.Signed // guarded by mu; nil when there is none
	links   []link           // guarded by mu
	sockets []*socket        // guarded by mu
	reading sync.WaitGroup
}

// NewBoard makes the board of a worker that listens on port, with TLS, on the
// interfaces that choose names; nil means all that have neighbours.
func NewBoard(port uint16, choose func() ([]net.Interface, error)) *Board {
	return &Board{port: port, choose: choose, limit: rate.NewLimiter(answerRate, answerBurst)}
}

// Name implements [discover.Board].
func (b *Board) Name() string { return "local network" }

// ServeHTTP gives the offer to whoever asks.
func (b *Board) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	b.mu.Lock()
	offer := b.offer
	b.mu.Unlock()
	fault := &openai.Error{Status: http.StatusNotFound, Type: "not_found", Message: "this worker does not announce itself on the local network"}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		fault.Status, fault.Type, fault.Message = http.StatusMethodNotAllowed, "invalid_request_error", "want GET"
	} else if offer != nil {
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(offer.Envelope()) // the client sees that it ended early
		return
	}
	w.WriteHeader(fault.Status)
	_, _ = w.Write(fault.JSON())
}

// Publish implements [discover.Board]: it begins to answer, on the interfaces
// of this moment, and tells all neighbours once.
func (b *Board) Publish(ctx context.Context, offer *announce.Signed) (time.Duration, error) {
	list, err := links(b.choose)
	if err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.offer, b.links = offer, list
	if err := b.open(ctx); err != nil {
		b.offer = nil
		return 0, err
	}
	b.tellAll(life)
	return 0, nil
}

// Withdraw implements [discover.Board]: it says goodbye and answers no more.
func (b *Board) Withdraw(context.Context, announce.Withdrawal) error {
	b.mu.Lock()
	if b.offer != nil {
		b.tellAll(0)
	}
	b.offer = nil
	for _, s := range b.sockets {
		s.conn.Close()
	}
	b.sockets = nil
	b.mu.Unlock()
	b.reading.Wait()
	return nil
}

// open makes the sockets that are missing and joins the groups on every link.
// The caller holds mu.
func (b *Board) open(ctx context.Context) error {
	var faults []error
	for _, group := range []netip.AddrPort{group4, group6} {
		if slices.ContainsFunc(b.sockets, func(s *socket) bool { return s.group == group }) {
			continue
		}
		s, err := listen(group, b.links)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		b.sockets = append(b.sockets, s)
		b.reading.Go(func() {
			b.read(s)
			b.drop(s)
		})
	}
	if len(b.sockets) == 0 {
		return fmt.Errorf("listen for neighbours: %w", errors.Join(faults...))
	}
	for _, s := range b.sockets {
		s.join(b.links)
	}
	return ctx.Err()
}

// drop gives a socket up; the next offer brings a new one.
func (b *Board) drop(s *socket) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.conn.Close()
	b.sockets = slices.DeleteFunc(b.sockets, func(other *socket) bool { return other == s })
}

// tellAll tells all neighbours unasked. Nobody needs that to find us, so that
// what cannot be sent is left. The caller holds mu.
func (b *Board) tellAll(life time.Duration) {
	for i := range b.links {
		l := &b.links[i]
		packet, err := b.hint(l).answer(question{}, life)
		for _, s := range b.sockets {
			if err == nil && l.speaks(s.group) {
				_ = s.tell(packet, l)
			}
		}
	}
}

// hint is what we tell on a link. The caller holds mu.
func (b *Board) hint(l *link) hint {
	return hint{id: b.offer.ID, tag: tagOf(b.offer), port: b.port, addrs: l.addresses()}
}

// read answers until the socket is closed.
func (b *Board) read(s *socket) {
	buf := make([]byte, maxPacket)
	for bad := 0; bad < badReads; {
		n, sender, err := s.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			bad++ // such as a network that went down
			continue
		}
		bad = 0
		if q, err := parseQuestion(buf[:n], sender.Port()); err == nil {
			b.reply(s, q, netip.AddrPortFrom(sender.Addr().Unmap(), sender.Port()))
		}
	}
}

// reply answers a neighbour that asks for what we have.
func (b *Board) reply(s *socket, q question, sender netip.AddrPort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, near := from(b.links, sender.Addr())
	if b.offer == nil || !near {
		return
	}
	h := b.hint(l)
	if !q.concerns(h) || !b.limit.Allow() {
		return
	}
	packet, err := h.answer(q, life)
	if err != nil {
		return
	}
	if q.legacy || q.alone {
		_, _ = s.conn.WriteToUDPAddrPort(packet, sender) // it asks again
	} else {
		_ = s.tell(packet, l)
	}
}

// A socket listens for one address family.
type socket struct {
	group netip.AddrPort
	conn  *net.UDPConn
	four  *ipv4.PacketConn // of the two, the one that fits
	six   *ipv6.PacketConn
}

// listen shares port 5353 with whoever else uses it.
func listen(group netip.AddrPort, list []link) (*socket, error) {
	for i := range list {
		if !list[i].speaks(group) {
			continue
		}
		conn, err := net.ListenMulticastUDP(network(group), &list[i].Interface, net.UDPAddrFromAddrPort(group))
		if err != nil {
			return nil, err
		}
		s := newSocket(group, conn)
		if err := s.prepare(); err != nil {
			conn.Close()
			return nil, err
		}
		return s, nil
	}
	return nil, fmt.Errorf("no network interface has an address of %s", network(group))
}

func network(group netip.AddrPort) string {
	if group.Addr().Is4() {
		return "udp4"
	}
	return "udp6"
}

func newSocket(group netip.AddrPort, conn *net.UDPConn) *socket {
	s := &socket{group: group, conn: conn}
	if group.Addr().Is4() {
		s.four = ipv4.NewPacketConn(conn)
	} else {
		s.six = ipv6.NewPacketConn(conn)
	}
	return s
}

// prepare sets what a multicast packet needs to be heard, here too.
func (s *socket) prepare() error {
	if s.four != nil {
		return errors.Join(s.four.SetMulticastTTL(hopLimit), s.four.SetMulticastLoopback(true))
	}
	return errors.Join(s.six.SetMulticastHopLimit(hopLimit), s.six.SetMulticastLoopback(true))
}

// join hears the group on links; those on which it does already say so by an
// error.
func (s *socket) join(list []link) {
	for i := range list {
		group := net.UDPAddrFromAddrPort(s.group)
		if s.four != nil {
			_ = s.four.JoinGroup(&list[i].Interface, group)
		} else {
			_ = s.six.JoinGroup(&list[i].Interface, group)
		}
	}
}

// tell sends a packet to all neighbours on a link.
func (s *socket) tell(packet []byte, l *link) error {
	to := s.group
	if s.four != nil {
		if err := s.four.SetMulticastInterface(&l.Interface); err != nil {
			return err
		}
	} else {
		if err := s.six.SetMulticastInterface(&l.Interface); err != nil {
			return err
		}
		to = netip.AddrPortFrom(to.Addr().WithZone(l.Name), to.Port())
	}
	_, err := s.conn.WriteToUDPAddrPort(packet, to)
	return err
}
