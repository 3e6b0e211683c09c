package main

import (
	"context"

	"lobstah/key"
)

type idCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (idCommand) Help() string {
	return `Prints nothing but the key, for others to add or allow:

  on the machine that lends:   lobstah allow KEY
  on the machine that asks:    lobstah peers add KEY HOST:PORT`
}

func (c idCommand) Run(ctx context.Context, a *app) error {
	id, _, err := a.identity(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.json(map[string]key.ID{"pubkey": id.ID()})
	}
	a.say("%s", id.ID())
	return nil
}
