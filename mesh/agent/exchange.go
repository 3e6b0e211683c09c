package agent

import (
	"context"
	"fmt"
)

// An Exchange is an outbox that finds the node for a target. All fields are
// needed.
type Exchange struct {
	*Outbox
	Nodes func() []Node    // the members of the mesh, this node too
	Hops  func() int       // of the tasks that run here; see Desk.Hops
	May   func(Node) error // says why nothing is handed to a node
}

// Ask hands a brief to the agent that a target means; see Find. The brief's
// agent is set here, and its hops are at least those of the tasks that run here:
// who asks may be working for another node.
func (x *Exchange) Ask(ctx context.Context, target string, b Brief) (Task, error) {
	m, err := Find(x.Nodes(), target)
	if err != nil {
		return Task{}, err
	}
	if err := x.May(m.Node); err != nil {
		return Task{}, fmt.Errorf("the agent %s is on the node %s: %w", m.Agent, Caller{ID: m.Node.ID, Name: m.Node.Name}, err)
	}
	b.Agent, b.Hops = m.Agent, max(b.Hops, x.Hops())
	return x.Outbox.Ask(ctx, m.Node.ID, m.Node.Name, b)
}

// Agents lists what can be asked: agent@node for each agent of each node.
func (x *Exchange) Agents() []Match {
	var list []Match
	for _, n := range x.Nodes() {
		for _, a := range n.Agents {
			list = append(list, Match{n, a.ID})
		}
	}
	return list
}
