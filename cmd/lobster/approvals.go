package main

import (
	"cmp"
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

// waitingText describes a run for who decides about it. All that others wrote is shown on one line and without control characters, so that
// nothing looks like more than it is.
func waitingText(w flow.Waiting, full bool, now time.Time) string {
	var b strings.Builder
	cut := false
	show := func(text string) string {
		text = value.VisibleLine(text)
		if full || value.Len16(text) <= 100 {
			return text
		}
		cut = true
		return value.Cut16(text, 97) + "..."
	}
	fmt.Fprintf(&b, "%s  %s  (%s, asked %s)\n", cmp.Or(w.ApprovalID, "--token "+w.Token), show(w.Prompt), value.VisibleLine(w.Target), ago(now.Sub(w.Since)))
	if items, _ := w.Items.AsList(); len(items) > 0 {
		fmt.Fprintf(&b, "  about: %s\n", show(w.Items.JSON()))
	}
	for i, step := range w.Next {
		if i == 5 && !full {
			fmt.Fprintf(&b, "  then:  ... %d more\n", len(w.Next)-i)
			cut = true
			break
		}
		fmt.Fprintf(&b, "  then:  %s\n", show(step))
	}
	for _, warning := range w.Warnings {
		fmt.Fprintf(&b, "  warning: %s\n", value.VisibleLine(warning))
	}
	if cut {
		fmt.Fprintf(&b, "  in full: lobster approvals %s\n", cmp.Or(w.ApprovalID, w.Token))
	}
	return b.String() + answerLine(w)
}

func answerLine(w flow.Waiting) string {
	key, answer := "--id "+w.ApprovalID, "--approve yes|no"
	if w.ApprovalID == "" {
		key = "--token " + w.Token
	}
	if w.Asks == flow.AsksInput {
		answer = "--response-json JSON"
	}
	return fmt.Sprintf("  answer: lobster resume %s %s\n", key, answer)
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
