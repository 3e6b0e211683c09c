package main

import (
	"cmp"
	"context"
	"errors"
	"net"
	"strings"
)

type workerCommand struct {
	Start workerStartCommand `cmd:"" help:"Serve this machine's models until it is stopped."`
}

type workerStartCommand struct {
	workerAddress   `embed:""`
	servingSettings `embed:""`
	engineSettings  `embed:""`
	processSettings `embed:""`
	Announce        announceSettings `embed:""`
	Nostr           nostrSettings    `embed:""`
	Mesh            meshSettings     `embed:""`
}

// Help is printed by --help.
func (workerStartCommand) Help() string {
	return `On this machine everybody may use it. Beyond, with --host, it serves the keys on
the allow list, who prove themselves with each request, and nobody else. Nobody
hears of it until it is told where to announce itself.

Examples:
  lobstah worker start --host 0.0.0.0
  lobstah worker start --host 192.168.1.5 --concurrency 4 --credit 1000000
  lobstah worker start --host 0.0.0.0 --announce-to https://tracker.example --announce-url http://198.51.100.7:17474
  lobstah worker start --mesh               lend through NAT, with no open port
  lobstah worker start --engine demo --port 0`
}

func (c *workerStartCommand) Run(ctx context.Context, a *app) (err error) {
	if err := cmp.Or(c.check(), c.Announce.check(c.Nostr, c.workerAddress)); err != nil {
		return err
	}
	p, ctx, err := a.openProcess(ctx, "lobstah worker start", c.processSettings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	found, err := p.startEngines(ctx, p.background, c.engineSettings)
	if err != nil {
		return interrupted(ctx, err)
	}
	b := &banner{process: p}
	if found.onlyDemo {
		b.engines(found)
	}
	if err := p.joinMesh(ctx, c.Mesh, workerTag); err != nil {
		return err
	}
	base, err := p.serveWorker(p.background, c.workerAddress, c.servingSettings, found)
	if err != nil {
		return err
	}
	c.sayServing(p, base, found)
	if err := p.announceWorker(c.Announce, c.Nostr, c.engineSettings); err != nil {
		return err
	}
	p.sayAnnouncing(c.Announce, c.workerAddress, c.Open)
	p.warnReach(c.Host, c.Open)
	p.sayMesh()
	p.sayHowToAdd(c.Host)
	p.say("")
	p.say("Ctrl-C stops.")
	return p.wait(ctx)
}

// sayServing tells of the worker. The first words of its lines are the
// original's, for scripts.
func (c *workerStartCommand) sayServing(p *process, base string, found *engines) {
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(base, "http://"))
	p.say("lobstah-worker listening on %s", net.JoinHostPort(c.Host, port))
	p.say("  identity: %s", p.home.Identity)
	p.say("  lobstah:  %s", p.id.ID())
	p.say("  engine:   %s", strings.Join(found.facts, "\n            "))
	p.say("  tier:     %s", c.Tier)
	p.say("  at once:  %d, and %d may wait", c.Concurrency, c.Queue)
}
