package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"lobstah/flow/interp"
	"lobstah/flow/state"
	"lobstah/flow/value"
)

const logHelp = `Usage: lobster log [--json] [--limit N] [RUN]

Lists past runs, newest last, from the journal; with a run's name, its steps with their times and who decided what.
  lobster log --limit 5
  lobster log 3f2a9c1e
The journal is ~/.lobster/journal; LOBSTER_JOURNAL_DIR moves it, LOBSTER_JOURNAL_DIR=off turns it off.
`

func (p *program) log(args []string) int {
	wanted, asJSON, limit := "", false, 20
	for i := 0; i < len(args); i++ {
		name, text, hasText := strings.Cut(args[i], "=")
		switch {
		case name == "-h" || name == "--help":
			return p.print(logHelp)
		case name == "--json":
			asJSON = true
		case name == "--limit":
			if !hasText && i+1 < len(args) {
				i++
				text = args[i]
			}
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return p.misuse(logHelp, "--limit must be a positive number")
			}
			limit = n
		case strings.HasPrefix(name, "-"):
			return p.misuse(logHelp, "unknown flag %s", name)
		default:
			wanted = args[i]
		}
	}
	return p.showLog(wanted, asJSON, limit)
}

func (p *program) showLog(wanted string, asJSON bool, limit int) int {
	shell, err := p.open(interp.Human)
	if err != nil {
		return p.complain(exitFailed, "error: %v", err)
	}
	runs, err := collectRuns(shell.Journal, wanted)
	if err != nil {
		return p.complain(exitFailed, "error: %v", err)
	}
	if len(runs) == 0 && wanted != "" {
		return p.complain(exitFailed, "error: the journal has no run %q\nhint: lobster log lists the runs", wanted)
	}
	for _, r := range runs[max(0, len(runs)-limit):] {
		switch {
		case asJSON:
			p.printEvents(r.events)
		case wanted != "":
			p.print(r.summary() + r.details())
		default:
			p.print(r.summary())
		}
	}
	return exitOK
}

func (p *program) printEvents(events []state.Event) {
	for _, e := range events {
		if line, err := json.Marshal(e); err == nil {
			p.print(string(line) + "\n")
		}
	}
}

// loggedRun is a run's events in order.
type loggedRun struct {
	id     string
	events []state.Event
}

// collectRuns groups the journal by run, in order of their beginning. A wanted name may be the start of one.
func collectRuns(j *state.Journal, wanted string) ([]*loggedRun, error) {
	byID := map[string]*loggedRun{}
	var runs []*loggedRun
	for e, err := range j.Events() {
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(e.Run, wanted) {
			continue
		}
		r := byID[e.Run]
		if r == nil {
			r = &loggedRun{id: e.Run}
			byID[e.Run] = r
			runs = append(runs, r)
		}
		r.events = append(r.events, e)
	}
	return runs, nil
}

func (r *loggedRun) summary() string {
	began, last := r.events[0], r.events[len(r.events)-1]
	status := last.Status
	if last.Event != "run.end" && last.Event != "run.pause" {
		status = "did not end"
	}
	target := began.Target
	if i := slices.IndexFunc(r.events, func(e state.Event) bool { return e.Target != "" }); i >= 0 {
		target = r.events[i].Target
	}
	return fmt.Sprintf("%s  %s  %-14s %6s  %s\n", r.id, began.Time.Local().Format(time.DateTime), status, last.Time.Sub(began.Time).Round(time.Millisecond), value.VisibleLine(target))
}

func (r *loggedRun) details() string {
	var b strings.Builder
	for _, e := range r.events {
		fmt.Fprintf(&b, "  %s  %-11s", e.Time.Local().Format(time.TimeOnly), e.Event)
		for _, part := range []string{e.Step, e.Kind, e.Status, labelled("asks", e.Prompt), labelled("id", e.ApprovalID), labelled("decided", e.Decision), labelled("by", e.By), labelled("error", e.Error)} {
			if part != "" {
				b.WriteString("  " + value.VisibleLine(part))
			}
		}
		if e.Millis > 0 {
			fmt.Fprintf(&b, "  %d ms", e.Millis)
		}
		if e.CostUSD > 0 {
			fmt.Fprintf(&b, "  $%.4f", e.CostUSD)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func labelled(label, text string) string {
	if text == "" {
		return ""
	}
	return label + " " + strconv.Quote(text)
}
