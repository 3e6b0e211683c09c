package main

import (
	"context"
	"errors"
	"net/http"
)

type stopCommand struct{}

// Help is printed by --help.
func (stopCommand) Help() string {
	return `The node says goodbye to the mesh and ends. Nothing running is no error.`
}

func (c *stopCommand) Run(ctx context.Context, a *app) error {
	h, _, err := a.running()
	if errors.Is(err, errNotRunning) {
		a.say("nothing runs with %s", a.home.Dir)
		return nil
	}
	if err != nil {
		return err
	}
	if err := a.call(ctx, http.MethodPost, "/stop", nil, nil); err != nil {
		return err
	}
	done := a.Progress("waiting until the node has stopped")
	err = a.home.AwaitEnd(ctx, h)
	done()
	if err == nil {
		a.say("%s (process %d) has stopped", h.What, h.PID)
	}
	return err
}
