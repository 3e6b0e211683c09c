package main

import (
	"context"
	"errors"
	"net/http"

	"lobstah/internal/cli"
)

type stopCommand struct {
	NoWait bool `help:"Ask it to stop and return at once."`
}

// Help is printed by --help.
func (stopCommand) Help() string {
	return `What runs with this home folder takes no new requests, finishes the running
answers and ends. Nothing running is no error.`
}

func (c *stopCommand) Run(ctx context.Context, a *app) error {
	h, client, err := a.running()
	if errors.Is(err, errNothingRuns) {
		a.say("nothing runs with %s", a.home.Dir)
		return nil
	}
	if err != nil {
		return err
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := client.Call(call, http.MethodPost, "/stop", nil, nil); err != nil {
		return cli.Hintf(err, "it is process %d", h.PID)
	}
	if c.NoWait {
		a.say("%s (process %d) is stopping", h.What, h.PID)
		return nil
	}
	done := a.Progress("waiting until running answers are finished")
	err = a.home.AwaitEnd(ctx, h)
	done()
	if err == nil {
		a.say("%s (process %d) has stopped", h.What, h.PID)
	}
	return err
}
