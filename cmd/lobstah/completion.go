package main

import (
	"fmt"

	"lobstah/grid/allow"
	"lobstah/grid/discover"
	"lobstah/internal/cmdline"
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

// Run prints what the last word can become.
func (c *completeCommand) Run(a *app) error {
	cmdline.Complete(a.Out, a.parser, c.Words, a.wordsFor)
	return nil
}

// wordsFor completes the arguments that this machine knows.
func (a *app) wordsFor(at cmdline.Place) (list []cmdline.Word) {
	switch cmdline.Path(at.Command) {
	case "peers remove", "peers revoke":
		peers, err := discover.Read(a.home.Peers)
		if err != nil {
			return nil
		}
		for _, p := range peers {
			list = append(list, cmdline.Word{Text: p.ID.String(), Meaning: p.Name()})
		}
	case "allow remove":
		entries, err := allow.Read(a.home.Allow)
		if err != nil {
			return nil
		}
		for _, e := range entries {
			list = append(list, cmdline.Word{Text: e.ID.String(), Meaning: e.Name()})
		}
	}
	return list
}
