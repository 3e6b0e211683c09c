package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"lobstah/internal/cli"
	"lobstah/internal/control"
)

type peersSyncCommand struct {
	URL     []string          `arg:"" optional:"" name:"tracker-url" help:"The tracker; by default those of discover.from."`
	Tracker []string          `placeholder:"URL" help:"The tracker, too; repeatable."`
	Place   discoverySettings `embed:""`
	Relays  nostrSettings     `embed:""`
	JSON    bool              `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (peersSyncCommand) Help() string {
	return `Asks trackers once for workers. They are strangers: they see what is asked of them,
and serve only whom they let in. Each stays until its announcement ends, which is
minutes; to keep up, start the router with --discover-from.

Examples:
  lobstah peers sync https://tracker.example
  lobstah peers sync                             those of discover.from in config.yaml`
}

func (c *peersSyncCommand) Run(ctx context.Context, a *app) error {
	from := slices.Concat(c.URL, c.Tracker)
	if len(from) == 0 {
		from = slices.DeleteFunc(slices.Clone(c.Place.From), func(place string) bool { return !isTrackerPlace(place) })
	}
	if len(from) == 0 {
		return cli.Hintf(cli.Usagef("no tracker is named"), "lobstah peers sync https://tracker.example, or discover.from in config.yaml")
	}
	return a.discover(ctx, discoverRequest{from, nil}, c.JSON)
}

type peersGossipCommand struct {
	Relays nostrSettings `embed:""`
	JSON   bool          `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (peersGossipCommand) Help() string {
	return `Asks Nostr relays once for workers that announced themselves there. The relays see
this machine's address. What holds for lobstah peers sync holds here.

Examples:
  lobstah peers gossip-nostr
  lobstah peers gossip-nostr --nostr-relay wss://relay.example`
}

func (c *peersGossipCommand) Run(ctx context.Context, a *app) error {
	return a.discover(ctx, discoverRequest{[]string{placeNostr}, c.Relays.Relays}, c.JSON)
}

type peersDiscoverCommand struct {
	Place  discoverySettings `embed:""`
	Relays nostrSettings     `embed:""`
	JSON   bool              `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (peersDiscoverCommand) Help() string {
	return `Asks every place of discover.from once for workers: trackers, Nostr, the local
network. What holds for lobstah peers sync holds here.

Examples:
  lobstah peers discover --discover-from lan
  lobstah peers discover                         the places of config.yaml`
}

func (c *peersDiscoverCommand) Run(ctx context.Context, a *app) error {
	if len(c.Place.From) == 0 {
		return cli.Hintf(cli.Usagef("no place is named where peers could be discovered"), "--discover-from takes a tracker's URL, nostr or lan; so does discover.from in config.yaml")
	}
	return a.discover(ctx, discoverRequest{c.Place.From, c.Relays.Relays}, c.JSON)
}

// discoverTimeout bounds asking all places once.
const discoverTimeout = 90 * time.Second

// discover lets the process that runs here ask, or becomes one for as long.
func (a *app) discover(ctx context.Context, in discoverRequest, asJSON bool) error {
	if _, err := in.sources(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, discoverTimeout)
	defer cancel()
	done := a.Progress("asking for peers")
	found, live, err := a.askPlaces(ctx, in)
	done()
	if err != nil {
		return err
	}
	if asJSON {
		return errors.Join(a.json(found), silently(found.failed()))
	}
	if err := a.explainPlaces(found.Places); err != nil {
		return err
	}
	if len(found.Peers) == 0 {
		return nil
	}
	if err := a.printListed(found.Peers); err != nil {
		return err
	}
	if live {
		a.note("What runs here asks them, too, until their announcements end.")
	} else {
		a.note("A router that starts before their announcements end asks them, too.")
	}
	a.note("To keep up: --discover-from for lobstah up and lobstah router start.")
	return nil
}

// silently makes a failure the exit code and no message: the data tell.
func silently(failed bool) error {
	if failed {
		return cli.Exit(cli.Failure)
	}
	return nil
}

func (a *app) askPlaces(ctx context.Context, in discoverRequest) (found discovery, live bool, err error) {
	_, client, err := a.running()
	if err == nil {
		err = client.Call(ctx, http.MethodPost, "/discover", in, &found)
		return found, true, err
	}
	if !errors.Is(err, errNothingRuns) {
		return found, false, err
	}
	p, ctx, err := a.openProcess(ctx, "lobstah peers discover", processSettings{LogLevel: "error"})
	if err != nil {
		return found, false, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	found, err = p.discover(ctx, in)
	if e, ok := errors.AsType[*control.Error](err); ok {
		err = cli.Usagef("%s", e.Message)
	}
	return found, false, err
}

// failed reports whether no place answered.
func (d discovery) failed() bool {
	return !slices.ContainsFunc(d.Places, func(p placeReport) bool { return p.answered() })
}

// answered reports whether a place told what it has, all or part of it.
func (p placeReport) answered() bool { return p.LastError == "" || !p.LastOK.IsZero() }

// printListed prints peers as a table, with the columns that say something.
func (a *app) printListed(list []listedPeer) error {
	learned := slices.ContainsFunc(list, func(p listedPeer) bool { return len(p.Learned) > 0 || !p.Origin.Trusted() })
	running := slices.ContainsFunc(list, func(p listedPeer) bool { return p.Health != "" })
	table := cli.Table{}
	row := func(cells, whence []string, state, models string) {
		if learned {
			cells = append(cells, whence...)
		}
		if running {
			cells = append(cells, state)
		}
		if learned || running {
			cells = append(cells, models)
		}
		table.Row(cells...)
	}
	row([]string{"PUBKEY", "URL", "LABEL"}, []string{"LEARNED FROM", "SEEN", "ENDS"}, "STATE", "MODELS")
	for _, p := range list {
		label := p.Label
		if p.Insecure {
			label += " (insecure)"
		}
		row([]string{p.ID.String(), p.URL, label}, p.whence(), p.Health, shortList(p.Models))
	}
	if err := table.Print(a.Out, ""); err != nil {
		return err
	}
	for _, p := range list {
		if p.Error != "" {
			a.say("%s: %s", cli.CleanLine(p.Name()), cli.CleanLine(p.Error))
		}
	}
	return nil
}

func ago(at time.Time) string {
	return cli.Duration(max(time.Since(at), 0).Truncate(time.Second)) + " ago"
}

// whence says where a peer was learned, how long ago it was seen there, and
// when its announcement ends.
func (p listedPeer) whence() []string {
	if len(p.Learned) == 0 && !p.Origin.Trusted() {
		return []string{string(p.Origin), "", ""}
	}
	if len(p.Learned) == 0 {
		return []string{"you", "", ""}
	}
	text := p.Learned[0].Source
	if more := len(p.Learned) - 1; more > 0 {
		text += " and " + cli.Plural(more, "other")
	}
	if p.Origin.Trusted() {
		text = "you, " + text
	}
	return []string{text, ago(p.LastSeen), "in " + cli.Duration(max(time.Until(p.Expires), 0).Truncate(time.Second))}
}

// shortList names the first few.
func shortList(list []string) string {
	const shown = 3
	text := strings.Join(list[:min(len(list), shown)], ", ")
	if more := len(list) - shown; more > 0 {
		text += " and " + cli.Plural(more, "other")
	}
	return text
}
