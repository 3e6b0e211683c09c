package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"lobstah/grid"
	"lobstah/internal/cli"
)

type statusCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (statusCommand) Help() string {
	return `Exit code 0 when something runs with this home folder, 1 when nothing does.`
}

func (c *statusCommand) Run(ctx context.Context, a *app) error {
	_, client, err := a.running()
	if errors.Is(err, errNothingRuns) {
		if c.JSON {
			err = a.json(map[string]bool{"running": false})
		} else {
			a.say("nothing runs with %s", a.home.Dir)
			a.note("Start it with: lobstah up")
			err = nil
		}
		return errors.Join(err, cli.Exit(cli.Failure))
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var r report
	if err := client.Call(ctx, http.MethodGet, "/status", nil, &r); err != nil {
		return err
	}
	if c.JSON {
		return a.json(struct {
			Running bool `json:"running"`
			report
		}{true, r})
	}
	return a.printStatus(r)
}

func (a *app) printStatus(r report) error {
	facts := new(cli.Table)
	r.process(facts)
	r.lending(facts)
	r.asking(facts)
	r.work(facts)
	r.places(facts)
	if err := facts.Print(a.Out, ""); err != nil || len(r.Peers) == 0 {
		return err
	}
	a.say("")
	return a.printPeers(r.Peers)
}

func (r *report) process(facts *cli.Table) {
	state := "running"
	switch {
	case r.Draining:
		state = "stopping"
	case r.Stats == nil && r.Engines == nil:
		state = "starting"
	}
	since := cli.Duration(max(time.Since(r.Since).Truncate(time.Second), time.Second))
	facts.Row("process", fmt.Sprintf("%s %s, process %d, for %s", r.What, state, r.PID, since))
	facts.Row("version", r.Version)
	facts.Row("key", r.Pubkey.String())
}

// lending is what this machine does for others.
func (r *report) lending(facts *cli.Table) {
	if w := r.Worker; w != nil {
		facts.Row("worker", fmt.Sprintf("%s, %s running, %d waiting (at most %d and %d)",
			r.Holder.Worker, cli.Plural(w.Running, "answer"), w.QueueDepth, w.Concurrency, w.MaxQueue))
		for _, port := range r.Ports {
			facts.Row("", port)
		}
		facts.Row("models", strings.Join(w.Models, ", "))
	} else if r.Holder.Worker != "" {
		facts.Row("worker", r.Holder.Worker+", which tells nothing now: its engine or its ledger is out of order")
	}
	for _, e := range r.Engines {
		facts.Row("engine", e)
	}
	if r.Holder.Worker != "" {
		facts.Row("allowed", cli.Plural(r.Allowed, "key")+" beside this machine")
	}
}

// asking is what others do for this machine.
func (r *report) asking(facts *cli.Table) {
	s := r.Stats
	if s == nil {
		return
	}
	facts.Row("router", fmt.Sprintf("%s/v1, %s so far, %d running, %d without an answer", r.Router, cli.Plural(s.Requests, "request"), s.InFlight, s.Unanswered))
	facts.Row("receipts", fmt.Sprintf("%s kept, %s refused, %s not given", cli.Count(s.Accepted), cli.Count(s.Rejected), cli.Count(s.Unreceipted)))
}

// work is what waits: jobs and batches.
func (r *report) work(facts *cli.Table) {
	jobs := func(name string, c *grid.JobCounts) {
		if c != nil && *c != (grid.JobCounts{}) {
			facts.Row(name, fmt.Sprintf("%s waiting, %d running; kept: %d done, %d failed", cli.Plural(c.Queued, "job"), c.Running, c.Done, c.Error))
		}
	}
	jobs("jobs", r.Jobs)
	jobs("for others", r.Lent)
	for _, b := range r.Batches {
		n := b.RequestCounts
		facts.Row("batch", fmt.Sprintf("%s %s: %s of %s done, %s failed", b.ID, b.Status, cli.Count(n.Completed), cli.Count(n.Total), cli.Count(n.Failed)))
	}
}

// places is where peers are found, and what was wrong with a file.
func (r *report) places(facts *cli.Table) {
	for _, b := range r.Boards {
		facts.Row("announced", b.announcedText())
	}
	for _, place := range r.Sources {
		facts.Row("discovers", place.discoversText())
	}
	for _, problem := range r.Problems {
		facts.Row("PROBLEM", problem+"; what was read before stays in force")
	}
}

func (a *app) printPeers(peers []peerReport) error {
	table := cli.Table{Right: []int{3, 4}}
	table.Row("PEER", "URL", "STATE", "RUNNING", "WAITING", "MODELS")
	for _, p := range peers {
		table.Row(p.Name(), p.URL, p.State.Status, cli.Count(p.State.InFlight), cli.Count(p.State.Queue), strings.Join(p.State.Models, ", "))
	}
	if err := table.Print(a.Out, ""); err != nil {
		return err
	}
	for _, p := range peers {
		if p.State.LastError != "" {
			a.say("%s: %s", cli.CleanLine(p.Name()), cli.CleanLine(p.State.LastError))
		}
	}
	return nil
}

// announcedText says how announcing at a place goes.
func (p placeReport) announcedText() string {
	switch {
	case p.LastError != "":
		return p.Name + ": FAILED, " + cli.Plural(p.Failures, "time") + ": " + p.LastError + lastOK(p.LastOK)
	case p.LastOK.IsZero():
		return p.Name + ": not yet"
	}
	return p.Name + ": ok " + ago(p.LastOK) + ", counts for " + cli.Duration(max(time.Until(p.Until), 0).Truncate(time.Second))
}

// discoversText says how asking a place for peers goes.
func (p placeReport) discoversText() string {
	text := p.Name + ": shows " + cli.Plural(p.Peers, "peer")
	switch {
	case p.LastError != "":
		return text + "; FAILED: " + p.LastError + lastOK(p.LastOK)
	case p.LastOK.IsZero():
		return p.Name + ": not asked yet"
	}
	return text + ", asked " + ago(p.LastOK)
}

func lastOK(at time.Time) string {
	if at.IsZero() {
		return "; it never succeeded"
	}
	return "; last ok " + ago(at)
}
