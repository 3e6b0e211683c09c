package main

import "context"

type idCommand struct{}

// Help is printed by --help.
func (idCommand) Help() string {
	return `Prints nothing but the key, for others to add or allow:

  on the machine that lends:   lobstah allow KEY
  on the machine that asks:    lobstah peers add KEY HOST:PORT`
}

func (idCommand) Run(ctx context.Context, a *app) error {
	id, _, err := a.identity(ctx)
	if err != nil {
		return err
	}
	a.say("%s", id.ID())
	return nil
}
