// Package nostr announces workers over Nostr relays and learns of them there,
// as the original does: kinds, tags and contents are the same, so its workers
// and routers and ours understand each other.
//
// Start from [Relays]. Each [Relay] is a [discover.Source] and a
// [discover.Board] of its own, so that a bad one has neither the time nor the
// room of a good one. [Relay.PublishReceipt] makes a receipt public, and is
// called by nobody who was not asked to; [Receipts] collects what others made
// public.
//
// cmd imports it; it imports grid/announce, grid/discover, receipt and
// internal packages. Relays, and whoever writes to them, are hostile: messages
// are capped in bytes, count and time before they are parsed, an event's id and
// signature are checked before its content, and the content counts by the
// signature of its worker alone. The key that signed the event says nothing.
// Relays never say where to connect to.
package nostr

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/grid/discover"
	"lobstah/internal/canonical"
	"lobstah/key"
)

// DefaultRelays are those that the original uses.
var DefaultRelays = []string{"wss://relay.damus.io", "wss://nos.lol", "wss://relay.nostr.band"}

// MaxRelays caps a list of relays.
const MaxRelays = 16

// The kinds of events, see NIP-01 (addressable and regular events) and NIP-09.
const (
	kindOffer    = 31474
	kindReceipt  = 1474
	kindDeletion = 5
)

// What relays are given.
const (
	maxPatience  = 20 * time.Second // for one conversation
	maxSilence   = 8 * time.Second  // between two messages
	collectBytes = 16 << 20
	publishBytes = 1 << 20
	maxOffers    = 2000 // events of one answer
	maxReceipts  = 5000
	maxChecked   = 2048 // events whose signatures are remembered to hold
)

// A Config is what all relays have in common.
type Config struct {
	// Secret signs events; without it, relays are only read.
	Secret [32]byte
	// Insecure allows ws:// beyond loopback.
	Insecure bool
	// HTTP opens the connections; nil means a client of this package's own. It
	// should follow no redirects.
	HTTP *http.Client
	Now  func() time.Time // nil means time.Now
}

// A Relay is one relay. It is safe for concurrent use.
type Relay struct {
	url               string
	config            Config
	checked           *checked
	patience, silence time.Duration // shorter in tests

	mu      sync.Mutex
	created int64      // guarded by mu; of the last event, Unix seconds
	shown   [][32]byte // guarded by mu; events that the relay may show of us
}

// Relays makes the relays at these URLs: wss, or ws on loopback. Those that
// occur twice count once.
func Relays(urls []string, c Config) ([]*Relay, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.HTTP == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxResponseHeaderBytes = 64 << 10
		transport.DisableKeepAlives = true
		c.HTTP = &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	shared := &checked{offers: map[[32]byte]*announce.Signed{}}
	var list []*Relay
	for _, text := range urls {
		address, err := parseURL(text, c.Insecure)
		if err != nil {
			return nil, fmt.Errorf("relay %.80q: %w", text, err)
		}
		if !slices.ContainsFunc(list, func(r *Relay) bool { return r.url == address }) {
			list = append(list, &Relay{url: address, config: c, checked: shared, patience: maxPatience, silence: maxSilence})
		}
	}
	if len(list) > MaxRelays {
		return nil, fmt.Errorf("%d relays; at most %d are used", len(list), MaxRelays)
	}
	return list, nil
}

func parseURL(text string, insecure bool) (string, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || len(text) > 512 {
		return "", errors.New("not a URL")
	}
	u.Host = strings.ToLower(u.Host)
	switch {
	case u.Scheme != "wss" && u.Scheme != "ws" || u.Hostname() == "":
		return "", errors.New("want wss://HOST")
	case u.User != nil || u.Fragment != "":
		return "", errors.New("a relay's URL has no user name and no fragment")
	case u.Scheme == "ws" && !insecure && !loopback(u.Hostname()):
		return "", errors.New("ws:// is for relays on this machine; use wss://")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// Name implements [discover.Source] and [discover.Board].
func (r *Relay) Name() string { return "relay " + r.url }

// URL returns where the relay is.
func (r *Relay) URL() string { return r.url }

// Publish implements [discover.Board] with an addressable event, which takes
// the place of the one before.
func (r *Relay) Publish(ctx context.Context, offer *announce.Signed) (time.Duration, error) {
	e, err := r.event(kindOffer, string(offer.Envelope()), []string{"d", "lobstah-peer"}, []string{"t", "lobstah"}, []string{"lobstah_pubkey", offer.ID.String()})
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	r.shown = append(r.shown[max(0, len(r.shown)-7):], e.id)
	r.mu.Unlock()
	if err := r.send(ctx, e); err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shown = [][32]byte{e.id} // those before it are replaced
	return 0, nil
}

// Withdraw implements [discover.Board] with a request to delete (NIP-09) what
// this Relay published. The withdrawal itself is not sent: a relay would not
// know what to make of it.
func (r *Relay) Withdraw(ctx context.Context, _ announce.Withdrawal) error {
	r.mu.Lock()
	var tags [][]string
	for _, id := range r.shown {
		tags = append(tags, []string{"e", fmt.Sprintf("%x", id)})
	}
	r.mu.Unlock()
	if len(tags) == 0 {
		return nil
	}
	e, err := r.event(kindDeletion, "lobstah unannounce", tags...)
	if err != nil {
		return err
	}
	return r.send(ctx, e)
}

// event makes a signed event of now. Each is of a later second than the one
// before, since relays keep the newest of two.
func (r *Relay) event(kind int64, content string, tags ...[]string) (*event, error) {
	if r.config.Secret == [32]byte{} {
		return nil, errors.New("there is no Nostr key to publish with")
	}
	r.mu.Lock()
	r.created = max(r.config.Now().Unix(), r.created+1)
	e := &event{created: r.created, kind: kind, tags: tags, content: content}
	r.mu.Unlock()
	return e, e.sign(r.config.Secret)
}

// Collect implements [discover.Source]. Of several offers of one worker it
// passes on those that are newer than what it passed on before.
func (r *Relay) Collect(ctx context.Context, found func(discover.Found)) error {
	newest := map[key.ID]time.Time{}
	since := r.config.Now().Add(-announce.MaxTTL - announce.Window).Unix()
	filter := canonical.Object{
		{Name: "kinds", Value: []any{float64(kindOffer)}}, {Name: "since", Value: float64(since)},
	}
	return r.query(ctx, kindOffer, filter, maxOffers, func(e *event) {
		s, ok := r.offer(e)
		if ok && s.AnnouncedAt.After(newest[s.ID]) {
			newest[s.ID] = s.AnnouncedAt
			found(discover.Found{Offer: s, Origin: grid.FromNostr, Where: r.url})
		}
	})
}

// offer opens an event's content, once for all relays.
func (r *Relay) offer(e *event) (*announce.Signed, bool) {
	if s, ok := r.checked.get(e.id); ok {
		return s, s.Status(r.config.Now()) == announce.OK
	}
	if !e.genuine() {
		return nil, false
	}
	s, err := announce.Open([]byte(e.content), r.config.Now())
	if err != nil {
		return nil, false
	}
	r.checked.put(e.id, s)
	return s, true
}

// checked remembers offers by the id of the event that they came in, whose
// signatures held. An id is a hash of all that the signature covers.
type checked struct {
	mu     sync.Mutex
	offers map[[32]byte]*announce.Signed // guarded by mu
}

func (c *checked) get(id [32]byte) (*announce.Signed, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.offers[id]
	return s, ok
}

func (c *checked) put(id [32]byte, s *announce.Signed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.offers) >= maxChecked {
		clear(c.offers) // they are checked again as they come
	}
	c.offers[id] = s
}
