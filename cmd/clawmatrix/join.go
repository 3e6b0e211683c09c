package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"lobstah/internal/cli"
	"lobstah/invitation"
	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/config"
	"lobstah/mesh/invite"
	"lobstah/mesh/link"
	"lobstah/mesh/trust"
)

type joinCommand struct {
	Invitation []string `arg:"" help:"What clawmatrix invite printed on the other machine."`
	Name       string   `placeholder:"NAME" help:"What this node is called in the mesh; by default the machine's name."`
	Listen     bool     `help:"Take links from other nodes, too."`
	Port       int      `default:"19000" placeholder:"N" help:"Port for it."`
	ProxyPort  int      `default:"19001" placeholder:"N" help:"Port of 127.0.0.1 on which programs of this machine find the models of the mesh."`
}

// Help is printed by --help.
func (joinCommand) Help() string {
	return `Makes this machine's key if there is none, finds the node that made the
invitation, and proves to it, and to nobody else, that it was invited. Both verify
each other and show the same six words. Where there is no configuration yet, one
is written; a node of the same mesh only verifies the other one.

Examples:
  clawmatrix join clawmatrix1…
  clawmatrix join clawmatrix1… --name home-01`
}

const joinTime = 40 * time.Second

func (c *joinCommand) Run(ctx context.Context, a *app) error {
	v, err := invitation.Parse(invitation.Clawmatrix, strings.Join(c.Invitation, " "))
	if err != nil {
		return cli.Hintf(cli.Usagef("this is no invitation that can be used: %v", err), "copy the whole line that clawmatrix invite printed")
	}
	if !time.Now().Before(v.Expires) {
		return cli.Hintf(fmt.Errorf("this invitation expired at %s", v.Expires.Format(time.RFC3339)), "ask for a new one: clawmatrix invite")
	}
	own, err := c.own(a)
	if err != nil {
		return err
	}
	if v.Guest && own != nil {
		return cli.Hintf(fmt.Errorf("this machine is a node already (%s), and the invitation is for a guest", a.home.Config), "be a guest in another folder: --home DIR")
	}
	id, err := a.identity(ctx)
	if err != nil {
		return err
	}
	if id.ID() == v.Inviter {
		return cli.Usagef("this invitation was made by this node, for another one")
	}
	w, url, err := c.join(ctx, a, v, id)
	if err != nil {
		return err
	}
	return c.settle(ctx, a, v, own, arrival{w, url, invitation.Words(v.Inviter, id.ID(), v.Secret)})
}

// own is the configuration that is there already, nil for none.
func (c *joinCommand) own(a *app) (*config.Config, error) {
	own, err := config.Read(a.home.Config)
	switch {
	case errors.Is(err, config.ErrNone):
		if c.Name == "" {
			c.Name = machineName()
		}
		return nil, nil
	case err != nil:
		return nil, err
	case c.Name != "" && c.Name != own.NodeID:
		return nil, cli.Usagef("this node is called %s by %s", own.NodeID, a.home.Config)
	}
	c.Name = own.NodeID
	return own, nil
}

// join shows the invitation to the node that made it.
func (c *joinCommand) join(ctx context.Context, a *app, v invitation.Invitation, id key.Identity) (invite.Welcome, string, error) {
	visit := mesh.Visit{Pair: id.Pair, Host: v.Inviter}
	for _, address := range v.Addresses {
		visit.URLs = append(visit.URLs, urlOf(address))
	}
	host, err := mesh.NewVisitor(visit)
	if err != nil {
		return invite.Welcome{}, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	done := a.Progress("joining")
	w, err := invite.Join(ctx, host, v, c.Name)
	done()
	if _, refused := errors.AsType[*invitation.Refusal](err); refused {
		err = cli.Hintf(fmt.Errorf("the other node refuses: %s", cli.CleanLine(err.Error())), "its owner sees why in its log, and makes another invitation: clawmatrix invite")
	} else if told, ok := errors.AsType[*net.OpError](err); ok && told.Op == "remote error" { // of TLS: that node said no
		err = cli.Hintf(fmt.Errorf("the node that made the invitation (%s) does not take this machine's key, %s", v.Inviter.Short(), id.ID()),
			"if its owner revoked that key: move %s away, and join with a new one", a.home.Identity)
	} else if err != nil {
		err = cli.Hintf(fmt.Errorf("cannot reach the node that made the invitation (%s)\n%w", v.Inviter.Short(), err),
			"it has to run (clawmatrix start), and no firewall may be between; its owner names another address with: clawmatrix invite --address HOST")
	}
	return w, host.URL(), errors.Join(err, host.Close())
}

// An arrival is what an invitation led to.
type arrival struct {
	invite.Welcome
	url   string
	words string
}

// urls are the inviter's addresses, the one that led to it first.
func (g *arrival) urls(v invitation.Invitation) []string {
	list := []string{g.url}
	for _, address := range v.Addresses {
		if url := urlOf(address); url != g.url {
			list = append(list, url)
		}
	}
	return list
}

func urlOf(address string) string { return "wss://" + address + link.Path }

// settle writes down where this machine belongs now.
func (c *joinCommand) settle(ctx context.Context, a *app, v invitation.Invitation, own *config.Config, got arrival) error {
	pin := trust.Pin{Name: got.Node, Key: v.Inviter, How: trust.ByInvitation, Since: time.Now().UTC().Truncate(time.Second)}
	switch {
	case v.Guest:
		if before, err := a.readGuest(); err == nil && c.ProxyPort == config.DefaultProxyPort {
			c.ProxyPort = before.ProxyPort // who comes again keeps the port
		}
		if err := a.writeGuest(ctx, stay{Node: got.Node, Host: v.Inviter, URLs: got.urls(v), Credential: got.Credential, Models: got.Models, Expires: got.Expires, ProxyPort: c.ProxyPort}); err != nil {
			return err
		}
	case own == nil:
		draft := config.Draft{
			Name: c.Name, Secret: got.Secrets[0], Listen: c.Listen, ListenPort: c.Port, ProxyPort: c.ProxyPort,
			Peers: []config.Peer{{NodeID: got.Node, URL: strings.TrimSuffix(got.url, link.Path), Key: v.Inviter.String()}},
		}
		if err := a.writeConfig(ctx, &draft, false); err != nil {
			return err
		}
	case slices.ContainsFunc(own.Secret, func(s string) bool { return slices.Contains(got.Secrets, s) }):
	case slices.ContainsFunc(own.Peers, func(p config.Peer) bool { return p.ID() == v.Inviter }):
		a.note("The mesh has another secret than %s since a revocation: this node gets it when it starts.", a.home.Config)
	default:
		return cli.Hintf(fmt.Errorf("this node is in another mesh: its secret in %s is not that of %s", a.home.Config, got.Node), "join with another folder: --home DIR")
	}
	if !v.Guest {
		if err := a.remember(ctx, pin); err != nil {
			return err
		}
	}
	a.say("joined  %s (%s) at %s", cli.CleanLine(got.Node), v.Inviter.Short(), got.url)
	a.say("words   %s", got.words)
	if v.Guest {
		a.say("guest   until %s", got.Expires.Local().Format(time.DateTime))
	}
	a.note("The other side shows the same six words (clawmatrix invite --list). If not: clawmatrix revoke %s there.", c.Name)
	a.note("Run the node: clawmatrix start")
	return nil
}

// remember pins a key, in the running node if there is one.
func (a *app) remember(ctx context.Context, pin trust.Pin) error {
	err := a.call(ctx, http.MethodPost, "/pin", pin, nil)
	if errors.Is(err, errNotRunning) {
		err = a.home.Edit(ctx, func() error { return trust.Add(stateFiles(a.home).pins, pin) })
	}
	return err
}
