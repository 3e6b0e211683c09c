package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"lobstah/internal/control"
	"lobstah/key"
	"lobstah/mesh/member"
	"lobstah/mesh/trust"
)

// tellAgain is how often nodes are told a new secret that did not take it.
const tellAgain = time.Minute

// heard is told what happens to members, by the mesh while it is busy.
func (n *node) heard(e member.Event) {
	switch e.Change {
	case member.Joined:
		n.wake()
		select {
		case n.joined <- struct{}{}:
		default: // keepHouse will look
		}
	case member.Revoked:
		n.banned.add(e.Key)
	}
}

// wake lets handOn look around.
func (n *node) wake() {
	select {
	case n.woken <- struct{}{}:
	default: // it will
	}
}

// A notice is a set of keys that somebody has to look at. Adding never waits, and
// nothing is lost however long nobody looks. There are as many as the mesh revokes.
type notice struct {
	some chan struct{} // holds a token when there is something to look at

	mu   sync.Mutex
	keys map[key.ID]bool // guarded by mu
}

func newNotice() *notice { return &notice{some: make(chan struct{}, 1), keys: map[key.ID]bool{}} }

func (o *notice) add(id key.ID) {
	o.mu.Lock()
	o.keys[id] = true
	o.mu.Unlock()
	select {
	case o.some <- struct{}{}:
	default: // it will be taken with those before
	}
}

func (o *notice) take() map[key.ID]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	keys := o.keys
	o.keys = map[key.ID]bool{}
	return keys
}

// keepHouse ends what revoked nodes have here, writes the revocations down, and lets
// tasks try again that wait for nodes which come, until ctx ends.
func (n *node) keepHouse(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.joined:
			n.exchange.Retry()
			continue
		case <-n.banned.some:
		}
		for id := range n.banned.take() {
			n.drop(id, "the node was revoked")
		}
		if err := n.keepRevocations(ctx); err != nil {
			n.log.Error("cannot keep a revocation: it will be asked of the others after a restart", "err", err)
		}
	}
}

// drop ends what runs here for a node, and what this one asked of it.
func (n *node) drop(id key.ID, why string) {
	n.tools.Drop(id)
	n.desk.Drop(id, why)
	n.exchange.Drop(id, why)
}

// told is what a process of another node was told last.
type told struct {
	rotation string
	epoch    uint64 // of the process
}

// handOn hands new secrets on, until ctx ends. Nodes may be slow to take them, so
// nothing else waits for it.
func (n *node) handOn(ctx context.Context) {
	have := map[key.ID]told{}
	tick := time.NewTicker(tellAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.woken:
		}
		have = n.spreadSecret(ctx, have)
	}
}

func (n *node) keepRevocations(ctx context.Context) error {
	return n.home.Edit(ctx, func() error { return writeRevocations(n.state.files.revocations, n.mesh.Revocations()) })
}

// spreadSecret tells the newest secret, if there is one that followed a
// revocation, to trusted processes that do not have it, and returns those that do.
func (n *node) spreadSecret(ctx context.Context, have map[key.ID]told) map[key.ID]told {
	rotations, err := trust.ReadRotations(n.state.files.rotations)
	if err != nil || len(rotations) == 0 {
		if err != nil {
			n.log.Error("cannot read the new secrets", "err", err)
		}
		return have
	}
	newest := rotations[0]
	now := map[key.ID]told{}
	for _, m := range n.mesh.Members() {
		if m.Status != member.Alive || m.Key == newest.Without || !n.verified(m.Key) {
			continue
		}
		want := told{newest.ID(), m.Epoch}
		if have[m.Key] != want {
			if err := n.tell(ctx, m.Key, newest); err != nil {
				n.log.Debug("a node did not take the new secret yet", "node", m.Name, "err", err)
				continue
			}
		}
		now[m.Key] = want
	}
	return now
}

// ask calls another node's program over the mesh.
func (n *node) ask(ctx context.Context, to key.ID, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("ask %s: %w", n.nameOf(to), err)
	}
	request, err := http.NewRequestWithContext(ctx, method, "mesh://"+to.String()+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask %s: %w", n.nameOf(to), err)
	}
	response, err := n.mesh.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, control.MaxBytes))
	if err != nil {
		return fmt.Errorf("ask %s: %w", n.nameOf(to), err)
	}
	if response.StatusCode != http.StatusOK {
		return refusal(response, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// refusal reads why another node refused.
func refusal(response *http.Response, text []byte) error {
	var answer struct{ Error *control.Error }
	if json.Unmarshal(text, &answer) != nil || answer.Error == nil {
		return errors.New("it answered " + response.Status)
	}
	answer.Error.Status = response.StatusCode
	return answer.Error
}
