package main

import (
	"context"
	"net/http"
	"time"

	"lobstah/internal/control"
	"lobstah/mesh/agent"
)

// waitAtMost bounds one question for what is new of a task.
const waitAtMost = 20 * time.Second

// An asking is a task for an agent, as commands and plugins put it.
type asking struct {
	Target  string     `json:"target"`
	Kind    agent.Kind `json:"kind"`
	Text    string     `json:"text"`
	Context string     `json:"context,omitempty"`
	Hops    int        `json:"hops,omitempty"` // of the task on whose behalf it is asked
}

// A glance asks what is new of a task since a place in what its agent said.
type glance struct {
	ID   string `json:"id"`
	From int    `json:"from"`
}

// A view is a task and what its agent said since; the next glance is from Next.
type view struct {
	Task agent.Task `json:"task"`
	Text string     `json:"text,omitempty"`
	Next int        `json:"next"`
}

// taskLists are the tasks that this node knows, the newest first.
type taskLists struct {
	Asked []agent.Task `json:"asked"` // of other nodes' agents
	Taken []agent.Task `json:"taken"` // for this node's agents
}

type taskAnswer struct {
	ID   string `json:"id"`
	Text string `json:"text"`
}

// mountTasks mounts what the owner's commands ask of agents.
func (n *node) mountTasks() {
	answer(n.onSocket, "POST /tasks/ask", func(ctx context.Context, a asking) (agent.Task, error) {
		return n.exchange.Ask(ctx, a.Target, agent.Brief{Kind: a.Kind, Text: a.Text, Context: a.Context, Hops: a.Hops})
	})
	answer(n.onSocket, "POST /tasks/look", func(ctx context.Context, g glance) (view, error) {
		ctx, cancel := context.WithTimeout(ctx, waitAtMost)
		defer cancel()
		t, text, next, err := n.exchange.Next(ctx, g.ID, g.From)
		return view{t, text, next}, aboutTask(err)
	})
	answer(n.onSocket, "GET /tasks", func(context.Context, none) (taskLists, error) {
		return taskLists{n.exchange.Tasks(), n.desk.Tasks()}, nil
	})
	answer(n.onSocket, "POST /tasks/answer", func(ctx context.Context, a taskAnswer) (struct{}, error) {
		return struct{}{}, aboutTask(n.exchange.Answer(ctx, a.ID, a.Text))
	})
	answer(n.onSocket, "POST /tasks/stop", func(ctx context.Context, g glance) (struct{}, error) {
		if n.desk.Stop(g.ID) == nil {
			return struct{}{}, nil
		}
		return struct{}{}, aboutTask(n.exchange.Cancel(ctx, g.ID))
	})
}

// aboutTask says with what went wrong where the tasks are.
func aboutTask(err error) error {
	if err == nil {
		return nil
	}
	return &control.Error{Status: http.StatusConflict, Message: err.Error(), Hint: "clawmatrix tasks lists the tasks"}
}
