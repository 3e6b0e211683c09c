package tool

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"lobstah/key"
)

// A Node is a node as the tools of this machine see it.
type Node struct {
	Key      key.ID
	Name     string
	Verified bool
	Tools    []string // that it says it offers; a claim
	RTT      time.Duration
}

// A Directory knows the nodes of the mesh. Find takes a key in its text form or a
// name; only a name that is pinned to a key, or that the owner's configuration
// trusts otherwise, finds one; its errors may have a method Advice. Tagged lists the living nodes that bear a tag, this
// one left out.
type Directory interface {
	Find(name string) (Node, error)
	Tagged(tag string) []Node
}

// Resolve finds the node that a target means: a key, a name, or tags:TAG, which is
// the nearest verified node that bears the tag and offers the tool; an empty tool is any.
func Resolve(d Directory, target, tool string) (Node, error) {
	tag, tagged := strings.CutPrefix(target, "tags:")
	if !tagged {
		n, err := d.Find(target)
		if err != nil {
			return Node{}, refuse(CodeNode, advice(err), "%s", err)
		}
		return n, nil
	}
	all := d.Tagged(tag)
	fit := slices.DeleteFunc(slices.Clone(all), func(n Node) bool {
		return !n.Verified || tool != "" && n.Tools != nil && !covers(n.Tools, tool)
	})
	if len(fit) == 0 {
		return Node{}, noneTagged(tag, tool, all)
	}
	return slices.MinFunc(fit, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.RTT, b.RTT), cmp.Compare(a.Name, b.Name), slices.Compare(a.Key[:], b.Key[:]))
	}), nil
}

// advice is what an error of a directory says that can be done.
func advice(err error) string {
	type adviser interface {
		error
		Advice() string
	}
	if e, ok := errors.AsType[adviser](err); ok && e.Advice() != "" {
		return e.Advice()
	}
	return "clawmatrix peers lists the nodes"
}

func noneTagged(tag, tool string, all []Node) error {
	unverified := slices.IndexFunc(all, func(n Node) bool { return !n.Verified })
	switch {
	case len(all) == 0:
		return refuse(CodeNode, "clawmatrix peers lists the nodes and their tags", "no node with the tag %q is reachable", tag)
	case unverified >= 0:
		return refuse(CodeNode, "clawmatrix verify "+all[unverified].Name, "no verified node with the tag %q offers %s; %s bears it and is not verified", tag, tool, all[unverified].Name)
	}
	return refuse(CodeNode, "", "no node with the tag %q says that it offers %s", tag, tool)
}
