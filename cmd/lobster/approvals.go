package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"lobstah/flow"
	"lobstah/flow/interp"
	"lobstah/flow/value"
)

const approvalsHelp = `Usage: lobster approvals [--json] [ID]

Lists the runs that wait for a person, oldest first, with what each asks and what would run next. With an ID (or a token) it shows that run in full.
  lobster approvals
  lobster approvals 1a2b3c4d
  lobster resume --id 1a2b3c4d --approve yes
`

func (p *program) approvals(args []string) int {
	wanted, asJSON := "", false
	for _, a := range args {
		switch {
		case a == "-h" || a == "--help":
			return p.print(approvalsHelp)
		case a == "--json":
			asJSON = true
		case strings.HasPrefix(a, "-"):
			return p.misuse(approvalsHelp, "unknown flag %s", a)
		default:
			wanted = a
		}
	}
	shell, err := p.open(interp.Tool)
	if err != nil {
		return p.complain(exitFailed, "error: %v", err)
	}
	waiting, err := shell.Waiting(context.Background())
	if err != nil {
		return p.complain(exitFailed, "error: %v", err)
	}
	if wanted != "" {
		waiting = slices.DeleteFunc(waiting, func(w flow.Waiting) bool { return wanted != w.ApprovalID && wanted != w.Token })
	}
	switch {
	case len(waiting) == 0 && wanted != "":
		return p.complain(exitFailed, "error: no run waits under %q\nhint: lobster approvals lists those that do", wanted)
	case len(waiting) == 0 && !asJSON:
		return p.print("Nothing waits for a person.\n")
	}
	for _, w := range waiting {
		text := w.Value().JSON() + "\n"
		if !asJSON {
			text = waitingText(w, wanted != "", shell.Env.Now())
		}
		p.print(text)
	}
	return exitOK
}

func waitingText(w flow.Waiting, full bool, now time.Time) string {
	var b strings.Builder
	name := w.ApprovalID
	if name == "" {
		name = "--token " + w.Token
	}
	fmt.Fprintf(&b, "%s  %s  (%s, asked %s)\n", name, w.Prompt, w.Target, ago(now.Sub(w.Since)))
	if items, _ := w.Items.AsList(); len(items) > 0 {
		fmt.Fprintf(&b, "  about: %s\n", shortened(w.Items.JSON(), full))
	}
	for i, step := range w.Next {
		if i == 5 && !full {
			fmt.Fprintf(&b, "  then:  ... %d more\n", len(w.Next)-i)
			break
		}
		fmt.Fprintf(&b, "  then:  %s\n", shortened(step, full))
	}
	for _, warning := range w.Warnings {
		fmt.Fprintf(&b, "  warning: %s\n", warning)
	}
	answer := "--approve yes|no"
	if w.Asks == flow.AsksInput {
		answer = "--response-json JSON"
	}
	key := "--id " + w.ApprovalID
	if w.ApprovalID == "" {
		key = "--token " + w.Token
	}
	fmt.Fprintf(&b, "  answer: lobster resume %s %s\n", key, answer)
	return b.String()
}

func shortened(text string, full bool) string {
	text = strings.ReplaceAll(text, "\n", " ")
	if full || value.Len16(text) <= 100 {
		return text
	}
	return value.Cut16(text, 97) + "..."
}

func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}
