package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"lobstah/grid"
	"lobstah/grid/allow"
	"lobstah/grid/discover"
	"lobstah/grid/invite"
	"lobstah/internal/cli"
	"lobstah/invitation"
	"lobstah/key"
)

type joinCommand struct {
	Invitation []string `arg:"" help:"What lobstah invite printed on the other machine."`
	As         string   `placeholder:"NAME" help:"A name for the other machine; by default its own."`
	Label      string   `placeholder:"NAME" help:"What this machine calls itself there; by default its host name."`
	Lend       bool     `help:"Lend this machine's models in return: open the running worker's port to invited keys if nobody else reaches it."`
	Address    []string `placeholder:"HOST[:PORT]" help:"Where the other reaches this machine's worker, an IP address; repeatable."`
	Question   string   `default:"Say hello in one short sentence." placeholder:"TEXT" help:"What to ask the new peer first."`
	NoAsk      bool     `help:"Do not ask it anything."`
}

// Help is printed by --help.
func (joinCommand) Help() string {
	return `Makes this machine's key if there is none, finds the machine that made the
invitation, and proves to it, and to nobody else, that it was invited. From then
on this machine asks it, and each allows the other. Both show the same six words.
The last thing printed is the answer to a first question.

Where lobstah up runs here and others reach its worker, that is offered, too.

Examples:
  lobstah join lobstah1…
  lobstah join lobstah1… --as "Ann's workstation" --lend`
}

func (c *joinCommand) Run(ctx context.Context, a *app) error {
	v, err := invitation.Parse(invitation.Lobstah, strings.Join(c.Invitation, " "))
	if err != nil {
		return cli.Hintf(cli.Usagef("this is no invitation that can be used: %v", err), "copy the whole line that lobstah invite printed")
	}
	if !time.Now().Before(v.Expires) {
		return cli.Hintf(fmt.Errorf("this invitation expired at %s", v.Expires.Format(time.RFC3339)), "ask for a new one: lobstah invite")
	}
	id, _, err := a.identity(ctx)
	if err != nil {
		return err
	}
	if id.ID() == v.Inviter {
		return cli.Usagef("this invitation was made on this machine, for another one")
	}
	offer, err := c.offer(ctx, a)
	if err != nil {
		return err
	}
	done := a.Progress("joining")
	w, address, err := invite.Join(ctx, v, id.Pair, offer)
	done()
	if err != nil {
		return explainJoin(v, err)
	}
	peer, err := c.remember(ctx, a, v, w, address)
	if err != nil {
		return err
	}
	a.sayMember(peer, w, invitation.Words(v.Inviter, id.ID(), v.Secret))
	if c.NoAsk {
		return nil
	}
	return c.first(ctx, a, peer, w)
}

func explainJoin(v invitation.Invitation, err error) error {
	if _, refused := errors.AsType[*invitation.Refusal](err); refused {
		return cli.Hintf(fmt.Errorf("the other machine refuses: %s", cli.CleanLine(err.Error())), "ask its owner for a new one: lobstah invite")
	}
	return cli.Hintf(fmt.Errorf("cannot reach the machine that made the invitation (%s)\n%w", v.Inviter.Short(), err),
		"it has to run (lobstah up), and no firewall may be between; its owner names another address with: lobstah invite --address HOST")
}

// offer says where this machine lends, if it does.
func (c *joinCommand) offer(ctx context.Context, a *app) (o invite.Offer, err error) {
	if o.Label, err = discover.ParseLabel(c.Label); err != nil {
		return o, cli.Usagef("%v", err)
	}
	if o.Label == "" {
		o.Label = machineName()
	}
	h, client, err := a.running()
	asked := c.Lend || len(c.Address) > 0
	if errors.Is(err, errNothingRuns) || err == nil && h.Worker == "" {
		if asked {
			return o, cli.Hintf(errors.New("no worker runs here that could lend"), "start it first, in another terminal: lobstah up")
		}
		return o, nil
	}
	if err != nil {
		return o, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var r reach
	if err := client.Call(ctx, http.MethodPost, "/reach", openRequest{c.Address, c.Lend}, &r); err != nil {
		if !asked {
			return o, nil // it lends to nobody, and need not
		}
		return o, err
	}
	for _, opened := range r.Opened {
		a.note("Opened %s to invited keys, by TLS, until what runs here stops.", opened)
	}
	o.Addresses = r.Addresses
	return o, nil
}

// remember adds the inviter to this machine's lists.
func (c *joinCommand) remember(ctx context.Context, a *app, v invitation.Invitation, w invite.Welcome, address string) (grid.Peer, error) {
	label := w.Label
	if c.As != "" {
		label = c.As
	}
	label, err := discover.ParseLabel(cli.CleanLine(label))
	if err != nil {
		return grid.Peer{}, cli.Usagef("--as: %v", err)
	}
	if c.As == "" { // what the user says stands
		all, err := nameplates(a.home)
		if err != nil {
			return grid.Peer{}, err
		}
		label = distinctName(cmp.Or(knownAs(v.Inviter, all), label), v.Inviter, all)
	}
	peer := grid.Peer{ID: v.Inviter, URL: "https://" + address, Label: label}
	l, err := a.lists()
	if err != nil {
		return peer, err
	}
	if _, err := l.AddPeer(ctx, peer); err != nil || w.Guest {
		return peer, err
	}
	_, err = l.Allow(ctx, allow.Entry{ID: v.Inviter, Label: label, Since: time.Now().UTC().Truncate(time.Second)})
	return peer, err
}

func (a *app) sayMember(peer grid.Peer, w invite.Welcome, words string) {
	again := ""
	if w.Again {
		again = " (it knew this machine already)"
	}
	a.say("joined    %s (%s) at %s%s", peer.Name(), peer.ID.Short(), strings.TrimPrefix(peer.URL, "https://"), again)
	a.say("words     %s", words)
	switch {
	case w.Guest:
		what := "all its models"
		if len(w.Models) > 0 {
			what = cli.CleanLine(strings.Join(w.Models, ", "))
		}
		a.say("guest     until %s, of %s", w.Expires.Local().Format(time.DateTime), what)
	case w.Known:
		a.say("lends     to it, too")
	case w.Refused != "":
		a.warn("it does not ask this machine: %s", cli.CleanLine(w.Refused))
	}
	a.note("The other side shows the same six words. If not, take it back: lobstah peers revoke %s", peer.ID)
}

// A tryRequest asks the running process to ask one peer.
type tryRequest struct {
	Peer     key.ID   `json:"peer"`
	Models   []string `json:"models,omitempty"` // to choose from; none means all
	Question string   `json:"question"`
}

// firstPatience is how long the first answer may take: long enough to load a
// model of some size, and no longer than a person waits.
const firstPatience = 30 * time.Second

// first asks the new peer and prints what it says.
func (c *joinCommand) first(ctx context.Context, a *app, peer grid.Peer, w invite.Welcome) error {
	limited, cancel := context.WithTimeout(ctx, firstPatience)
	defer cancel()
	done := a.Progress("asking " + peer.Name())
	got, err := a.tryPeer(limited, tryRequest{peer.ID, w.Models, c.Question})
	done()
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return cli.Hintf(fmt.Errorf("this machine has joined, but %s did not answer the first question within %s", cli.CleanLine(peer.Name()), cli.Duration(firstPatience)),
			"its model may still be loading: lobstah ask tries again; lobstah doctor %s looks for what is wrong", peer.ID.Short())
	}
	if err != nil {
		return cli.Hintf(fmt.Errorf("this machine has joined, but the first question failed: %w", err), "lobstah ask tries again; lobstah status shows the peers")
	}
	a.note("asked     %s, %s: %s", cli.CleanLine(got.Model), cli.Duration(time.Duration(got.Seconds*float64(time.Second))), c.Question)
	a.say("%s", strings.TrimSpace(cli.Clean(got.Text)))
	return nil
}

// tryPeer lets the process that runs here ask, or becomes one for as long.
func (a *app) tryPeer(ctx context.Context, in tryRequest) (got *answer, err error) {
	_, client, err := a.running()
	if err == nil {
		got = new(answer)
		return got, client.Call(ctx, http.MethodPost, "/try", in, got)
	}
	if !errors.Is(err, errNothingRuns) {
		return nil, err
	}
	p, ctx, err := a.openProcess(ctx, "lobstah join", processSettings{LogLevel: "error"})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	return p.try(ctx, in)
}
