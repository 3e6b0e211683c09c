package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"lobstah/internal/secretfile"
	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/agent"
	"lobstah/mesh/agent/a2a"
	"lobstah/mesh/agent/command"
	"lobstah/mesh/agent/openclaw"
	"lobstah/mesh/config"
	"lobstah/mesh/member"
)

// openAgents makes the desk that takes tasks for this node's agents and the
// outbox that asks those of others, and mounts both. They work until ctx ends.
func (n *node) openAgents(ctx context.Context) (err error) {
	n.desk, err = agent.OpenDesk(agent.DeskConfig{
		Dir: filepath.Join(n.home.Dir, "tasks", "taken"), Seats: n.seats(), Who: n.handing, Caller: n.asking, Self: n.id.ID(), Log: n.log.With("part", "agents"),
	})
	if err != nil {
		return err
	}
	outbox, err := agent.OpenOutbox(agent.OutboxConfig{
		Dir: filepath.Join(n.home.Dir, "tasks", "asked"), Mesh: n.ways, Log: n.log.With("part", "agents"),
	})
	if err != nil {
		return err
	}
	n.exchange = &agent.Exchange{Outbox: outbox, Nodes: n.agentNodes, Hops: n.desk.Hops, May: n.mayAsk}
	n.onMesh.Handle(agent.Path, n.desk)
	n.mountTasks()
	for _, run := range []func(context.Context) error{n.desk.Run, outbox.Run} {
		n.tasks.Go(func() {
			if err := run(ctx); err != nil {
				n.log.Error("agents stopped", "err", err)
			}
		})
	}
	return nil
}

// seats are the agents of the configuration.
func (n *node) seats() (list []agent.Seat) {
	for _, a := range n.config.Agents {
		list = append(list, agent.Seat{
			ID: a.ID, Backend: n.backend(a), Accepts: func(c agent.Caller) error { return n.accepts(a, c) },
			AtOnce: a.AtOnce, Idle: time.Duration(a.Idle) * time.Second,
		})
	}
	return list
}

// agentProblems are the agents that cannot work as they are configured, which
// others would learn first: their program or its folder is not there.
func agentProblems(agents []config.Agent) (problems []string) {
	for _, a := range agents {
		if len(a.Command) == 0 {
			continue
		}
		program := a.Command[0]
		if filepath.Base(program) == program || filepath.IsAbs(program) { // others are found from its folder
			if _, err := exec.LookPath(program); err != nil {
				problems = append(problems, fmt.Sprintf("the agent %s cannot work: %v", a.ID, err))
			}
		}
		if info, err := os.Stat(a.Dir); a.Dir != "" && (err != nil || !info.IsDir()) {
			problems = append(problems, fmt.Sprintf("the agent %s cannot work: its dir %s is no folder", a.ID, a.Dir))
		}
	}
	return problems
}

func (n *node) backend(a config.Agent) agent.Backend {
	switch {
	case len(a.Command) > 0:
		return command.Command{Args: a.Command, Dir: a.Dir}
	case a.A2A != "":
		return a2a.Agent{URL: a.A2A}
	case a.OpenClaw != "":
		return openclaw.Agent{ID: a.OpenClaw, URL: n.config.Gateway.URL, Token: n.gatewayToken}
	}
	return openclaw.Agent{ID: a.ID, URL: n.config.Gateway.URL, Token: n.gatewayToken}
}

// gatewayToken reads the token of this machine's OpenClaw gateway.
func (n *node) gatewayToken() (string, error) {
	file := n.config.Gateway.TokenFile
	if file == "" {
		if token := n.Getenv("OPENCLAW_GATEWAY_TOKEN"); token != "" {
			return token, nil
		}
		return "", errors.New("set gateway.tokenFile in the node's configuration, or OPENCLAW_GATEWAY_TOKEN where the node is started")
	}
	return secretfile.Read(file)
}

// accepts says why an agent takes no task of a caller. Configurations of the
// original, which trust the secret and have no accept list, take all members'.
func (n *node) accepts(a config.Agent, c agent.Caller) error {
	listed := func(entry string) bool {
		return entry == "*" || entry == c.ID.String() || entry == c.Name && c.Name != ""
	}
	switch {
	case c.ID == n.id.ID():
		return nil
	case !c.Verified:
		return fmt.Errorf("the key of that node is not verified here: clawmatrix verify %s", c.ID)
	case slices.ContainsFunc(a.Accept, listed), len(a.Accept) == 0 && n.config.Trust == config.BySecret:
		return nil
	}
	return fmt.Errorf("its owner has not named that node: add it to the agent's accept list in the configuration of %s", n.config.NodeID)
}

// handing names the node behind a request, by the name that it has here.
func (n *node) handing(r *http.Request) (agent.Caller, error) {
	if r.Context().Value(selfKey{}) != nil {
		return agent.Caller{ID: n.id.ID(), Name: n.config.NodeID, Verified: true}, nil
	}
	id, err := mesh.Caller(r)
	return n.asking(id), err
}

// asking is who a node is. A name that is pinned to another key is not its own.
func (n *node) asking(id key.ID) agent.Caller {
	c := agent.Caller{ID: id, Name: n.nameOf(id), Verified: n.verified(id)}
	if other, pinned := n.state.pinned()[c.Name]; pinned && other != id {
		c.Name = ""
	}
	return c
}

// unreached orders nodes without a way behind those with one.
const unreached = time.Hour

// agentNodes are the members with what they say they offer.
func (n *node) agentNodes() []agent.Node {
	n.mu.Lock()
	own := n.offer
	n.mu.Unlock()
	list := []agent.Node{{ID: n.id.ID(), Name: n.config.NodeID, Verified: true, Self: true, Reached: true, Agents: offered(own)}}
	for _, m := range n.mesh.Members() {
		// A neighbour may be linked a moment before it states so itself.
		if m.Status == member.Dead && !m.Direct || n.mesh.Revoked(m.Key) {
			continue
		}
		node := agent.Node{ID: m.Key, Name: n.nameOf(m.Key), Verified: n.verified(m.Key), Reached: m.Hops > 0 || m.Direct, Distance: m.RTT, Agents: offered(m.Offer)}
		if !node.Reached {
			node.Distance = unreached
		}
		list = append(list, node)
	}
	return list
}

func offered(o member.Offer) (list []agent.Offered) {
	for _, a := range o.Agents {
		list = append(list, agent.Offered{ID: a.ID, Description: a.Description, Tags: a.Tags})
	}
	return list
}

// mayAsk says why nothing is handed to a node: it could be anybody's.
func (n *node) mayAsk(to agent.Node) error {
	if to.Self || n.verified(to.ID) {
		return nil
	}
	return fmt.Errorf("its key is not verified here, so it could be anybody's: compare its six words with its owner: clawmatrix verify %s", to.Name)
}
