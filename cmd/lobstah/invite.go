package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"lobstah/grid"
	"lobstah/grid/discover"
	"lobstah/internal/cli"
	"lobstah/internal/control"
	"lobstah/internal/qrcode"
	"lobstah/invitation"
)

type inviteCommand struct {
	Label   string        `arg:"" optional:"" help:"A name for the machine that will join; by default its own."`
	Guest   bool          `help:"Lend models and nothing else: the guest is not asked in return, and has to leave when the invitation expires."`
	Model   []string      `placeholder:"NAME" help:"The guest may use this model only; repeatable."`
	TTL     time.Duration `name:"ttl" default:"24h" placeholder:"TIME" help:"How long the invitation lasts; at most 720h."`
	Uses    int           `default:"1" placeholder:"N" help:"How many machines may join by it."`
	Address []string      `placeholder:"HOST[:PORT]" help:"Where the others reach this machine, if its own addresses do not lead to it; repeatable."`
	List    bool          `xor:"what" help:"Print the invitations that were made, and who came."`
	Revoke  string        `xor:"what" placeholder:"ID" help:"End an invitation. Who joined by it stays; lobstah peers revoke ends that."`
	JSON    bool          `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (inviteCommand) Help() string {
	return `Prints one line to paste on another machine. It carries this machine's key and
addresses and a secret that counts once, so send it by a way that others do not
read. When it is used both machines know and allow each other, and both show the
same six words.

While the worker listens on this machine only, invite opens its port, by TLS and
to invited keys only, until the process stops.

Examples:
  lobstah invite "Ann's laptop"
  lobstah invite --guest --model qwen3:4b --ttl 2h
  lobstah invite --uses 5 --address lab.example:17474
  lobstah invite --list
  lobstah invite --revoke 1f0c9a7e23b4`
}

func (c *inviteCommand) Run(ctx context.Context, a *app) error {
	switch {
	case c.List:
		return c.list(a)
	case c.Revoke != "":
		return c.revoke(ctx, a)
	}
	in, err := c.request()
	if err != nil {
		return err
	}
	_, client, err := a.running()
	if errors.Is(err, errNothingRuns) {
		return cli.Hintf(errors.New("nothing runs here that could let the other machine in"), "start it first, in another terminal: lobstah up")
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var made madeInvitation
	if err := client.Call(ctx, http.MethodPost, "/invite", in, &made); err != nil {
		return err
	}
	if c.JSON {
		return a.json(made)
	}
	return c.print(a, made)
}

// An inviteRequest asks the running process for an invitation.
type inviteRequest struct {
	invitation.Terms
	Addresses []string `json:"addresses,omitempty"`
}

func (c *inviteCommand) request() (in inviteRequest, err error) {
	label, err := discover.ParseLabel(c.Label)
	switch {
	case err != nil:
		return in, cli.Usagef("%v", err)
	case len(c.Address) > invitation.MaxAddresses:
		return in, cli.Usagef("--address: at most %d fit an invitation", invitation.MaxAddresses)
	}
	in.Addresses = c.Address
	in.Terms, err = invitation.Terms{Label: label, Guest: c.Guest, Models: c.Model, Uses: c.Uses}.Lasting(c.TTL, time.Now())
	if err != nil {
		return in, cli.Usagef("%v", err)
	}
	return in, nil
}

// A madeInvitation is what the running process has made.
type madeInvitation struct {
	ID      string    `json:"id"`
	Text    string    `json:"invitation"`
	Expires time.Time `json:"expires"`
	reach
}

// invite makes an invitation; its secret is in the answer and nowhere else.
func (p *process) invite(ctx context.Context, in inviteRequest) (out madeInvitation, err error) {
	if err := p.lends(ctx, in.Models); err != nil {
		return out, err
	}
	if out.reach, err = p.reach(ctx, openRequest{in.Addresses, true}); err != nil {
		return out, err
	}
	v := invitation.Invitation{Inviter: p.id.ID(), Secret: invitation.NewSecret(), Expires: in.Expires, Guest: in.Guest, Addresses: out.Addresses}
	if err := v.Check(); err != nil {
		return out, err
	}
	err = p.home.Edit(ctx, func() error {
		_, err := invitation.Add(p.home.Invites, v.Secret, in.Terms, time.Now())
		return err
	})
	out.ID, out.Text, out.Expires = v.Secret.ID(), v.String(), v.Expires
	return out, err
}

// lends refuses to promise models that the worker does not serve.
func (p *process) lends(ctx context.Context, names []string) error {
	worker, _, _ := p.parts()
	if worker == nil || len(names) == 0 {
		return nil
	}
	var list struct{ Data []grid.Model }
	p.ask(ctx, worker, "/v1/models", &list)
	for _, name := range names {
		if slices.ContainsFunc(list.Data, func(m grid.Model) bool { return m.Serves(name) }) {
			continue
		}
		var have []string
		for _, m := range list.Data {
			have = append(have, m.ID)
		}
		return &control.Error{Message: fmt.Sprintf("--model %.256q: this machine serves no such model", name), Hint: "it serves " + strings.Join(have, ", ")}
	}
	return nil
}

func (c *inviteCommand) print(a *app, made madeInvitation) error {
	for _, opened := range made.Opened {
		a.note("Opened %s to invited keys, by TLS, until what runs here stops.", opened)
	}
	if len(made.Opened) > 0 {
		a.note("To keep it open: lobstah up --worker-host 0.0.0.0")
	}
	who := "the other machine"
	if c.Uses > 1 {
		who = fmt.Sprintf("up to %d machines", c.Uses)
	}
	a.note("Type this on %s within %s. Whoever has the line can use it, so send it in private.", who, cli.Duration(c.TTL))
	a.note("")
	a.say("lobstah join %s", made.Text)
	if cli.Terminal(a.Out) {
		// Capitals take less room, and are read as well.
		drawn, err := qrcode.Draw(strings.ToUpper(made.Text))
		if err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "\n%s", drawn)
	}
	a.note("")
	a.note("lobstah invite --revoke %s takes it back; lobstah invite --list shows who came.", made.ID)
	return nil
}

func (c *inviteCommand) list(a *app) error {
	list, err := invitation.List(a.home.Invites, time.Now())
	if err != nil {
		return err
	}
	if c.JSON {
		return a.json(list)
	}
	if len(list) == 0 {
		a.say("no invitations")
		return nil
	}
	table := cli.Table{}
	table.Row("ID", "STATE", "FOR", "CAME", "EXPIRES", "LENDS")
	for _, r := range list {
		table.Row(r.ID, r.State, r.Label, fmt.Sprintf("%d of %d", len(r.Joined), r.Uses), r.Expires.Local().Format(time.DateTime), lendsWhat(r.Guest, r.Models))
	}
	if err := table.Print(a.Out, ""); err != nil {
		return err
	}
	for _, r := range list {
		for _, g := range r.Joined {
			a.say("%s  %s (%s) came %s; words: %s", r.ID, cli.CleanLine(g.Label), g.ID.Short(), g.At.Local().Format(time.DateTime), g.Words)
		}
	}
	return nil
}

// lendsWhat says in a word what an invitation or a permission gives.
func lendsWhat(guest bool, models []string) string {
	switch {
	case !guest:
		return ""
	case len(models) == 0:
		return "guest"
	}
	return "guest: " + strings.Join(models, ", ")
}

func (c *inviteCommand) revoke(ctx context.Context, a *app) error {
	var r invitation.Record
	var found bool
	err := a.home.Edit(ctx, func() (err error) {
		r, found, err = invitation.Revoke(a.home.Invites, c.Revoke, time.Now())
		return err
	})
	if err != nil {
		return err
	}
	if !found {
		return cli.Hintf(cli.Usagef("there is no invitation %.40q", c.Revoke), "lobstah invite --list prints them")
	}
	a.say("revoked invitation %s", r.ID)
	for _, g := range r.Joined {
		a.note("%s had joined by it and stays; lobstah peers revoke %s ends that too.", cli.CleanLine(g.Label), g.ID)
	}
	return nil
}
