package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"lobstah/grid"
	"lobstah/grid/channel"
	"lobstah/grid/discover"
	"lobstah/grid/discover/nostr"
	"lobstah/grid/discover/trackers"
	"lobstah/internal/cli"
	"lobstah/internal/control"
)

// discoverySettings say where a router learns of peers. Without a place it
// learns of nobody.
type discoverySettings struct {
	From     []string      `setting:"discover.from" name:"discover-from" placeholder:"PLACE" help:"Keep asking here for peers: a tracker's URL, nostr, or lan; repeatable. Those it finds are strangers: they see what is asked of them."`
	Interval time.Duration `setting:"discover.interval" name:"discover-interval" default:"1m" placeholder:"TIME" help:"How often each place is asked."`
}

// nostrSettings name the relays, for whatever goes over Nostr.
type nostrSettings struct {
	Relays []string `setting:"nostr.relays" name:"nostr-relay" placeholder:"URL" help:"Nostr relay to use instead of the original's three; repeatable."`
}

// learnerLimits are what a router takes up of strangers: it asks each for its
// capacity again and again.
var learnerLimits = discover.Limits{Peers: 1000, Bytes: 16 << 20}

const leastInterval = 5 * time.Second

// A discoverRequest names the places to ask for peers.
type discoverRequest struct {
	From   []string `json:"from"`
	Relays []string `json:"relays,omitempty"`
}

// sources opens the places. The relays are asked when one of them is nostr.
func (in discoverRequest) sources() (list []discover.Source, err error) {
	for _, place := range in.From {
		switch {
		case place == placeNostr:
			relays, err := openRelays(in.Relays, nostr.Config{})
			if err != nil {
				return nil, err
			}
			for _, r := range relays {
				list = append(list, r)
			}
		case place == placeLAN:
			list = append(list, lanSource())
		default:
			t, err := trackers.New(place, trackers.Config{})
			if err != nil {
				return nil, cli.Hintf(cli.Usagef("%.200q is no place to discover peers from: %v", place, err), "name a tracker's URL such as https://tracker.example, nostr, or lan")
			}
			list = append(list, t)
		}
	}
	return distinct(list), nil
}

const (
	placeNostr = "nostr"
	placeLAN   = "lan"
)

// distinct drops places that are named twice.
func distinct(list []discover.Source) []discover.Source {
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(s discover.Source) bool {
		twice := seen[s.Name()]
		seen[s.Name()] = true
		return twice
	})
}

// openRelays opens the named relays, or the original's.
func openRelays(urls []string, c nostr.Config) ([]*nostr.Relay, error) {
	if len(urls) == 0 {
		urls = nostr.DefaultRelays
	}
	relays, err := nostr.Relays(urls, c)
	if err != nil {
		return nil, cli.Usagef("--nostr-relay: %v", err)
	}
	return relays, nil
}

// check refuses what could never work, before anything is opened.
func (s discoverySettings) check(n nostrSettings) error {
	if s.Interval < leastInterval {
		return cli.Usagef("--discover-interval %s: want at least %s", s.Interval, leastInterval)
	}
	_, err := discoverRequest{s.From, n.Relays}.sources()
	return err
}

// newLearner makes a learner of this process's, on its ledger's file.
func (p *process) newLearner(sources []discover.Source, every time.Duration, blockPrivate bool) *discover.Learner {
	return discover.NewLearner(discover.LearnerConfig{
		Sources: sources, Interval: every, Self: p.id.ID(), Limits: learnerLimits, Store: learnedPeers{p.book}, Logger: p.log.With("part", "discovery"),
		Allow: func(peer grid.Peer) error { return channel.CheckURL(peer, blockPrivate) },
	})
}

// learn begins to learn of peers for the router of this process: what was
// learned before its start, and what its places show from now on.
func (p *process) learn(ctx context.Context, s discoverySettings, n nostrSettings, blockPrivate bool) error {
	sources, err := discoverRequest{s.From, n.Relays}.sources()
	if err != nil {
		return err
	}
	l := p.newLearner(sources, s.Interval, blockPrivate)
	if err := l.Restore(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	p.learner, p.blockPrivate = l, blockPrivate
	p.mu.Unlock()
	p.task(func() { l.Run(p.background) })
	return nil
}

// A discovery is how asking places for peers went.
type discovery struct {
	Places []placeReport `json:"places"`
	Peers  []listedPeer  `json:"peers"` // all that are learned and in force
}

// A placeReport tells how asking a place, or announcing there, goes.
type placeReport struct {
	Name      string    `json:"name"`
	LastOK    time.Time `json:"lastOk,omitzero"`
	Until     time.Time `json:"until,omitzero"` // when what was announced there runs out
	Failures  int       `json:"failures,omitempty"`
	LastError string    `json:"lastError,omitempty"`
	Peers     int       `json:"peers,omitempty"`   // that it shows
	Refused   int       `json:"refused,omitempty"` // for want of room
	Next      time.Time `json:"next,omitzero"`
}

func sourceReport(s discover.SourceState) placeReport {
	return placeReport{s.Name, s.LastOK.UTC(), time.Time{}, s.Failures, errorText(s.LastErr), s.Peers, s.Refused, s.Next.UTC()}
}

// sourceReports tell how learning of peers goes.
func (p *process) sourceReports() (list []placeReport) {
	p.mu.Lock()
	l := p.learner
	p.mu.Unlock()
	if l == nil {
		return nil
	}
	for _, s := range l.Sources() {
		list = append(list, sourceReport(s))
	}
	return list
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// discover asks places once, and lets the router of this process, if it has
// one, use what they show.
func (p *process) discover(ctx context.Context, in discoverRequest) (out discovery, err error) {
	sources, err := in.sources()
	if err != nil {
		return out, &control.Error{Message: err.Error()}
	}
	p.mu.Lock()
	kept, blockPrivate := p.learner, p.blockPrivate
	p.mu.Unlock()
	once := p.newLearner(sources, 0, blockPrivate)
	if err := once.Restore(ctx); err != nil {
		return out, err
	}
	for _, s := range once.Collect(ctx) {
		out.Places = append(out.Places, sourceReport(s))
	}
	out.Peers = listed(nil, once.List(), nil)
	if kept == nil {
		return out, ctx.Err()
	}
	return out, errors.Join(kept.Restore(ctx), ctx.Err())
}

// explainPlaces prints how asking went and returns an error when nothing
// answered.
func (a *app) explainPlaces(places []placeReport) error {
	failed := 0
	for _, place := range places {
		refused := ""
		if place.Refused > 0 {
			refused = fmt.Sprintf(", and %s for whom there is no room", cli.Plural(place.Refused, "other"))
		}
		switch {
		case place.answered():
			a.say("synced %s from %s%s", cli.Plural(place.Peers, "peer"), cli.CleanLine(place.Name), refused)
		default:
			failed++
		}
		if place.LastError != "" {
			a.warn("%s: %s", cli.CleanLine(place.Name), cli.CleanLine(place.LastError))
		}
	}
	if failed == len(places) {
		return errors.New("no place answered")
	}
	return nil
}

// isTrackerPlace tells a tracker among the places.
func isTrackerPlace(place string) bool {
	u, err := url.Parse(place)
	return err == nil && strings.HasPrefix(u.Scheme, "http")
}
