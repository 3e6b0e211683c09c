package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	select {
	case n.news <- e:
	default: // keepHouse looks at everything whenever it wakes
	}
}

// wake lets keepHouse look around.
func (n *node) wake() {
	select {
	case n.woken <- struct{}{}:
	default: // it will
	}
}

// keepHouse writes down what the mesh tells and hands new secrets on, until ctx
// ends.
func (n *node) keepHouse(ctx context.Context) {
	told := map[key.ID]string{} // the newest rotation that a node has
	tick := time.NewTicker(tellAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.woken:
		case e := <-n.news:
			if e.Change == member.Revoked {
				n.tools.Drop(e.Key)
				if err := n.keepRevocations(ctx); err != nil {
					n.log.Error("cannot keep a revocation: it will be asked of the others after a restart", "node", e.Name, "err", err)
				}
			}
			if e.Change != member.Joined {
				continue
			}
			delete(told, e.Key)
		}
		n.spreadSecret(ctx, told)
	}
}

func (n *node) keepRevocations(ctx context.Context) error {
	return n.home.Edit(ctx, func() error { return writeRevocations(n.state.files.revocations, n.mesh.Revocations()) })
}

// spreadSecret tells the newest secret, if there is one that followed a
// revocation, to trusted nodes that were not told since they came.
func (n *node) spreadSecret(ctx context.Context, told map[key.ID]string) {
	rotations, err := trust.ReadRotations(n.state.files.rotations)
	if err != nil || len(rotations) == 0 {
		if err != nil {
			n.log.Error("cannot read the new secrets", "err", err)
		}
		return
	}
	newest := rotations[0]
	for _, m := range n.mesh.Members() {
		if m.Status != member.Alive || told[m.Key] == newest.ID() || m.Key == newest.Without || !n.verified(m.Key) {
			continue
		}
		if err := n.tell(ctx, m.Key, newest); err != nil {
			n.log.Debug("a node did not take the new secret yet", "node", m.Name, "err", err)
			continue
		}
		told[m.Key] = newest.ID()
	}
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
