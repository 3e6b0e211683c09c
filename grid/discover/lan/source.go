package lan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/grid/discover"
	"lobstah/key"
)

const (
	listenFor  = 2500 * time.Millisecond
	askAgain   = time.Second // packets get lost
	maxHints   = 256         // of one round
	maxPerKey  = 4           // senders that tell of one key
	fetchers   = 16
	fetchLimit = 4 * time.Second
)

// A Config says how neighbours are found and reached.
type Config struct {
	// Reach is the way to a peer, which proves its key.
	Reach func(grid.Peer) http.RoundTripper
	// Interfaces names those on which to look; nil means all that have
	// neighbours.
	Interfaces func() ([]net.Interface, error)
	Now        func() time.Time // nil means time.Now
}

// A Source finds the workers of the local network. It is safe for concurrent
// use.
type Source struct {
	config Config

	mu   sync.Mutex
	last map[key.ID]reached // guarded by mu; of the last round
}

// reached is a worker that was asked for its offer.
type reached struct {
	tag   string
	found discover.Found
}

// NewSource makes a source.
func NewSource(c Config) *Source {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Source{config: c}
}

// Name implements [discover.Source].
func (s *Source) Name() string { return "local network" }

// Collect implements [discover.Source]. It listens for some seconds, and then
// asks each worker that it heard of for its offer, unless it has it already.
func (s *Source) Collect(ctx context.Context, found func(discover.Found)) error {
	list, err := links(s.config.Interfaces)
	if err != nil {
		return err
	}
	heard, err := browse(ctx, list)
	if err != nil {
		return err
	}
	s.mu.Lock()
	last := s.last
	s.mu.Unlock()
	now := map[key.ID]reached{}
	for r := range s.fetch(ctx, heard, last) {
		if _, again := now[r.found.Offer.ID]; !again {
			now[r.found.Offer.ID] = r
			found(r.found)
		}
	}
	s.mu.Lock()
	s.last = now
	s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("there was no time to ask all neighbours: %w", err)
	}
	return nil
}

// A voice is a hint and the link on which it was heard.
type voice struct {
	hint
	link string
}

// browse asks on every link and listens.
func browse(ctx context.Context, list []link) ([]voice, error) {
	ctx, cancel := context.WithTimeout(ctx, listenFor)
	defer cancel()
	ears := &ears{}
	open, faults := 0, []error{}
	for i := range list {
		for _, group := range []netip.AddrPort{group4, group6} {
			if !list[i].speaks(group) {
				continue
			}
			if err := ears.open(ctx, group, &list[i]); err != nil {
				faults = append(faults, fmt.Errorf("on %s: %w", list[i].Name, err))
			} else {
				open++
			}
		}
	}
	ears.tasks.Wait()
	// An address that is new or going away cannot be used for a moment.
	if open == 0 {
		return nil, fmt.Errorf("look for neighbours: %w", errors.Join(faults...))
	}
	return ears.heard, nil
}

// ears collect what all sockets hear.
type ears struct {
	tasks sync.WaitGroup

	mu     sync.Mutex
	heard  []voice                // guarded by mu
	perKey map[key.ID]int         // guarded by mu
	once   map[netip.AddrPort]int // guarded by mu; hints by sender
}

// open asks on one link, from a port of its own, and listens there until ctx
// ends.
func (e *ears) open(ctx context.Context, group netip.AddrPort, l *link) error {
	conn, err := net.ListenUDP(network(group), nil)
	if err != nil {
		return err
	}
	s := newSocket(group, conn)
	err = s.prepare()
	if err == nil {
		err = s.tell(ask(), l)
	}
	if err != nil {
		conn.Close()
		return err
	}
	e.tasks.Go(func() {
		defer conn.Close()
		select {
		case <-ctx.Done():
			return
		case <-time.After(askAgain):
			_ = s.tell(ask(), l) // the first may have been heard
		}
		<-ctx.Done()
	})
	e.tasks.Go(func() { e.listen(s, l) })
	return nil
}

func (e *ears) listen(s *socket, l *link) {
	buf := make([]byte, maxPacket)
	for bad := 0; bad < badReads; {
		n, sender, err := s.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			bad++
			continue
		}
		if !l.has(sender.Addr()) {
			continue
		}
		hints, err := parseHints(buf[:n])
		if err != nil {
			continue
		}
		for _, h := range hints {
			e.take(h, l, sender)
		}
	}
}

// take notes a hint: the first of each sender and key, within bounds.
func (e *ears) take(h hint, l *link, sender netip.AddrPort) {
	h.addrs = slices.DeleteFunc(h.addrs, func(a netip.Addr) bool { return a.IsLinkLocalUnicast() || !l.has(a) })
	if len(h.addrs) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.perKey == nil {
		e.perKey, e.once = map[key.ID]int{}, map[netip.AddrPort]int{}
	}
	same := slices.ContainsFunc(e.heard, func(v voice) bool {
		return v.id == h.id && v.port == h.port && slices.Equal(v.addrs, h.addrs)
	})
	if same || len(e.heard) >= maxHints || e.perKey[h.id] >= maxPerKey || e.once[sender] >= maxHints/8 {
		return
	}
	e.perKey[h.id]++
	e.once[sender]++
	e.heard = append(e.heard, voice{h, l.Name})
}

// fetch asks for the offers, some at a time. The channel is closed when all is
// done.
func (s *Source) fetch(ctx context.Context, heard []voice, last map[key.ID]reached) <-chan reached {
	work, results := make(chan voice, len(heard)), make(chan reached)
	for _, v := range heard {
		work <- v
	}
	close(work)
	var tasks sync.WaitGroup
	for range min(fetchers, len(heard)) {
		tasks.Go(func() {
			for v := range work {
				if r, ok := s.visit(ctx, v, last); ok {
					results <- r
				}
			}
		})
	}
	go func() {
		tasks.Wait()
		close(results)
	}()
	return results
}

// visit gets one worker's offer, by the first address at which it proves its
// key.
func (s *Source) visit(ctx context.Context, v voice, last map[key.ID]reached) (reached, bool) {
	before, known := last[v.id]
	for _, a := range v.addrs {
		r := reached{v.tag, discover.Found{Origin: grid.FromLAN, Where: v.link, URL: "https://" + netip.AddrPortFrom(a, v.port).String()}}
		if known && v.tag != "" && before.tag == v.tag && before.found.URL == r.found.URL && before.found.Offer.Status(s.config.Now()) == announce.OK {
			return before, true
		}
		var err error
		if r.found.Offer, err = s.get(ctx, v.id, r.found.URL); err == nil {
			return r, true
		}
	}
	return reached{}, false
}

// get fetches the offer of a worker that proves its key at url.
func (s *Source) get(ctx context.Context, id key.ID, url string) (*announce.Signed, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+Path, nil)
	if err != nil {
		return nil, err
	}
	response, err := s.config.Reach(grid.Peer{ID: id, URL: url, Origin: grid.FromLAN}).RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, announce.MaxBytes+1))
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, cmp.Or(err, fmt.Errorf("it answered %d", response.StatusCode))
	}
	offer, err := announce.Open(text, s.config.Now())
	if err == nil && offer.ID != id {
		err = fmt.Errorf("it gave an offer of %s", offer.ID)
	}
	return offer, err
}
