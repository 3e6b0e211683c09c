package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"lobstah/internal/cli"
	"lobstah/internal/control"
	"lobstah/invitation"
	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/link"
	"lobstah/mesh/member"
	"lobstah/mesh/trust"
)

type revokeCommand struct {
	Node       string `arg:"" help:"The node's name, or its key."`
	Reason     string `placeholder:"TEXT" help:"Why, for the other nodes' logs."`
	KeepSecret bool   `help:"Let the secret of the mesh be. Who was revoked knows it and can come back with another key."`
	JSON       bool   `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (revokeCommand) Help() string {
	return `Ends the membership of a node's key, here and on all nodes that trust this one,
and gives the others a new secret, which the revoked node does not learn: it goes
to each of them inside a connection that has proven its key. Verified nodes that
are away get it when they come back.

The old secret in the configurations does not have to be changed: it is retired.`
}

// A revokeRequest asks the running node.
type revokeRequest struct {
	Node       string `json:"node"`
	Reason     string `json:"reason,omitempty"`
	KeepSecret bool   `json:"keepSecret,omitempty"`
}

// A revoked says what came of it.
type revoked struct {
	Node    string   `json:"node"`
	Key     key.ID   `json:"key"`
	Guest   bool     `json:"guest,omitempty"`
	Rotated bool     `json:"rotated"`
	Told    []string `json:"told"`    // nodes that have the new secret
	Away    []string `json:"away"`    // verified, and get it when they are back
	Without []string `json:"without"` // not verified: they do not get it
}

// revokeTime is for nodes that take long to answer.
const revokeTime = 2 * time.Minute

func (c *revokeCommand) Run(ctx context.Context, a *app) error {
	var done revoked
	progress := a.Progress("handing the others a new secret")
	err := a.callFor(ctx, revokeTime, http.MethodPost, "/revoke", revokeRequest{c.Node, c.Reason, c.KeepSecret}, &done)
	progress()
	if err != nil {
		return err
	}
	if c.JSON {
		return a.json(done)
	}
	a.say("revoked %s, %s", cli.CleanLine(done.Node), done.Key)
	switch {
	case done.Guest:
		a.note("It was a guest and never learned the secret.")
		return nil
	case !done.Rotated:
		a.note("It knows the secret still, and can come back with another key.")
		return nil
	}
	a.say("new secret: handed to %s", cli.Plural(len(done.Told), "node"))
	if len(done.Away) > 0 {
		a.say("when they are back: %s", cli.CleanLine(strings.Join(done.Away, ", ")))
	}
	if len(done.Without) > 0 {
		a.warn("not verified, so they do not get it and lose the mesh with their next link: %s", cli.CleanLine(strings.Join(done.Without, ", ")))
		a.note("clawmatrix verify NODE gives it to them.")
	}
	return nil
}

// revoke ends a key's membership.
func (n *node) revoke(ctx context.Context, in revokeRequest) (out revoked, err error) {
	if out.Key, out.Node, err = n.identify(in.Node); err != nil {
		return out, err
	}
	if err := n.onlyBearer(in.Node, out.Key); err != nil {
		return out, err
	}
	if guest, ok := n.guestNamed(out.Node); ok && guest == out.Key {
		in.KeepSecret, out.Guest = true, true // a guest never learned it
	}
	if pin, ok := n.state.pin(out.Key); ok && pin.How == trust.ByConfiguration {
		return out, &control.Error{Message: fmt.Sprintf("%s is pinned by its key in %s", out.Node, n.home.Config), Hint: "take it out of peers there, start the node again, then revoke it"}
	}
	if err := n.mesh.Revoke(out.Key, in.Reason); err != nil {
		return out, err
	}
	if err := n.keepRevocations(ctx); err != nil {
		return out, err
	}
	if err := n.editPins(ctx, func(path string) error { return trust.Remove(path, out.Key) }); err != nil {
		return out, err
	}
	err = n.home.Edit(ctx, func() error {
		_, err := invitation.RevokeKey(n.home.Invites, out.Key, time.Now())
		return err
	})
	if err != nil || in.KeepSecret {
		return out, err
	}
	return n.rotate(ctx, out)
}

// onlyBearer refuses a name that another node bears, too: whoever wants an impostor
// gone would end the membership of the node that it poses as, which lasts.
func (n *node) onlyBearer(name string, id key.ID) error {
	for _, m := range n.bearers(name) {
		if m.Key == id {
			continue
		}
		which := "the other"
		if n.state.pins(id) {
			which = "verified here"
		}
		return &control.Error{
			Message: fmt.Sprintf("more than one node calls itself %s: %s (%s) and %s", name, id, which, m.Key),
			Hint:    "name the one that is to go by its key; clawmatrix peers --json tells more of them",
		}
	}
	return nil
}

// renew puts a new secret in force that one node is not to learn.
func (n *node) renew(ctx context.Context, without key.ID) (r trust.Rotation, err error) {
	n.rotating.Lock()
	defer n.rotating.Unlock()
	current, retired, err := n.state.texts()
	if err != nil {
		return r, err
	}
	r, err = trust.Rotate(n.id.Pair, without, slices.Concat(current, retired), time.Now())
	if err != nil {
		return r, err
	}
	return r, n.adopt(ctx, r)
}

// rotate makes a new secret and hands it to those who stay. Meanwhile another one
// may come.
func (n *node) rotate(ctx context.Context, out revoked) (revoked, error) {
	r, err := n.renew(ctx, out.Key)
	if err != nil {
		return out, err
	}
	out.Rotated, out.Told, out.Away, out.Without = true, []string{}, []string{}, []string{}
	told := n.tellAll(ctx, r)
	for _, v := range n.peers() {
		switch {
		case v.Key.IsZero() || n.mesh.Revoked(v.Key):
		case told[v.Key]:
			out.Told = append(out.Told, v.Name)
		case n.verified(v.Key):
			out.Away = append(out.Away, v.Name)
		default:
			out.Without = append(out.Without, v.Name)
		}
	}
	return out, nil
}

// adopt keeps a new secret and puts it in force; n.rotating is held.
func (n *node) adopt(ctx context.Context, r trust.Rotation) error {
	err := n.home.Edit(ctx, func() error {
		_, err := trust.AddRotation(n.state.files.rotations, r)
		return err
	})
	if err != nil {
		return err
	}
	current, retired, err := n.state.secrets()
	if err != nil {
		return err
	}
	n.log.Info("the mesh has a new secret", "by", n.nameOf(r.By), "without", r.Without)
	return n.mesh.SetSecrets(current, retired)
}

// secretPath is where nodes hand each other a new secret.
const secretPath = "/mesh/v1/secret"

// maxSkew is how far ahead the clock of another node may be.
const maxSkew = 10 * time.Minute

// takeSecret takes a new secret from another node.
func (n *node) takeSecret(w http.ResponseWriter, req *http.Request) {
	caller, err := mesh.Caller(req)
	var r trust.Rotation
	if err == nil {
		err = control.Read(req, &r)
	}
	if err == nil {
		err = n.considerSecret(req.Context(), caller, r)
	}
	control.Reply(w, none{}, err)
}

func (n *node) considerSecret(ctx context.Context, caller key.ID, r trust.Rotation) error {
	switch {
	case !n.verified(caller):
		return &control.Error{Status: http.StatusForbidden, Message: "a new secret is taken from verified nodes only", Hint: "verify the sender there: clawmatrix verify " + n.nameOf(caller)}
	case !n.verified(r.By):
		return &control.Error{Status: http.StatusForbidden, Message: "the new secret was made by a node that is not verified here: " + r.By.String()}
	case r.Without == n.id.ID():
		return &control.Error{Status: http.StatusForbidden, Message: "this node was revoked"}
	case time.UnixMilli(r.AtMS).After(time.Now().Add(maxSkew)):
		return &control.Error{Message: "the new secret comes from the future: compare the clocks"}
	}
	if err := r.Check(); err != nil {
		return err
	}
	n.rotating.Lock()
	defer n.rotating.Unlock()
	rotations, err := trust.ReadRotations(n.state.files.rotations)
	if err != nil || slices.ContainsFunc(rotations, func(k trust.Rotation) bool { return k.Secret == r.Secret }) {
		return err
	}
	if err := n.adopt(ctx, r); err != nil {
		return err
	}
	n.wake() // to hand it on
	return nil
}

// Telling others of a new secret: so many at a time, each for so long. Drawing
// its key takes a node a moment.
const (
	tellAtOnce = 16
	tellTime   = 20 * time.Second
)

// tellAll hands a new secret to the trusted nodes that are there, and returns
// those that have it.
func (n *node) tellAll(ctx context.Context, r trust.Rotation) map[key.ID]bool {
	var mu sync.Mutex
	told := map[key.ID]bool{}
	var telling sync.WaitGroup
	places := make(chan struct{}, tellAtOnce)
	for _, m := range n.mesh.Members() {
		if m.Status == member.Dead || m.Key == r.Without || !n.verified(m.Key) {
			continue
		}
		places <- struct{}{}
		telling.Go(func() {
			defer func() { <-places }()
			if err := n.tell(ctx, m.Key, r); err != nil {
				n.log.Warn("a node did not take the new secret yet", "node", m.Name, "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			told[m.Key] = true
		})
	}
	telling.Wait()
	return told
}

func (n *node) tell(ctx context.Context, to key.ID, r trust.Rotation) error {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	return n.ask(ctx, to, http.MethodPost, secretPath, r, nil)
}

// secretsDrawn says how many secrets are in force and how many are retired.
func (n *node) secretsDrawn() string {
	current, retired, err := n.state.texts()
	switch {
	case err != nil:
		return err.Error()
	case len(retired) == 0:
		return cli.Plural(len(current), "secret") + " of the configuration"
	}
	return fmt.Sprintf("the one that followed a revocation; %d before it (at most %d) count for verified nodes only", len(retired), link.MaxSecrets-1)
}
