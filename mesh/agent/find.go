package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"lobstah/key"
)

// A Node is a member of the mesh as far as choosing one needs it.
type Node struct {
	ID       key.ID
	Name     string
	Verified bool
	Self     bool
	Distance time.Duration // round-trip time; large for one that cannot be reached
	Reached  bool
	Agents   []Offered
}

// An Offered is an agent that a node says it has.
type Offered struct {
	ID          string
	Description string
	Tags        []string
}

// A Match is an agent on a node.
type Match struct {
	Node  Node
	Agent string
}

// Find chooses the agent for a target: an agent's identifier, agent@node, or
// tags:TAG. Verified nodes come before others, reached before unreached, near
// before far. When others match too, only one is asked: a task never wanders
// to another machine by itself.
func Find(nodes []Node, target string) (Match, error) {
	matches, err := matching(nodes, target)
	if err != nil {
		return Match{}, err
	}
	if len(matches) == 0 {
		return Match{}, fmt.Errorf("no node of the mesh offers %s; clawmatrix peers lists the agents", target)
	}
	return slices.MinFunc(matches, func(a, b Match) int {
		return cmp.Or(
			first(a.Node.Self, b.Node.Self), first(a.Node.Verified, b.Node.Verified), first(a.Node.Reached, b.Node.Reached),
			cmp.Compare(a.Node.Distance, b.Node.Distance), strings.Compare(a.Node.Name, b.Node.Name),
		)
	}), nil
}

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func matching(nodes []Node, target string) (list []Match, err error) {
	tag, byTag := strings.CutPrefix(target, "tags:")
	id, at, pinned := strings.Cut(target, "@")
	if target == "" || byTag && tag == "" || pinned && (id == "" || at == "") {
		return nil, fmt.Errorf("target %.80q: want an agent's identifier, agent@node or tags:TAG", target)
	}
	for _, n := range nodes {
		if pinned && !byTag && n.Name != at && n.ID.String() != at {
			continue
		}
		for _, a := range n.Agents {
			if byTag && slices.Contains(a.Tags, tag) || !byTag && a.ID == id {
				list = append(list, Match{n, a.ID})
			}
		}
	}
	return list, nil
}
