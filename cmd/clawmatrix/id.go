package main

import (
	"context"

	"lobstah/internal/cli"
	"lobstah/key"
	"lobstah/mesh/trust"
)

type idCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (idCommand) Help() string {
	return `The key is public. Read the six words to whoever verifies this node; they are
drawn from the key, so nobody else can have them.`
}

// A selfReport is what identifies a node.
type selfReport struct {
	Node  string `json:"node"`
	Key   key.ID `json:"key"`
	Words string `json:"words"`
}

func (c *idCommand) Run(ctx context.Context, a *app) error {
	name, err := a.ownName()
	if err != nil {
		return err
	}
	id, err := a.identity(ctx)
	if err != nil {
		return err
	}
	self := selfReport{name, id.ID(), trust.Words(id.ID())}
	if c.JSON {
		return a.json(self)
	}
	a.say("node   %s", self.Node)
	a.say("key    %s", self.Key)
	a.say("words  %s", self.Words)
	return nil
}

// ownName is what this machine's node is called. A guest has no name but what it
// is.
func (a *app) ownName() (string, error) {
	if !exists(a.home.Config) && exists(a.guestPath()) {
		s, err := a.readGuest()
		return "guest of " + cli.CleanLine(s.Node), err
	}
	conf, err := a.config()
	if err != nil {
		return "", err
	}
	return conf.NodeID, nil
}
