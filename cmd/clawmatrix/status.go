package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"lobstah/internal/cli"
)

type statusCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (statusCommand) Help() string {
	return `Exit code 0 when a node runs with this home folder, 1 when none does.
clawmatrix peers lists the other nodes.`
}

func (c *statusCommand) Run(ctx context.Context, a *app) error {
	var r report
	done := a.Progress("asking the node, and it its engines")
	err := a.get(ctx, "/status", &r)
	done()
	if errors.Is(err, errNotRunning) {
		if c.JSON {
			err = a.json(map[string]bool{"running": false})
		} else {
			a.say("no node runs with %s", a.home.Dir)
			a.note("%s", a.first("Start it with: clawmatrix start"))
			err = nil
		}
		return errors.Join(err, cli.Exit(cli.Failure))
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return a.json(struct {
			Running bool `json:"running"`
			report
		}{true, r})
	}
	return a.printStatus(r)
}

func (a *app) printStatus(r report) error {
	t := cli.Table{}
	t.Row("node", fmt.Sprintf("%s, process %d, for %s", r.Node, r.PID, cli.Duration(max(time.Since(r.Since).Truncate(time.Second), time.Second))))
	t.Row("key", r.Key.String())
	t.Row("version", r.Version)
	t.Row("config", r.Config)
	if g := r.Guest; g != nil {
		t.Row("lent", cmp.Or(strings.Join(g.Models, ", "), "all models")+", until "+g.Expires.Local().Format(time.DateTime))
	} else {
		t.Row("trust", r.Trust)
		t.Row("secret", r.Secret)
	}
	if r.Listen != "" {
		t.Row("listens", r.Listen)
	}
	t.Row("models", r.Proxy+"/v1")
	for _, p := range r.Problems {
		t.Row("PROBLEM", strings.TrimSpace(p))
	}
	return t.Print(a.Out, "")
}
