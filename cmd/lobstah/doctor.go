package main

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/grid/discover"
	"lobstah/internal/cli"
	"lobstah/key"
)

type doctorCommand struct {
	Peer    string         `arg:"" optional:"" help:"A peer's label, the beginning of its key, or an address; without it this machine and all peers."`
	Router  routerAddress  `embed:"" prefix:"router-"`
	Worker  workerAddress  `embed:"" prefix:"worker-"`
	Engines engineSettings `embed:""`
	Timeout time.Duration  `default:"5s" placeholder:"TIME" help:"How long each step may take."`
	JSON    bool           `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (doctorCommand) Help() string {
	return `Goes the way to a peer step by step (address, name, connection, TLS, key, clock,
permission, models), says which step fails and what to type. For this machine it
looks at files, disk, ledger, clock, ports, engines, and at what runs. It changes
nothing and asks no model anything.

Exit code 0 when nothing fails, 1 when something does.

Examples:
  lobstah doctor
  lobstah doctor "Ann's workstation"
  lobstah doctor 192.168.1.5:17474
  lobstah doctor --json | jq '.[].checks[] | select(.status == "fail")'`
}

// How a check went.
const (
	checkOK   = "ok"
	checkNote = "note" // worth knowing, and no fault
	checkFail = "fail"
)

// A check is one step and how it went.
type check struct {
	Step   string `json:"step"`
	Status string `json:"status"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"` // what to type
}

// An examined is a thing that was looked at, step by step.
type examined struct {
	Name   string  `json:"name"`
	Pubkey string  `json:"pubkey,omitempty"`
	URL    string  `json:"url,omitempty"`
	Origin string  `json:"origin,omitempty"`
	Checks []check `json:"checks"`

	skew time.Duration // of its clock against ours; 0 when unknown
}

func (e *examined) ok(step, detail string) { e.add(checkOK, step, detail, "") }

func (e *examined) note(step, detail, hint string) { e.add(checkNote, step, detail, hint) }

func (e *examined) fail(step, detail, hint string) { e.add(checkFail, step, detail, hint) }

func (e *examined) add(status, step, detail, hint string) {
	e.Checks = append(e.Checks, check{step, status, cli.CleanLine(detail), hint})
}

func (e *examined) failed() bool {
	return slices.ContainsFunc(e.Checks, func(c check) bool { return c.Status == checkFail })
}

func (c *doctorCommand) Run(ctx context.Context, a *app) error {
	if c.Timeout < time.Second || c.Timeout > time.Minute {
		return cli.Usagef("--timeout %s: want 1s to 1m", c.Timeout)
	}
	peers, err := c.peers(ctx, a)
	if err != nil {
		return err
	}
	var list []*examined
	if c.Peer == "" {
		done := a.Progress("looking at this machine")
		list = append(list, c.home(ctx, a))
		done()
	}
	done := a.Progress("going the way to " + cli.Plural(len(peers), "peer"))
	examinedPeers := c.visit(ctx, a, peers)
	done()
	tellAnswers(examinedPeers, a.seenByRouter(ctx))
	list = append(list, examinedPeers...)
	if c.Peer == "" {
		judgeClock(list[0], examinedPeers)
	}
	if c.JSON {
		err = a.json(list)
	} else {
		a.printExamined(list)
	}
	if err == nil && slices.ContainsFunc(list, (*examined).failed) {
		err = cli.Exit(cli.Failure)
	}
	return err
}

// visitsAtOnce bounds how many peers are looked at together.
const visitsAtOnce = 16

// visit examines peers, some at a time.
func (c *doctorCommand) visit(ctx context.Context, a *app, peers []grid.Peer) []*examined {
	list := make([]*examined, len(peers))
	slots := make(chan struct{}, visitsAtOnce)
	var tasks sync.WaitGroup
	for i, p := range peers {
		tasks.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			list[i] = c.examine(ctx, a, p)
		})
	}
	tasks.Wait()
	return list
}

// peers are those that were meant: all, one that is known, or an address.
func (c *doctorCommand) peers(ctx context.Context, a *app) ([]grid.Peer, error) {
	all, err := a.knownPeers(ctx)
	if err != nil || c.Peer == "" {
		return all, err
	}
	match := func(ok func(grid.Peer) bool) []grid.Peer {
		return slices.DeleteFunc(slices.Clone(all), func(p grid.Peer) bool { return !ok(p) })
	}
	found := match(func(p grid.Peer) bool { return p.Label == c.Peer })
	if len(found) == 0 && len(c.Peer) > len("lob1") && strings.HasPrefix(c.Peer, "lob1") {
		found = match(func(p grid.Peer) bool { return strings.HasPrefix(p.ID.String(), c.Peer) })
	}
	address, notAddress := discover.ParseURL(c.Peer)
	if len(found) == 0 && notAddress == nil {
		found = match(func(p grid.Peer) bool { return sameHost(p.URL, address) })
	}
	_, notKey := key.ParseID(c.Peer)
	switch {
	case len(found) == 1:
		return found, nil
	case len(found) > 1:
		return nil, cli.Hintf(cli.Usagef("%d peers are called %q", len(found), c.Peer), "name the one you mean by its key; lobstah peers lists them")
	case notAddress != nil || notKey == nil || !strings.ContainsAny(c.Peer, ".:") && c.Peer != "localhost":
		return nil, cli.Hintf(cli.Usagef("%.200q is neither a peer nor an address", c.Peer), "lobstah peers lists the peers; an address looks like 192.168.1.5:17474")
	}
	return []grid.Peer{{URL: address}}, nil // whose key is still to be seen
}

// knownPeers are the user's and those that were learned.
func (a *app) knownPeers(ctx context.Context) ([]grid.Peer, error) {
	own, err := discover.Read(a.home.Peers)
	if err != nil {
		return nil, nil // which the look at this machine tells
	}
	learned, err := a.learned(ctx)
	if err != nil {
		return own, nil // so does this
	}
	var list []grid.Peer
	for _, p := range listed(own, learned, nil) {
		list = append(list, p.Peer)
	}
	return list, nil
}

// sameHost reports whether two URLs lead to one host and port.
func sameHost(a, b string) bool {
	one, err := url.Parse(a)
	two, err2 := url.Parse(b)
	return errors.Join(err, err2) == nil && one.Hostname() == two.Hostname() && one.Port() == two.Port()
}

func (a *app) printExamined(list []*examined) {
	style := a.Style(a.Out)
	mark := map[string]string{checkOK: style.Green("ok  "), checkNote: style.Yellow("note"), checkFail: style.Red("FAIL")}
	failed := 0
	for i, e := range list {
		if i > 0 {
			a.say("")
		}
		a.say("%s", style.Bold(cli.CleanLine(strings.Join(strings.Fields(e.Name+" "+e.URL), " "))))
		for _, c := range e.Checks {
			a.say("  %s  %-9s %s", mark[c.Status], c.Step, c.Detail)
			for line := range strings.Lines(c.Hint) {
				a.say("        %-9s %s", "", style.Cyan("-> "+strings.TrimSpace(line)))
			}
		}
		if e.failed() {
			failed++
		}
	}
	a.say("")
	switch {
	case failed > 0:
		a.say("%s in %s", style.Red("something fails"), cli.Plural(failed, "place"))
	default:
		a.say("%s", style.Green("nothing fails"))
	}
}

// tellAnswers adds what the router that runs here heard from peers with which
// all else is well, since a doctor makes no model work.
func tellAnswers(list []*examined, reports []peerReport) {
	for _, r := range reports {
		i := slices.IndexFunc(list, func(e *examined) bool { return e.Pubkey == r.ID.String() })
		switch {
		case i < 0 || list[i].failed() || r.State.LastError == "":
		case len(r.State.Failing) > 0:
			list[i].fail("answers", "the router here leaves out "+shortList(r.State.Failing)+" for now: "+r.State.LastError,
				"its owner sees why in the log of what runs there; it is tried again within half a minute")
		default:
			list[i].note("answers", "the router here heard last: "+r.State.LastError, "")
		}
	}
}

// clockTolerance is how far clocks may be apart before it is worth a word:
// signatures count for five minutes either way.
const clockTolerance = time.Minute

// judgeClock blames this machine's clock when most peers' differ alike.
func judgeClock(home *examined, peers []*examined) {
	var skews []time.Duration
	for _, e := range peers {
		if e.skew != 0 {
			skews = append(skews, e.skew)
		}
	}
	if len(skews) == 0 {
		return
	}
	slices.Sort(skews)
	middle := skews[len(skews)/2]
	switch {
	case len(skews) > 1 && middle.Abs() > clockTolerance:
		home.fail("clock", "most peers' clocks are "+cli.Duration(middle.Abs())+" "+aheadOrBehind(middle)+" this machine's", "set this machine's clock (timedatectl set-ntp true)")
	default:
		home.ok("clock", "agrees with that of "+cli.Plural(len(skews), "peer"))
	}
}

func aheadOrBehind(skew time.Duration) string {
	if skew > 0 {
		return "ahead of"
	}
	return "behind"
}
