package main

import (
	"context"

	"lobstah/mesh/member"
)

// heard is told what happens to members, by the mesh while it is busy.
func (n *node) heard(e member.Event) {
	select {
	case n.news <- e:
	default: // keepHouse looks at everything whenever it wakes
	}
}

// keepHouse writes down what the mesh tells, until ctx ends.
func (n *node) keepHouse(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-n.news:
			if e.Change == member.Revoked {
				if err := n.keepRevocations(ctx); err != nil {
					n.log.Error("cannot keep a revocation: it will be asked of the others after a restart", "node", e.Name, "err", err)
				}
			}
		}
	}
}

func (n *node) keepRevocations(ctx context.Context) error {
	return n.home.Edit(ctx, func() error { return writeRevocations(n.state.files.revocations, n.mesh.Revocations()) })
}
