package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"lobstah/internal/control"
	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/config"
	"lobstah/mesh/member"
)

// verified reports whether this node trusts a key with tools, hand-offs and
// sends: its key is pinned here, or the configuration trusts whoever has the
// secret. A revoked key never is.
func (n *node) verified(id key.ID) bool {
	return n.obeys(id) && !n.mesh.Revoked(id)
}

// obeys is verified without a look at revocations, which it decides about.
func (n *node) obeys(id key.ID) bool {
	return n.config.Trust == config.BySecret || id == n.id.ID() || n.state.pins(id)
}

// find gives the key of a node's name: its own, a pinned one, or, where the
// secret is trusted, that of the only node which bears it. A key's text form is
// found, too.
func (n *node) find(name string) (key.ID, error) {
	if name == n.config.NodeID {
		return n.id.ID(), nil
	}
	id, err := n.mesh.Resolve(name)
	if err == nil {
		return id, nil
	}
	bearers := n.bearers(name)
	switch {
	case len(bearers) == 0:
		return key.ID{}, &control.Error{Message: fmt.Sprintf("this mesh has no node %.80q", name), Hint: "clawmatrix peers lists the nodes"}
	case n.config.Trust == config.Verified:
		return key.ID{}, &control.Error{
			Message: fmt.Sprintf("%s is not verified here: any member may call itself so", name),
			Hint:    "compare its six words with its owner: clawmatrix verify " + name,
		}
	case len(bearers) > 1:
		return key.ID{}, &control.Error{Message: fmt.Sprintf("%d nodes call themselves %s", len(bearers), name), Hint: "name one by its key: clawmatrix peers --json shows them"}
	}
	return bearers[0].Key, nil
}

// bearers are the members of a name, those that are alive if any is.
func (n *node) bearers(name string) (list []member.Member) {
	var dead []member.Member
	for _, m := range n.mesh.Members() {
		switch {
		case m.Name != name || n.mesh.Revoked(m.Key):
		case m.Status == member.Dead:
			dead = append(dead, m)
		default:
			list = append(list, m)
		}
	}
	if len(list) == 0 {
		return dead[:min(len(dead), 1)]
	}
	return list
}

// nameOf is what this node calls a key: the name it is pinned to, else the one
// that it gives itself, else the beginning of the key.
func (n *node) nameOf(id key.ID) string {
	if id == n.id.ID() {
		return n.config.NodeID
	}
	if name, ok := n.state.nameOf(id); ok {
		return name
	}
	for _, m := range n.mesh.Members() {
		if m.Key == id {
			return m.Name
		}
	}
	return id.Short()
}

// A greeting is what a member tells those that ask whether it lives.
type greeting struct {
	Node    string `json:"node"`
	Key     key.ID `json:"key"`
	Caller  key.ID `json:"caller"`  // whom it takes the asker for
	Trusted bool   `json:"trusted"` // it trusts the asker with tools, hand-offs and sends
	Version string `json:"version"`
}

func (n *node) hello(w http.ResponseWriter, r *http.Request) {
	caller, err := mesh.Caller(r)
	control.Reply(w, greeting{n.config.NodeID, n.id.ID(), caller, n.verified(caller), version()}, err)
}

// greet asks a node whether it lives; at is its clock, zero when it does not say.
func (n *node) greet(ctx context.Context, id key.ID) (got greeting, at time.Time, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "mesh://"+id.String()+"/mesh/v1/hello", nil)
	if err != nil {
		return got, at, err
	}
	response, err := n.mesh.RoundTrip(r)
	if err != nil {
		return got, at, err
	}
	defer response.Body.Close()
	if at, err = http.ParseTime(response.Header.Get("Date")); err != nil {
		at = time.Time{} // a server need not say
	}
	err = json.NewDecoder(io.LimitReader(response.Body, maxGreeting)).Decode(&got)
	if err == nil && got.Key != id {
		err = fmt.Errorf("it says that it is %s", got.Key)
	}
	return got, at, err
}

const maxGreeting = 4 << 10
