package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"lobstah/internal/cli"
	"lobstah/internal/durable"
	"lobstah/internal/livefile"
	"lobstah/mesh/config"
	"lobstah/mesh/trust"
)

type initCommand struct {
	Name     string   `placeholder:"NAME" help:"What this node is called in the mesh; by default the machine's name."`
	Listen   bool     `help:"Take links from other nodes: for a machine that they reach."`
	Port     int      `default:"19000" placeholder:"N" help:"Port for it."`
	Address  []string `placeholder:"HOST[:PORT]" help:"Where others reach this node, for invitations; by default this machine's own addresses; repeatable."`
	Peer     []string `placeholder:"URL" help:"A node to dial, such as wss://cloud.example; repeatable."`
	Secret   string   `placeholder:"TEXT|-" help:"The secret of an existing mesh; - reads it from standard input. Without it 256 random bits are made."`
	PortOwn  int      `name:"proxy-port" default:"19001" placeholder:"N" help:"Port of 127.0.0.1 on which programs of this machine find the models of the mesh."`
	Existing bool     `name:"force" help:"Replace a configuration that is there; the old one is kept beside it."`
}

// Help is printed by --help.
func (initCommand) Help() string {
	return `Writes the configuration (0600; as JSON when --config names a file that ends in
.json) and the key of a new node. The second node is
better made with clawmatrix invite here and clawmatrix join there: then both know
each other's keys.

Examples:
  clawmatrix init --listen --name cloud-01 --address cloud.example
  clawmatrix init --peer wss://cloud.example --secret -`
}

func (c *initCommand) Run(ctx context.Context, a *app) error {
	draft := config.Draft{Name: c.Name, Listen: c.Listen, ListenPort: c.Port, Addresses: c.Address, ProxyPort: c.PortOwn}
	for _, url := range c.Peer {
		draft.Peers = append(draft.Peers, config.Peer{URL: url})
	}
	var err error
	if draft.Secret, err = c.secret(a); err != nil {
		return err
	}
	if err := a.writeConfig(ctx, &draft, c.Existing); err != nil {
		return err
	}
	id, err := a.identity(ctx)
	if err != nil {
		return err
	}
	a.say("wrote  %s", a.home.Config)
	a.say("node   %s", draft.Name)
	a.say("key    %s", id.ID())
	switch {
	case c.Listen:
		a.note("Run the node: clawmatrix start")
		a.note("Then let the next machine in: clawmatrix invite")
	case len(c.Peer) > 0:
		a.note("Run the node: clawmatrix start")
	default:
		a.note("It neither takes links nor dials anybody yet: where others reach this machine set listen: true there,")
		a.note("else name a node under peers. Then run it: clawmatrix start")
	}
	return nil
}

func (c *initCommand) secret(a *app) (string, error) {
	switch c.Secret {
	case "":
		return trust.NewSecret(), nil
	case "-":
		text, err := readLine(a.In)
		if err == nil && text == "" {
			err = cli.Usagef("standard input has no secret")
		}
		return text, err
	}
	return c.Secret, nil
}

// writeConfig writes the configuration of a new node.
func (a *app) writeConfig(ctx context.Context, d *config.Draft, replace bool) error {
	if d.Name == "" {
		d.Name = machineName()
	}
	text := d.Text()
	if filepath.Ext(a.home.Config) == ".json" {
		var err error
		if text, err = d.JSON(); err != nil {
			return fmt.Errorf("write the configuration: %w", err)
		}
	}
	if _, err := config.Parse(text); err != nil {
		if fault, ok := errors.AsType[*livefile.DamagedError](err); ok {
			err = fault.Err // nobody has seen its lines
		}
		return cli.Usagef("%v", err)
	}
	return a.home.Edit(ctx, func() error {
		if exists(a.home.Config) {
			if !replace {
				return cli.Hintf(fmt.Errorf("%s exists", a.home.Config), "it makes this machine a node already; --home DIR or --config FILE makes another one, --force replaces it")
			}
			if err := os.Rename(a.home.Config, a.home.Config+".old"); err != nil {
				return fmt.Errorf("keep the old configuration: %w", err)
			}
			a.note("kept the old configuration as %s.old", a.home.Config)
		}
		return durable.WriteFile(a.home.Config, text, 0o600)
	})
}

// machineName is what this machine calls itself to others.
func machineName() string {
	name, err := os.Hostname()
	if err != nil || name == "" || len(name) > 64 {
		return "node-1"
	}
	name, _, _ = strings.Cut(name, ".")
	return name
}

const maxLine = 4 << 10

// readLine reads the first line of a stream.
func readLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxLine)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	return strings.TrimSpace(line), nil
}
