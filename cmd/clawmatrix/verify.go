package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"lobstah/internal/cli"
	"lobstah/internal/control"
	"lobstah/invitation"
	"lobstah/key"
	"lobstah/mesh/trust"
)

type verifyCommand struct {
	Node   string `arg:"" help:"The node's name, or its key."`
	Words  string `placeholder:"WORDS" help:"The six words that its owner read, for use without a terminal."`
	Forget bool   `help:"Take back what was verified."`
}

// Help is printed by --help.
func (verifyCommand) Help() string {
	return `Prints the six words of the other node's key. Call its owner, who runs
clawmatrix id there and reads them. If they are the same, its key is pinned: the
node may use what this one's rules give it, under this name and no other.

The other side verifies this node in the same way.

Examples:
  clawmatrix verify office-01
  clawmatrix verify office-01 --words "gallery compost silk spring laptop bobcat"`
}

func (c *verifyCommand) Run(ctx context.Context, a *app) error {
	var who selfReport
	if err := a.call(ctx, http.MethodPost, "/who", nodeName{c.Node}, &who); err != nil {
		return err
	}
	if c.Forget {
		return c.forget(ctx, a, who)
	}
	if err := c.compare(a, who); err != nil {
		return err
	}
	pin := trust.Pin{Name: who.Node, Key: who.Key, How: trust.ByWords, Since: time.Now().UTC().Truncate(time.Second)}
	if err := a.call(ctx, http.MethodPost, "/pin", pin, nil); err != nil {
		return err
	}
	a.say("verified %s, %s", cli.CleanLine(who.Node), who.Key)
	return nil
}

func (c *verifyCommand) forget(ctx context.Context, a *app, who selfReport) error {
	if err := a.call(ctx, http.MethodPost, "/unpin", who, nil); err != nil {
		return err
	}
	a.say("%s is not verified any more", cli.CleanLine(who.Node))
	return nil
}

// compare lets a person say that both read the same words.
func (c *verifyCommand) compare(a *app, who selfReport) error {
	if c.Words != "" {
		if !trust.SameWords(c.Words, who.Words) {
			return cli.Hintf(fmt.Errorf("these are not the words of the node that calls itself %s here", who.Node),
				"ask its owner again (clawmatrix id); if they differ still, somebody else bears its name: clawmatrix revoke %s", who.Key)
		}
		return nil
	}
	a.say("%s is %s", cli.CleanLine(who.Node), who.Key)
	a.say("its words   %s", who.Words)
	if !cli.Terminal(a.In) {
		return cli.Hintf(cli.Usagef("nobody can be asked whether the words are the same"), "give those that its owner read: --words \"...\"")
	}
	fmt.Fprintf(a.Err, "Does its owner read the same six words (clawmatrix id)? yes/no: ")
	line, err := readLine(a.In)
	if err == nil && line != "yes" {
		err = errors.New("not verified")
	}
	return err
}

// A nodeName names a node in a call.
type nodeName struct {
	Node string `json:"node"`
}

// who finds a node by its name or key, verified or not.
func (n *node) who(_ context.Context, in nodeName) (selfReport, error) {
	id, name, err := n.identify(in.Node)
	if err != nil {
		return selfReport{}, err
	}
	return selfReport{name, id, trust.Words(id)}, nil
}

// identify finds a node that the owner names. In contrast to find it may be one
// that is not verified, since the owner is about to decide about it.
func (n *node) identify(text string) (key.ID, string, error) {
	id, err := key.ParseID(text)
	switch {
	case text == n.config.NodeID || id == n.id.ID():
		return key.ID{}, "", &control.Error{Message: fmt.Sprintf("%s is this node itself", n.config.NodeID), Hint: "clawmatrix peers lists the others; clawmatrix stop leaves the mesh"}
	case err == nil:
		return id, n.nameOf(id), nil
	}
	bearers := n.bearers(text)
	if id, ok := n.state.pinned()[text]; ok && (len(bearers) == 0 || !n.mesh.Revoked(id)) {
		return id, text, nil // a revoked one only as long as no other has its name
	}
	switch {
	case len(bearers) == 0:
		if id, ok := n.guestNamed(text); ok {
			return id, text, nil
		}
		return key.ID{}, "", &control.Error{Message: fmt.Sprintf("this mesh has no node %.80q", text), Hint: "clawmatrix peers lists the nodes"}
	case len(bearers) > 1:
		return key.ID{}, "", &control.Error{Message: fmt.Sprintf("%d nodes call themselves %s", len(bearers), text), Hint: "name one by its key: clawmatrix peers --json shows them"}
	}
	return bearers[0].Key, bearers[0].Name, nil
}

// guestNamed finds a guest by the name that it gave itself, the newest first.
func (n *node) guestNamed(name string) (id key.ID, found bool) {
	list, err := invitation.Read(n.home.Invites)
	if err != nil {
		return id, false // the invitations say so themselves
	}
	for _, r := range list {
		for _, g := range r.Joined {
			if r.Guest && g.Label == name {
				id, found = g.ID, true
			}
		}
	}
	return id, found
}

// pin remembers that a key was verified.
func (n *node) pin(ctx context.Context, pin trust.Pin) (none, error) {
	if n.mesh.Revoked(pin.Key) {
		return none{}, &control.Error{Message: fmt.Sprintf("the key of %s was revoked, which lasts 30 days", pin.Name), Hint: "give that machine a key of its own anew: move its identity.json away"}
	}
	err := n.editPins(ctx, func(path string) error { return n.addPin(path, pin) })
	if errors.Is(err, trust.ErrOtherKey) {
		err = &control.Error{Message: err.Error(), Hint: "if that node has a new key: clawmatrix verify --forget " + pin.Name + ", then verify it again"}
	}
	return none{}, err
}

// addPin adds a pin to the file. A revoked key does not keep its name from the new
// one that its machine has.
func (n *node) addPin(path string, pin trust.Pin) error {
	if old, ok := n.state.pinned()[pin.Name]; ok && old != pin.Key && n.mesh.Revoked(old) {
		if err := trust.Remove(path, old); err != nil {
			return err
		}
	}
	return trust.Add(path, pin)
}

func (n *node) unpin(ctx context.Context, who selfReport) (none, error) {
	if pin, ok := n.state.pin(who.Key); ok && pin.How == trust.ByConfiguration {
		return none{}, &control.Error{Message: fmt.Sprintf("%s is pinned by its key in %s", who.Node, n.home.Config), Hint: "take it out there and start the node again"}
	}
	err := n.editPins(ctx, func(path string) error { return trust.Remove(path, who.Key) })
	if err == nil && !n.verified(who.Key) {
		n.drop(who.Key, "the node is not verified any more")
	}
	return none{}, err
}

// editPins changes the file of pins and puts it in force.
func (n *node) editPins(ctx context.Context, edit func(path string) error) error {
	err := n.home.Edit(ctx, func() error { return edit(n.state.files.pins) })
	return cmp.Or(err, n.reloadPins())
}

// reloadPins puts the file of pins in force.
func (n *node) reloadPins() error {
	if err := n.state.reload(); err != nil {
		return err
	}
	n.mesh.SetPins(n.state.pinned())
	return nil
}
