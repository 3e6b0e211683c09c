package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"lobstah/internal/cli"
	"lobstah/mesh/agent"
)

type handoffCommand struct {
	Target  string   `arg:"" help:"AGENT, AGENT@NODE or tags:TAG."`
	Task    []string `arg:"" help:"What the agent shall do; - reads it from standard input."`
	Context string   `placeholder:"TEXT" help:"What it should know besides."`
	NoWait  bool     `help:"Print the task's identifier and leave; clawmatrix task follows it."`
	JSON    bool     `name:"json" help:"Print the task as JSON when it ends."`
}

// Help is printed by --help.
func (handoffCommand) Help() string {
	return `The answer is printed when it is there; what the agent says on its way goes to
standard error. The task goes on when this command, the link or either node is
interrupted: clawmatrix task ID takes it up again, clawmatrix task ID --cancel
ends it. Only nodes whose key is verified here are asked.

Examples:
  clawmatrix handoff coder "Find out why the build of main fails"
  clawmatrix handoff coder@office-01 - < task.md
  clawmatrix handoff tags:review "Look at the last commit" --json`
}

func (c *handoffCommand) Run(ctx context.Context, a *app) error {
	text, err := a.words(c.Task)
	if err != nil {
		return err
	}
	task, err := a.ask(ctx, c.Target, asking{Kind: agent.Handoff, Text: text, Context: c.Context})
	if err != nil {
		return err
	}
	if c.NoWait {
		a.say("%s", task.ID)
		return nil
	}
	return a.follow(ctx, task.ID, c.JSON)
}

type sendCommand struct {
	Target  string   `arg:"" help:"AGENT, AGENT@NODE or tags:TAG."`
	Message []string `arg:"" help:"The message; - reads it from standard input."`
}

// Help is printed by --help.
func (sendCommand) Help() string {
	return `The agent gets the message with the name of this node; nobody waits for what it
makes of it. The command ends when the other node has taken the message.

Example:
  clawmatrix send assistant@home-01 "The nightly build is green"`
}

func (c *sendCommand) Run(ctx context.Context, a *app) error {
	text, err := a.words(c.Message)
	if err != nil {
		return err
	}
	task, err := a.ask(ctx, c.Target, asking{Kind: agent.Send, Text: text})
	if err != nil {
		return err
	}
	if !task.Taken {
		a.note("The message waits: %s. clawmatrix task %s follows it.", cli.Clean(task.Trouble), task.ID)
		return nil
	}
	a.say("%s@%s has it", task.Brief.Agent, task.NodeName)
	return nil
}

// words are a task's text: what was typed, or standard input.
func (a *app) words(typed []string) (string, error) {
	text := strings.Join(typed, " ")
	if text != "-" {
		return text, nil
	}
	raw, err := io.ReadAll(io.LimitReader(a.In, agent.MaxText+1))
	if err != nil {
		return "", fmt.Errorf("reading standard input: %w", err)
	}
	if len(raw) > agent.MaxText {
		return "", cli.Usagef("standard input has more than %d KiB, which is the most that passes", agent.MaxText>>10)
	}
	return string(raw), nil
}

// ask hands something to an agent. Within a task of another node, which an
// agent's command is, it counts as that task's next hop.
func (a *app) ask(ctx context.Context, target string, ask asking) (task agent.Task, err error) {
	ask.Target = target
	if hops := a.Getenv("CLAWMATRIX_HOPS"); hops != "" {
		if ask.Hops, err = strconv.Atoi(hops); err != nil {
			return task, cli.Usagef("CLAWMATRIX_HOPS is %.20q, want a number", hops)
		}
	}
	err = a.call(ctx, http.MethodPost, "/tasks/ask", ask, &task)
	return task, err
}

// errAsks says that an agent waits for an answer.
var errAsks = errors.New("the agent asks")

// follow prints a task's way and its end.
func (a *app) follow(ctx context.Context, id string, asJSON bool) error {
	said := ""
	for at := 0; ; {
		var v view
		if err := a.call(ctx, http.MethodPost, "/tasks/look", glance{id, at}, &v); err != nil {
			if ctx.Err() != nil {
				return cli.Hintf(errors.New("interrupted; the task goes on"), "clawmatrix task %s follows it, clawmatrix task %s --cancel ends it", id, id)
			}
			return err
		}
		if at = v.Next; v.Text != "" {
			fmt.Fprint(a.Err, cli.Clean(v.Text))
			said += v.Text
			said = said[max(0, len(said)-agent.MaxOutput):]
		}
		if v.Task.State.Final() || v.Task.State == agent.InputRequired {
			if cli.Terminal(a.Out) && cli.Terminal(a.Err) && shown(v.Task, said) && !asJSON {
				return nil
			}
			return a.end(v.Task, asJSON)
		}
	}
}

// shown reports whether a person who saw what an agent said on its way has seen the
// answer with it.
func shown(t agent.Task, said string) bool {
	return t.State == agent.Done && strings.HasSuffix(strings.TrimSpace(said), strings.TrimSpace(t.Output))
}

// end prints what became of a task. The exit code is 0 for an answer, else 1.
func (a *app) end(t agent.Task, asJSON bool) error {
	if asJSON {
		if err := a.json(t); err != nil || t.State == agent.Done {
			return err
		}
		return cli.Exit(cli.Failure)
	}
	from := t.Brief.Agent + "@" + t.NodeName
	switch t.State {
	case agent.Done:
		a.say("%s", cli.Clean(t.Output))
		return nil
	case agent.InputRequired:
		return cli.Hintf(fmt.Errorf("%w: %s: %s", errAsks, from, cli.Clean(t.Question)), "clawmatrix task %s --answer TEXT", t.ID)
	}
	if t.Output != "" {
		a.say("%s", cli.Clean(t.Output))
	}
	became := map[agent.State]string{agent.Failed: "failed", agent.Cancelled: "was cancelled", agent.Lost: "is lost"}[t.State]
	return fmt.Errorf("the task of %s %s: %s", from, became, cli.Clean(t.Error))
}
