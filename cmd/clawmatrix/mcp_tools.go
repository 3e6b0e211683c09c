package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"lobstah/mesh/agent"
	"lobstah/mesh/tool"
)

// The parameters of the seven tools.
type (
	peersParams   struct{}
	handoffParams struct {
		Target  string `json:"target,omitempty" jsonschema:"agent id, agent@node, or tags:TAG"`
		Task    string `json:"task,omitempty" jsonschema:"what the agent shall do"`
		Context string `json:"context,omitempty" jsonschema:"what it should know besides"`
		TaskID  string `json:"taskId,omitempty" jsonschema:"of a task that asked something or is still running"`
		Answer  string `json:"answer,omitempty" jsonschema:"the answer to its question"`
	}
	sendParams struct {
		Target  string `json:"target" jsonschema:"agent id, agent@node, or tags:TAG"`
		Message string `json:"message"`
	}
	execParams struct {
		Node    string  `json:"node" jsonschema:"node id, or tags:TAG"`
		Command string  `json:"command" jsonschema:"shell command"`
		Workdir string  `json:"workdir,omitempty" jsonschema:"working directory there"`
		Timeout float64 `json:"timeout,omitempty" jsonschema:"seconds, 1800 by default"`
	}
	readParams struct {
		Node string `json:"node" jsonschema:"node id, or tags:TAG"`
		Path string `json:"path"`
	}
	writeParams struct {
		Node    string `json:"node" jsonschema:"node id, or tags:TAG"`
		Path    string `json:"path"`
		Content string `json:"content"`
	}
	toolParams struct {
		Node string         `json:"node" jsonschema:"node id, or tags:TAG"`
		Tool string         `json:"tool,omitempty" jsonschema:"the tool's name; without it the tools are listed"`
		Args map[string]any `json:"args,omitempty" jsonschema:"the tool's own arguments"`
	}
)

func (a *app) mcpPeers(ctx context.Context, _ peersParams, _ func(string)) (string, error) {
	var peers []peerView
	if err := a.get(ctx, "/peers", &peers); err != nil {
		return "", err
	}
	return indented(peers)
}

func indented(v any) (string, error) {
	raw, err := json.MarshalIndent(v, "", "  ")
	return string(raw), err
}

func (a *app) mcpHandoff(ctx context.Context, in handoffParams, say func(string)) (string, error) {
	id := in.TaskID
	switch {
	case id == "" && (in.Target == "" || in.Task == ""):
		return "", errors.New("want target and task, or the taskId of a task that goes on")
	case id == "":
		task, err := a.ask(ctx, in.Target, asking{Kind: agent.Handoff, Text: in.Task, Context: in.Context})
		if err != nil {
			return "", err
		}
		id = task.ID
	case in.Answer != "":
		if err := a.call(ctx, http.MethodPost, "/tasks/answer", taskAnswer{id, in.Answer}, nil); err != nil {
			return "", err
		}
	}
	for at := 0; ; {
		var v view
		if err := a.call(ctx, http.MethodPost, "/tasks/look", glance{id, at}, &v); err != nil {
			return "", fmt.Errorf("the task %s goes on: %w", id, err)
		}
		if at = v.Next; v.Text != "" {
			say(v.Text)
		}
		if v.Task.State.Final() || v.Task.State == agent.InputRequired {
			return outcome(v.Task)
		}
	}
}

// outcome tells a task's end to a model: the other agent's words are marked.
func outcome(t agent.Task) (string, error) {
	from := t.Brief.Agent + "@" + t.NodeName
	switch t.State {
	case agent.Done:
		return fmt.Sprintf("%s answers:\n%s", from, t.Output), nil
	case agent.InputRequired:
		return fmt.Sprintf("%s asks: %s\n(to answer, call cluster_handoff with taskId %q and answer)", from, t.Question, t.ID), nil
	}
	return "", fmt.Errorf("the task of %s is %s: %s", from, t.State, strings.TrimSpace(t.Error+"\n"+t.Output))
}

func (a *app) mcpSend(ctx context.Context, in sendParams, _ func(string)) (string, error) {
	task, err := a.ask(ctx, in.Target, asking{Kind: agent.Send, Text: in.Message})
	if err != nil {
		return "", err
	}
	to := task.Brief.Agent + "@" + task.NodeName
	if !task.Taken {
		return to + " does not have the message yet; it waits: " + task.Trouble, nil
	}
	return to + " has the message", nil
}

func (a *app) mcpExec(ctx context.Context, in execParams, say func(string)) (string, error) {
	args := tool.ExecArgs{Command: in.Command, Workdir: in.Workdir, Timeout: in.Timeout}
	return a.mcpCall(ctx, toolCall{node: in.Node, tool: tool.Exec, args: args, on: func(e *tool.Event) { say(string(e.Data())) }})
}

func (a *app) mcpRead(ctx context.Context, in readParams, _ func(string)) (string, error) {
	return a.mcpCall(ctx, toolCall{node: in.Node, tool: tool.Read, args: map[string]any{"path": in.Path}})
}

func (a *app) mcpWrite(ctx context.Context, in writeParams, _ func(string)) (string, error) {
	return a.mcpCall(ctx, toolCall{node: in.Node, tool: tool.Write, args: map[string]any{"path": in.Path, "content": in.Content}})
}

func (a *app) mcpTool(ctx context.Context, in toolParams, _ func(string)) (string, error) {
	if in.Tool != "" {
		if in.Args == nil {
			in.Args = map[string]any{}
		}
		return a.mcpCall(ctx, toolCall{node: in.Node, tool: in.Tool, args: in.Args})
	}
	response, err := a.local(ctx, http.MethodGet, "/v1/nodes/"+url.PathEscape(in.Node)+"/tools", nil)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, tool.MaxRequest))
	return string(raw), err
}

// mcpCall calls a tool of a node. The answer names the node that executed.
func (a *app) mcpCall(ctx context.Context, c toolCall) (string, error) {
	end, err := a.invoke(ctx, c)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s", c.tool, end.Executor.Node)
	if len(end.Result.Details) > 0 {
		fmt.Fprintf(&b, " %s", end.Result.Details)
	}
	b.WriteString(":\n")
	for _, part := range end.Result.Content {
		if part.Type == "text" {
			b.WriteString(part.Text)
		} else {
			fmt.Fprintf(&b, "[%s of %d bytes]", part.Type, len(part.Data)+len(part.Resource))
		}
	}
	if end.Result.IsError {
		return "", errors.New(b.String())
	}
	return b.String(), nil
}
