package workflow

import (
	"context"
	"sync"
)

// claim uses up the pause that a run was resumed from, once, right before its first effect. The zero claim has nothing to use up.
type claim struct {
	take func(context.Context) error
	once sync.Once
	err  error
	done bool // take was called; read after the branches that share the claim have ended
}

func (c *claim) beforeEffect(ctx context.Context) error {
	c.once.Do(func() {
		if c.take != nil {
			c.err = c.take(ctx)
			c.done = c.err == nil
		}
	})
	if c.err != nil {
		return fatal{c.err}
	}
	return nil
}
