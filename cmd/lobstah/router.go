package main

import (
	"context"
	"errors"
	"net"
	"strings"
)

type routerCommand struct {
	Start routerStartCommand `cmd:"" help:"Answer OpenAI's API from the peers until it is stopped."`
}

type routerStartCommand struct {
	routerAddress   `embed:""`
	askingSettings  `embed:""`
	processSettings `embed:""`
	Discovery       discoverySettings `embed:""`
	Nostr           nostrSettings     `embed:""`
	Mesh            meshSettings      `embed:""`
}

// Help is printed by --help.
func (routerStartCommand) Help() string {
	return `The peers are those of lobstah peers; changes count at once.

Examples:
  lobstah router start
  lobstah router start --port 8000
  lobstah router start --discover-from https://tracker.example --discover-from nostr
  lobstah router start --host 0.0.0.0 --api-key "$(openssl rand -hex 16)" --allow-host box.local`
}

func (c *routerStartCommand) Run(ctx context.Context, a *app) (err error) {
	if err := c.Discovery.check(c.Nostr); err != nil {
		return err
	}
	p, ctx, err := a.openProcess(ctx, "lobstah router start", c.processSettings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	p.keys = c.APIKey
	if err := p.learn(ctx, c.Discovery, c.Nostr, c.BlockPrivate); err != nil {
		return err
	}
	if err := p.joinMesh(ctx, c.Mesh); err != nil {
		return err
	}
	address, err := p.serveRouter(c.routerAddress, c.askingSettings, "")
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(address, "http://"))
	// The first words of these lines are the original's, for scripts.
	p.say("lobstah-router listening on %s", net.JoinHostPort(c.Host, port))
	p.say("  identity: %s", p.home.Identity)
	p.say("  pubkey:   %s", p.id.ID())
	p.say("  API:      %s/v1", address)
	(&banner{process: p}).openRouter(c.Host, address)
	if len(c.Discovery.From) > 0 {
		p.say("  discovers: peers from %s, again and again", strings.Join(c.Discovery.From, ", "))
	}
	if len(p.peers.Peers()) == 0 && len(c.Discovery.From) == 0 && !c.Mesh.Mesh {
		p.note("There are no peers yet. Join another machine by the line that lobstah invite prints there, or")
		p.note("add one with: lobstah peers add PUBKEY HOST:PORT [LABEL]")
	}
	p.say("Ctrl-C stops.")
	return p.wait(ctx)
}
