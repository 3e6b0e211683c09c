package main

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/grid/engine/pool"
)

// lookAgain is how often an engine is looked for while there is only the demo.
const lookAgain = 5 * time.Second

// demoLingers is longer than routers wait between two looks at a worker.
const demoLingers = time.Minute

// A liveEngine is a pool that can be replaced while it serves. It is set before
// it is used.
type liveEngine struct{ state atomic.Pointer[engineState] }

type engineState struct {
	pool  *pool.Pool
	facts []string // one line for each engine, for people
}

func (l *liveEngine) set(p *pool.Pool, facts []string) { l.state.Store(&engineState{p, facts}) }

// Name implements engine.Engine.
func (l *liveEngine) Name() string { return l.state.Load().pool.Name() }

// Models implements engine.Engine.
func (l *liveEngine) Models(ctx context.Context) ([]grid.Model, error) {
	return l.state.Load().pool.Models(ctx)
}

// Do implements engine.Engine.
func (l *liveEngine) Do(ctx context.Context, call engine.Call) (*engine.Answer, error) {
	return l.state.Load().pool.Do(ctx, call)
}

// watch takes in an engine as soon as one with a model answers: whoever installs
// one while this runs need not start again. The demo model goes when routers
// have had the time to hear of the change.
func (e *engines) watch(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if next := e.another(ctx); next != nil {
			log.Warn("found an engine; it is served from now on", "engine", next.facts[0])
			e.live.set(pool.New(append(next.list, e.list...)...), next.facts)
			select {
			case <-time.After(demoLingers):
				e.live.set(next.pool(), next.facts)
			case <-ctx.Done():
			}
			return
		}
	}
}

// another looks for engines; nil when none of them has a model.
func (e *engines) another(ctx context.Context) *engines {
	next := &engines{}
	usable := false
	for _, f := range e.look(ctx) {
		if f.Engine != nil {
			next.add(f.Engine, "%s", f)
			usable = usable || f.Usable()
		}
	}
	if usable {
		return next
	}
	for _, unused := range next.list {
		if c, ok := unused.(io.Closer); ok {
			c.Close() // idle connections; there is nothing to lose
		}
	}
	return nil
}
