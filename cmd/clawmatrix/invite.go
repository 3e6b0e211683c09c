package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"lobstah/internal/cli"
	"lobstah/internal/control"
	"lobstah/internal/ownaddress"
	"lobstah/internal/qrcode"
	"lobstah/invitation"
	"lobstah/mesh/config"
)

type inviteCommand struct {
	Guest   bool          `help:"Lend models of this node and nothing else: a guest is no member and never learns the secret."`
	Model   []string      `placeholder:"NAME" help:"The guest may use this model only; repeatable."`
	TTL     time.Duration `name:"ttl" default:"24h" placeholder:"TIME" help:"How long the invitation lasts, and a guest's stay; at most 720h."`
	Uses    int           `default:"1" placeholder:"N" help:"How many nodes may join by it."`
	Address []string      `placeholder:"HOST[:PORT]" help:"Where the others reach this node, instead of addresses in its configuration; repeatable."`
	List    bool          `xor:"what" help:"Print the invitations that were made, and who came."`
	Revoke  string        `xor:"what" placeholder:"ID" help:"End an invitation. Who joined by it stays; clawmatrix revoke ends that."`
	JSON    bool          `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (inviteCommand) Help() string {
	return `Prints one line to paste on another machine: clawmatrix join LINE. It carries this
node's key and addresses and a secret that counts once, so send it by a way that
others do not read; the mesh's own secret is not in it. When it is used both nodes
have verified each other, and both show the same six words.

Examples:
  clawmatrix invite
  clawmatrix invite --address cloud.example:443
  clawmatrix invite --guest --model qwen3:4b --ttl 2h
  clawmatrix invite --list`
}

// An inviteRequest asks the running node for an invitation.
type inviteRequest struct {
	invitation.Terms
	Addresses []string `json:"addresses,omitempty"`
}

// An invited is an invitation that was made.
type invited struct {
	ID        string    `json:"id"`
	Text      string    `json:"invitation"`
	Expires   time.Time `json:"expires"`
	Addresses []string  `json:"addresses"`
}

func (c *inviteCommand) Run(ctx context.Context, a *app) error {
	switch {
	case c.List:
		return c.list(a)
	case c.Revoke != "":
		return c.revoke(ctx, a)
	}
	terms, err := invitation.Terms{Guest: c.Guest, Models: c.Model, Uses: c.Uses}.Lasting(c.TTL, time.Now())
	if err != nil {
		return cli.Usagef("%v", err)
	}
	var made invited
	if err := a.call(ctx, http.MethodPost, "/invite", inviteRequest{terms, c.Address}, &made); err != nil {
		return err
	}
	if c.JSON {
		return a.json(made)
	}
	a.note("Type this on the other machine within %s. Whoever has the line can use it, so send it in private.", cli.Duration(c.TTL))
	a.note("")
	a.say("clawmatrix join %s", made.Text)
	if cli.Terminal(a.Out) {
		drawn, err := qrcode.Draw(strings.ToUpper(made.Text)) // capitals take less room, and are read as well
		if err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "\n%s", drawn)
	}
	a.note("")
	a.note("It leads to %s.", strings.Join(made.Addresses, ", "))
	a.note("clawmatrix invite --revoke %s takes it back; clawmatrix invite --list shows who came.", made.ID)
	return nil
}

// invite makes an invitation; its secret is in the answer and nowhere else.
func (n *node) invite(ctx context.Context, in inviteRequest) (out invited, err error) {
	if !n.config.Listen {
		return out, n.cannotInvite(in.Guest)
	}
	if in.Guest {
		if err := n.canLend(in.Models); err != nil {
			return out, err
		}
	}
	if out.Addresses, err = n.addresses(in.Addresses); err != nil {
		return out, err
	}
	v := invitation.Invitation{For: invitation.Clawmatrix, Inviter: n.id.ID(), Secret: invitation.NewSecret(), Expires: in.Expires, Guest: in.Guest, Addresses: out.Addresses}
	if err := v.Check(); err != nil {
		return out, err
	}
	err = n.home.Edit(ctx, func() error {
		_, err := invitation.Add(n.home.Invites, v.Secret, in.Terms, time.Now())
		return err
	})
	out.ID, out.Text, out.Expires = v.Secret.ID(), v.String(), v.Expires
	return out, err
}

// canLend refuses to promise guests models that this node does not lend.
func (n *node) canLend(names []string) error {
	var have []string
	for _, m := range n.models {
		have = append(have, m.ID)
	}
	for _, name := range names {
		if len(have) > 0 && !slices.Contains(have, name) {
			return &control.Error{Message: fmt.Sprintf("this node lends no model %.128q", name), Hint: "it lends " + strings.Join(have, ", ")}
		}
	}
	if len(have) == 0 {
		return &control.Error{
			Message: "this node lends no models, and a guest gets nothing else",
			Hint:    "name some under models in " + n.home.Config + " and start the node again, or invite at a node that lends them",
		}
	}
	return nil
}

// cannotInvite says on which machine the invitation can be made instead.
func (n *node) cannotInvite(guest bool) error {
	var hosts []string
	for _, d := range n.mesh.Dials() {
		if d.Up {
			hosts = append(hosts, n.nameOf(d.Reached))
		}
	}
	where, command, then := "on a node that listens", "clawmatrix invite", "; afterwards, to trust the new node here too: clawmatrix verify NODE"
	if len(hosts) > 0 {
		where = "on " + strings.Join(hosts, " or ") + ", which takes links"
	}
	if guest {
		command, then = "clawmatrix invite --guest", ", which lends its own models"
	}
	return &control.Error{
		Message: "this node takes no links, so nobody can come to it by an invitation",
		Hint:    fmt.Sprintf("type %s: %s%s\nor, if others reach this machine, set listen: true in %s and start the node again", where, command, then, n.home.Config),
	}
}

// addresses are where others reach the listener: those that were asked for, those
// of the configuration, or this machine's own.
func (n *node) addresses(asked []string) (list []string, err error) {
	if len(asked) == 0 {
		asked = n.config.Addresses
	}
	for _, address := range asked {
		full, err := config.HostPort(address, n.config.ListenPort)
		if err != nil {
			return nil, err
		}
		list = append(list, full)
	}
	if len(list) > 0 {
		return list[:min(len(list), invitation.MaxAddresses)], nil
	}
	hosts := ownaddress.List()
	if n.config.ListenHost != config.DefaultListenHost && n.config.ListenHost != "::" {
		hosts = []string{n.config.ListenHost}
	}
	for _, host := range hosts {
		list = append(list, hostPort(host, n.config.ListenPort))
	}
	if len(list) == 0 {
		return nil, &control.Error{Message: "this machine has no address that others reach", Hint: "name one: --address HOST, or addresses in " + n.home.Config}
	}
	return list, nil
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
	t := cli.Table{}
	t.Row("ID", "STATE", "CAME", "EXPIRES", "FOR")
	for _, r := range list {
		what := "a member"
		if r.Guest {
			what = strings.TrimSuffix("a guest: "+strings.Join(r.Models, ", "), ": ")
		}
		t.Row(r.ID, r.State, fmt.Sprintf("%d of %d", len(r.Joined), r.Uses), r.Expires.Local().Format(time.DateTime), what)
	}
	if err := t.Print(a.Out, ""); err != nil {
		return err
	}
	for _, r := range list {
		for _, g := range r.Joined {
			a.say("%s  %s (%s) came %s; words: %s", r.ID, cli.CleanLine(g.Label), g.ID.Short(), g.At.Local().Format(time.DateTime), g.Words)
		}
	}
	return nil
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
		return cli.Hintf(cli.Usagef("there is no invitation %.40q", c.Revoke), "clawmatrix invite --list prints them")
	}
	a.say("revoked invitation %s", r.ID)
	for _, g := range r.Joined {
		a.note("%s had joined by it and stays; clawmatrix revoke %s ends that too.", cli.CleanLine(g.Label), g.ID)
	}
	return nil
}
