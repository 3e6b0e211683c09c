package main

import (
	"context"
	"net/http"
	"strings"
	"time"

	"lobstah/internal/cli"
	"lobstah/mesh/agent"
)

type tasksCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (tasksCommand) Help() string {
	return `What this machine asked of other nodes' agents, and what other nodes asked of
the agents here: who, what, and what became of it. Finished tasks are remembered
for a week.`
}

func (c *tasksCommand) Run(ctx context.Context, a *app) error {
	var lists taskLists
	if err := a.get(ctx, "/tasks", &lists); err != nil {
		return err
	}
	if c.JSON {
		return a.json(lists)
	}
	t := cli.Table{}
	t.Row("TASK", "WHO", "AGENT", "STATE", "SINCE", "TEXT")
	rows := 0
	for _, l := range []struct {
		arrow string
		tasks []agent.Task
	}{{"to", lists.Asked}, {"from", lists.Taken}} {
		for _, task := range l.tasks {
			rows++
			t.Row(task.ID, l.arrow+" "+task.NodeName, task.Brief.Agent, string(task.State), cli.Duration(time.Since(task.Updated)), beginning(task.Brief.Text))
		}
	}
	if rows == 0 {
		a.note("No tasks yet. Hand one over with: clawmatrix handoff AGENT TASK")
		return nil
	}
	return t.Print(a.Out, "")
}

// beginning is a text's first line, shortened.
func beginning(text string) string {
	line, _, more := strings.Cut(strings.TrimSpace(text), "\n")
	if runes := []rune(line); len(runes) > 60 {
		line, more = string(runes[:59]), true
	}
	if more {
		line += "…"
	}
	return line
}

type taskCommand struct {
	ID     string `arg:"" help:"The task's identifier; clawmatrix tasks lists them."`
	Answer string `placeholder:"TEXT" xor:"do" help:"Answer the agent's question, then follow the task."`
	Cancel bool   `xor:"do" help:"End the task. What other nodes asked of agents here can be ended too."`
	JSON   bool   `name:"json" help:"Print the task as JSON when it ends."`
}

// Help is printed by --help.
func (taskCommand) Help() string {
	return `Follows a task to its end and prints the answer.

Examples:
  clawmatrix task 4f0c…
  clawmatrix task 4f0c… --answer "the release branch"
  clawmatrix task 4f0c… --cancel`
}

func (c *taskCommand) Run(ctx context.Context, a *app) error {
	switch {
	case c.Cancel:
		if err := a.call(ctx, http.MethodPost, "/tasks/stop", glance{ID: c.ID}, nil); err != nil {
			return err
		}
		a.say("cancelled")
		return nil
	case c.Answer != "":
		if err := a.call(ctx, http.MethodPost, "/tasks/answer", taskAnswer{c.ID, c.Answer}, nil); err != nil {
			return err
		}
	}
	return a.follow(ctx, c.ID, c.JSON)
}
