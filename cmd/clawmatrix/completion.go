package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"lobstah/internal/cmdline"
	"lobstah/mesh/trust"
)

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is printed by --help.
func (completionCommand) Help() string { return program.CompletionHelp() }

func (c *completionCommand) Run(a *app) error {
	fmt.Fprint(a.Out, program.CompletionScript(c.Shell))
	return nil
}

type completeCommand struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

// completeTime is how long a person waits for a word.
const completeTime = 2 * time.Second

// Run prints what the last word can become. Nodes, agents and tasks are those that
// the running node knows; the flags that name another one count in what was typed.
func (c *completeCommand) Run(ctx context.Context, a *app) (err error) {
	for i, word := range c.Words[:max(0, len(c.Words)-2)] {
		switch word {
		case "--home":
			a.options.Home = c.Words[i+1]
		case "--config":
			a.options.Config = c.Words[i+1]
		}
	}
	if a.home, err = a.findHome(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	cmdline.Complete(a.Out, a.parser, c.Words, func(at cmdline.Place) []cmdline.Word { return a.wordsFor(ctx, at) })
	return nil
}

// wordsFor completes the arguments that this machine knows.
func (a *app) wordsFor(ctx context.Context, at cmdline.Place) []cmdline.Word {
	command := cmdline.Path(at.Command)
	switch {
	case len(at.Arguments) == 0 && slices.Contains([]string{"exec", "read", "write", "edit", "tool", "tools", "doctor", "verify", "revoke"}, command):
		return a.nodeWords(ctx)
	case len(at.Arguments) == 1 && command == "tool":
		return a.toolWords(ctx, at.Arguments[0])
	case len(at.Arguments) == 0 && (command == "handoff" || command == "send"):
		return a.agentWords(ctx)
	case len(at.Arguments) == 0 && command == "task":
		return a.taskWords(ctx)
	}
	return nil
}

// nodeWords are the names of the other nodes, those that are verified while no node
// runs here.
func (a *app) nodeWords(ctx context.Context) (list []cmdline.Word) {
	peers, err := a.peers(ctx)
	for _, v := range peers {
		list = append(list, cmdline.Word{Text: v.Name, Meaning: v.State})
	}
	if err == nil {
		return list
	}
	pins, err := trust.Read(stateFiles(a.home).pins)
	if err != nil {
		return nil
	}
	for _, p := range pins {
		list = append(list, cmdline.Word{Text: p.Name, Meaning: "verified by " + string(p.How)})
	}
	return list
}

func (a *app) toolWords(ctx context.Context, node string) (list []cmdline.Word) {
	peers, err := a.peers(ctx)
	if err != nil {
		return nil
	}
	for _, v := range peers {
		for _, tool := range v.Tools {
			if v.Name == node {
				list = append(list, cmdline.Word{Text: tool, Meaning: "of " + node})
			}
		}
	}
	return list
}

// agentWords are the agents, each with its node and alone, and their tags.
func (a *app) agentWords(ctx context.Context) (list []cmdline.Word) {
	peers, err := a.peers(ctx)
	if err != nil {
		return nil
	}
	for _, v := range peers {
		for _, agent := range v.Agents {
			list = append(list, cmdline.Word{Text: agent.ID, Meaning: agent.Description}, cmdline.Word{Text: agent.ID + "@" + v.Name, Meaning: agent.Description})
			for _, tag := range agent.Tags {
				list = append(list, cmdline.Word{Text: "tags:" + tag, Meaning: "agents of that tag"})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b cmdline.Word) int { return cmp.Compare(a.Text, b.Text) })
	return slices.CompactFunc(list, func(a, b cmdline.Word) bool { return a.Text == b.Text })
}

func (a *app) taskWords(ctx context.Context) (list []cmdline.Word) {
	var lists taskLists
	if a.get(ctx, "/tasks", &lists) != nil {
		return nil
	}
	for _, task := range slices.Concat(lists.Asked, lists.Taken) {
		list = append(list, cmdline.Word{Text: task.ID, Meaning: task.Brief.Agent + ", " + string(task.State)})
	}
	return list
}
