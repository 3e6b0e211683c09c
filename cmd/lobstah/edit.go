package main

import (
	"context"
	"net/http"
	"os"
	"time"

	"lobstah/grid"
	"lobstah/grid/allow"
	"lobstah/grid/discover"
	"lobstah/internal/control"
	"lobstah/internal/home"
	"lobstah/invitation"
	"lobstah/key"
)

// lists is what commands change: the peers, and who is allowed.
type lists interface {
	AddPeer(ctx context.Context, p grid.Peer) (change, error)
	RemovePeer(ctx context.Context, id key.ID) (change, error)
	Allow(ctx context.Context, e allow.Entry) (change, error)
	Disallow(ctx context.Context, id key.ID) (change, error)
}

// A change is what was done to a list.
type change struct {
	Replaced bool     `json:"replaced,omitempty"` // an entry was there before
	Removed  []string `json:"removed,omitempty"`  // names of what is gone
	Invites  []string `json:"invites,omitempty"`  // ids of invitations that ended with it
	Live     bool     `json:"live,omitempty"`     // a running process has taken it in
}

// lists returns those of the process that runs here, or the files when none
// does.
func (a *app) lists() (lists, error) {
	running, ok, err := a.home.Holder()
	if err != nil {
		return nil, err
	}
	if ok && running.Socket != "" {
		return remoteLists{control.Client{Path: running.Socket}}, nil
	}
	return fileLists{a.home}, nil
}

// sayLive says when a change counts at once.
func (a *app) sayLive(c change) {
	if c.Live {
		a.note("What runs here has taken it in.")
	}
}

// sayInvites tells which invitations ended with a key.
func (a *app) sayInvites(c change) {
	for _, id := range c.Invites {
		a.note("The invitation %s ended with it.", id)
	}
}

// fileLists changes the files, one command at a time.
type fileLists struct{ home home.Home }

func (l fileLists) AddPeer(ctx context.Context, p grid.Peer) (c change, err error) {
	err = l.home.Edit(ctx, func() error {
		c.Replaced, err = discover.Add(l.home.Peers, p)
		return err
	})
	return c, err
}

func (l fileLists) RemovePeer(ctx context.Context, id key.ID) (c change, err error) {
	err = l.home.Edit(ctx, func() error {
		p, found, err := discover.Remove(l.home.Peers, id)
		if found {
			c.Removed = append(c.Removed, p.Name())
		}
		return err
	})
	return c, err
}

func (l fileLists) Allow(ctx context.Context, e allow.Entry) (c change, err error) {
	err = l.home.Edit(ctx, func() error {
		c.Replaced, err = allow.Add(l.home.Allow, e)
		return err
	})
	return c, err
}

func (l fileLists) Disallow(ctx context.Context, id key.ID) (c change, err error) {
	err = l.home.Edit(ctx, func() error {
		removed, err := allow.Remove(l.home.Allow, func(e allow.Entry) bool { return e.ID == id })
		for _, e := range removed {
			c.Removed = append(c.Removed, e.Name())
		}
		if err != nil {
			return err
		}
		// Else it could come again by the same line.
		c.Invites, err = invitation.RevokeKey(l.home.Invites, id, time.Now())
		return err
	})
	return c, err
}

// remoteLists asks the running process to change its own.
type remoteLists struct{ client control.Client }

func (l remoteLists) AddPeer(ctx context.Context, p grid.Peer) (c change, err error) {
	err = l.client.Call(ctx, http.MethodPost, "/peers", p, &c)
	return c, err
}

func (l remoteLists) RemovePeer(ctx context.Context, id key.ID) (c change, err error) {
	err = l.client.Call(ctx, http.MethodDelete, "/peers", id, &c)
	return c, err
}

func (l remoteLists) Allow(ctx context.Context, e allow.Entry) (c change, err error) {
	err = l.client.Call(ctx, http.MethodPost, "/allow", e, &c)
	return c, err
}

func (l remoteLists) Disallow(ctx context.Context, id key.ID) (c change, err error) {
	err = l.client.Call(ctx, http.MethodDelete, "/allow", id, &c)
	return c, err
}

// holder describes this process.
func holder(what string) home.Holder {
	return home.Holder{PID: os.Getpid(), What: what, Since: time.Now().UTC().Truncate(time.Second)}
}
