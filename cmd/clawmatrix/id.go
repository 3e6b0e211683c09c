package main

import (
	"context"

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
	conf, err := a.config()
	if err != nil {
		return err
	}
	id, err := a.identity(ctx)
	if err != nil {
		return err
	}
	self := selfReport{conf.NodeID, id.ID(), trust.Words(id.ID())}
	if c.JSON {
		return a.json(self)
	}
	a.say("node   %s", self.Node)
	a.say("key    %s", self.Key)
	a.say("words  %s", self.Words)
	return nil
}
