package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
	"lobstah/grid/channel"
	"lobstah/grid/discover"
	"lobstah/grid/discover/nostr"
	"lobstah/grid/discover/trackers"
	"lobstah/internal/cli"
)

// announceSettings say where a worker announces itself. Without a place nobody
// hears of it.
type announceSettings struct {
	To    []string `setting:"announce.to" name:"announce-to" placeholder:"URL" help:"Tell this tracker of the worker; repeatable."`
	Nostr bool     `setting:"announce.nostr" name:"publish-via-nostr" help:"Tell everybody of the worker, over public Nostr relays."`
	LAN   bool     `setting:"announce.lan" name:"lan" help:"Tell the local network of the worker (DNS-SD)."`
	URL   string   `setting:"announce.url" name:"announce-url" placeholder:"URL" help:"Where others reach the worker."`
	Label string   `setting:"announce.label" name:"announce-label" default:"lobstah-worker" placeholder:"NAME" help:"What the worker is called there."`
	TTL   lifetime `setting:"announce.ttl" name:"announce-ttl" default:"300" placeholder:"TIME" help:"How long an announcement counts, in seconds or such as 5m; 1m to 1h. It is renewed in half of that."`
	Price priceTag `setting:"announce.price" name:"announce-price" placeholder:"PRICE" help:"What a million tokens cost, such as 0.2/0.6 EUR (read/written). It is shown to who looks; nothing here charges it."`
}

// A priceTag is a price as it is typed; the zero value is none.
type priceTag struct{ price *announce.Price }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (t *priceTag) UnmarshalText(text []byte) error {
	p, err := announce.ParsePrice(string(text))
	if err == nil {
		t.price = &p
	}
	return err
}

// String is how it is typed.
func (t priceTag) String() string {
	if t.price == nil {
		return ""
	}
	return t.price.String()
}

// A lifetime is a duration that may be typed in seconds, as the original's.
type lifetime time.Duration

// UnmarshalText implements [encoding.TextUnmarshaler].
func (l *lifetime) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if seconds, notNumber := strconv.ParseUint(string(text), 10, 31); notNumber == nil {
		d, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || d < announce.MinTTL || d > announce.MaxTTL {
		return fmt.Errorf("%.40q is no time from %s to %s; want seconds, or such as 5m", text, cli.Duration(announce.MinTTL), cli.Duration(announce.MaxTTL))
	}
	*l = lifetime(d)
	return nil
}

// String is how it is typed.
func (l lifetime) String() string { return time.Duration(l).String() }

func (s announceSettings) wanted() bool { return len(s.To) > 0 || s.Nostr || s.LAN }

// check refuses what could never lead anybody here, before anything is opened.
func (s announceSettings) check(n nostrSettings, at workerAddress) error {
	if !s.wanted() {
		return nil
	}
	if _, err := discover.ParseLabel(s.Label); err != nil {
		return cli.Usagef("--announce-label: %v", err)
	}
	if _, err := s.boards(n, [32]byte{}); err != nil {
		return err
	}
	if s.LAN && loopbackHost(at.Host) {
		return cli.Hintf(cli.Usagef("--lan tells neighbours of a worker that listens on %s only", at.Host), "let it listen in the network: --host 0.0.0.0 (lobstah up: --worker-host 0.0.0.0)")
	}
	if s.URL == "" && len(s.To) == 0 && !s.Nostr {
		return nil // a network sees where it comes from
	}
	return checkAnnounced(s.URL, at)
}

// checkAnnounced judges the address that others are told.
func checkAnnounced(text string, at workerAddress) error {
	example := suggestURL(at)
	if text == "" {
		return cli.Hintf(cli.Usagef("announcing needs --announce-url: where others reach this machine's worker"), "such as --announce-url %s", example)
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return cli.Hintf(cli.Usagef("--announce-url %.200q: want an http or https URL", text), "such as --announce-url %s", example)
	}
	if announce.Disguised(u.Hostname()) {
		return cli.Hintf(cli.Usagef("--announce-url %s: programs differ in what address that number is", text), "write the address out, such as %s", example)
	}
	ip, notIP := netip.ParseAddr(u.Hostname())
	if u.Hostname() == "localhost" || notIP == nil && channel.Forbidden(ip, false) != nil {
		return cli.Hintf(cli.Usagef("--announce-url %s: no other machine reaches this one there", text),
			"name an address that others reach, such as %s; on one machine alone nothing has to be announced", example)
	}
	return nil
}

// suggestURL is a URL that others may reach, by what this machine knows.
func suggestURL(at workerAddress) string {
	host := "192.0.2.7"
	if own := ownAddresses(); len(own) > 0 {
		host = own[0]
	}
	if !loopbackHost(at.Host) {
		if ip, err := netip.ParseAddr(at.Host); err != nil || !ip.IsUnspecified() {
			host = at.Host
		}
	}
	port := at.Port
	if port == 0 {
		port, _ = strconv.Atoi(discover.DefaultPort) // a constant
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// boards opens the places to announce at, beside the local network.
func (s announceSettings) boards(n nostrSettings, secret [32]byte) (list []discover.Board, err error) {
	for _, place := range s.To {
		t, err := trackers.New(place, trackers.Config{})
		if err != nil {
			return nil, cli.Usagef("--announce-to: %v", err)
		}
		if !slices.ContainsFunc(list, func(b discover.Board) bool { return b.Name() == t.Name() }) {
			list = append(list, t)
		}
	}
	if s.Nostr {
		relays, err := openRelays(n.Relays, nostr.Config{Secret: secret})
		if err != nil {
			return nil, err
		}
		for _, r := range relays {
			list = append(list, r)
		}
	}
	return list, nil
}

// announcing is a worker's announcer while it runs.
type announcing struct {
	*discover.Announcer
	stop context.CancelFunc
	gone chan struct{} // closed when it has withdrawn everywhere
	err  error         // of withdrawing; read after gone
}

// announceWorker begins to announce the worker of this process, if that is
// wanted.
func (p *process) announceWorker(s announceSettings, n nostrSettings, e engineSettings) error {
	if !s.wanted() {
		return nil
	}
	boards, err := s.boards(n, p.id.NostrSecret)
	if err != nil {
		return err
	}
	if s.LAN {
		boards = append(boards, p.lanBoard())
	}
	a := &announcing{gone: make(chan struct{})}
	a.Announcer = discover.NewAnnouncer(discover.AnnouncerConfig{
		Boards: boards, Key: p.id.Pair, Logger: p.log.With("part", "announcing"),
		Offer: func(ctx context.Context) (announce.Offer, error) {
			return p.offer(ctx, s, slices.Contains(e.Engine, engineDemo))
		},
	})
	var ctx context.Context
	ctx, a.stop = context.WithCancel(p.background)
	p.mu.Lock()
	p.announcing = a
	p.mu.Unlock()
	p.task(func() {
		defer close(a.gone)
		a.err = a.Run(ctx)
	})
	return nil
}

// withdraw ends announcing and waits until every board knows, or ctx ends.
func (p *process) withdraw(ctx context.Context) error {
	p.mu.Lock()
	a := p.announcing
	p.mu.Unlock()
	if a == nil {
		return nil
	}
	a.stop()
	select {
	case <-a.gone:
		return a.err
	case <-ctx.Done():
		return nil // it runs out by itself
	}
}

// offer is what the worker offers now. The demo model answers nothing and is
// offered only by who asked for it.
func (p *process) offer(ctx context.Context, s announceSettings, demo bool) (o announce.Offer, err error) {
	worker, _, _ := p.parts()
	if worker == nil {
		return o, errors.New("no worker runs")
	}
	var c grid.Capacity
	if p.ask(ctx, worker, "/capacity", &c); c.Pubkey.IsZero() {
		return o, errors.New("the worker's engine or its ledger is out of order")
	}
	o = announce.Offer{
		URL: s.URL, Label: s.Label, Tier: c.Tier, TTL: time.Duration(s.TTL),
		Concurrency: c.Concurrency, Running: c.Running, QueueDepth: c.QueueDepth, Price: s.Price.price, Through: p.ways(),
	}
	for _, m := range c.Facts() {
		if demo || !m.Demo {
			o.Models, o.ModelFacts = append(o.Models, m.ID), append(o.ModelFacts, m)
		}
	}
	if len(o.Models) == 0 {
		return o, errors.New("no engine has a model; the demo model is announced with --engine demo only")
	}
	if o.URL == "" {
		o.URL = suggestURL(p.workerAt())
	}
	return fitting(p, o), nil
}

// ways are other ways to the worker than its URL.
func (p *process) ways() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mesh == nil {
		return nil
	}
	return []string{"mesh://" + p.id.ID().String()}
}

// fitting leaves out what an announcement has no room for: facts first, then
// the last models.
func fitting(p *process, o announce.Offer) announce.Offer {
	o.ID, o.AnnouncedAt = p.id.ID(), time.Now()
	o.Models = o.Models[:min(len(o.Models), announce.MaxModels)]
	o.ModelFacts = o.ModelFacts[:len(o.Models)]
	for len(o.Models) > 1 {
		if _, err := announce.Sign(p.id.Pair, o); err == nil {
			return o
		}
		if o.ModelFacts != nil {
			o.ModelFacts = nil
		} else {
			o.Models = o.Models[:len(o.Models)/2]
		}
	}
	return o
}

// workerAt is where the worker listens.
func (p *process) workerAt() workerAddress {
	p.mu.Lock()
	defer p.mu.Unlock()
	if tcp, ok := p.at.(*net.TCPAddr); ok {
		return workerAddress{Host: tcp.IP.String(), Port: tcp.Port}
	}
	return workerAddress{}
}

// sayAnnouncing tells what others will hear, and who may use it.
func (p *process) sayAnnouncing(s announceSettings, at workerAddress, open bool) {
	p.mu.Lock()
	a := p.announcing
	p.mu.Unlock()
	if a == nil {
		return
	}
	var names []string
	for _, b := range a.States() {
		names = append(names, b.Name)
	}
	where := s.URL
	if where == "" {
		where = "its address in the network"
	}
	form := "  announces: %s, as %q, to %s"
	if p.lock.Holder().What == upName {
		form = "announces %s, as %q, to %s"
	}
	p.say(form, where, s.Label, strings.Join(names, ", "))
	if loopbackHost(at.Host) {
		p.warn("the worker listens on %s only. Others reach it when something forwards %s here; else start it with %s 0.0.0.0", at.Host, where, p.hostFlag())
	}
	if !open {
		p.note("Whoever reads the announcement can find the worker, which answers allowed keys only\n(lobstah allow, lobstah invite). --open serves strangers, too.")
	}
}

// hostFlag is how a worker's address is typed for this command.
func (p *process) hostFlag() string {
	if p.lock.Holder().What == upName {
		return "--worker-host"
	}
	return "--host"
}

// boardReports tell how announcing goes.
func (p *process) boardReports() (list []placeReport) {
	p.mu.Lock()
	a := p.announcing
	p.mu.Unlock()
	if a == nil {
		return nil
	}
	for _, b := range a.States() {
		list = append(list, placeReport{Name: b.Name, LastOK: b.LastOK.UTC(), Until: b.Until.UTC(), Failures: b.Failures, LastError: errorText(b.LastErr), Next: b.Next.UTC()})
	}
	return list
}
