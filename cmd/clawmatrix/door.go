package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"lobstah/invitation"
	"lobstah/mesh"
	"lobstah/mesh/invite"
	"lobstah/mesh/trust"
)

// mountGuests mounts what nodes get that know no secret: the door for those who
// were invited, and models for those who were lent some.
func (n *node) mountGuests() {
	n.onGuests.Handle("POST "+invite.Path, invite.NewDoor(mesh.Caller, n.welcome, n.log.With("part", "door")))
	n.onGuests.Handle("/v1/", n.lent(n.onMesh))
}

// welcome lets in who shows the secret of an invitation: it is counted, and a
// member's key is pinned.
func (n *node) welcome(ctx context.Context, a invite.Applicant) (w invite.Welcome, err error) {
	if n.mesh.Revoked(a.ID) {
		return w, &invitation.Refusal{Code: "key_revoked", Message: "your key was revoked here: make another one (move identity.json away) and ask for another invitation"}
	}
	guest := invitation.Guest{ID: a.ID, Label: a.Node, Words: invitation.Words(n.id.ID(), a.ID, a.Secret)}
	var r invitation.Record
	var again bool
	err = n.home.Edit(ctx, func() error {
		list, err := invitation.Read(n.home.Invites)
		if err != nil {
			return err
		}
		// The name is looked at before the invitation is used up by it.
		if err := n.nameIsFree(list, a); err != nil {
			return err
		}
		r, again, err = invitation.Redeem(n.home.Invites, a.Secret, guest, time.Now())
		if err != nil || r.Guest {
			return err
		}
		return n.addPin(n.state.files.pins, trust.Pin{Name: a.Node, Key: a.ID, How: trust.ByInvitation, Since: time.Now().UTC().Truncate(time.Second)})
	})
	if err != nil {
		return w, err
	}
	n.log.Info("a node came by an invitation", "node", a.Node, "key", a.ID, "guest", r.Guest, "words", guest.Words)
	w = invite.Welcome{Node: n.config.NodeID, Again: again}
	if r.Guest {
		w.Models, w.Expires = r.Models, r.Expires
		w.Credential, err = invite.Credential{Guest: a.ID, Models: r.Models, Expires: r.Expires.Unix()}.Sign(n.id.Pair)
		return w, err
	}
	if w.Secrets, _, err = n.state.texts(); err != nil {
		return w, err
	}
	return w, n.reloadPins()
}

// nameIsFree refuses a name that another key has, but tells so only those who
// were invited.
func (n *node) nameIsFree(list []invitation.Record, a invite.Applicant) error {
	id := a.Secret.ID()
	for _, r := range list {
		if r.ID != id || r.Guest {
			continue
		}
		other, pinned := n.state.pinned()[a.Node]
		if a.Node == n.config.NodeID || pinned && other != a.ID && !n.mesh.Revoked(other) {
			return &invitation.Refusal{Code: "name_taken", Message: fmt.Sprintf("another node here is called %s: join with --name ANOTHER", a.Node)}
		}
	}
	return nil
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
