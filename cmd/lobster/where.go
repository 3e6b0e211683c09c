package main

import (
	"errors"
	"os"
	"strings"

	"github.com/mattn/go-isatty"

	"lobstah/flow"
	"lobstah/flow/interp"
	"lobstah/flow/stdlib"
	"lobstah/flow/syntax"
	"lobstah/flow/value"
	"lobstah/flow/workflow"
	"lobstah/internal/spelling"
)

// verbose reports whether stderr is for a person, or someone asked for more than the original says.
func (p *program) verbose() bool {
	f, ok := p.err.(*os.File)
	return p.setting("LOBSTER_ERRORS") == "full" || (ok && isatty.IsTerminal(f.Fd()))
}

// warnJournal tells a person that the journal lacks this run. It is no reason for the run to fail.
func (p *program) warnJournal(shell *flow.Shell) {
	if err := shell.Journal.Err(); err != nil && p.verbose() {
		p.complain(exitOK, "warning: this run is not in the journal: %s", p.masked(err.Error()))
	}
}

// where tells a person at a terminal the place of an error. Programs that read stderr get the message alone, as from the original;
// LOBSTER_ERRORS=full gives them the place too.
func (p *program) where(err error) string {
	if !p.verbose() {
		return ""
	}
	var out strings.Builder
	if e, ok := errors.AsType[*workflow.StepError](err); ok {
		out.WriteString("  at " + e.Where() + "\n")
	}
	if e, ok := errors.AsType[*interp.StageError](err); ok {
		out.WriteString("  in " + e.Where() + "\n")
	}
	if e, ok := errors.AsType[interp.UnknownCommandError](err); ok {
		out.WriteString(commandHint(e.Name))
	}
	if errors.Is(err, stdlib.ErrNoProvider) {
		out.WriteString("hint: start a router of this machine with lobstah up, or set OPENAI_BASE_URL\n")
	}
	if e, ok := errors.AsType[*syntax.Error](err); ok {
		out.WriteString("  " + strings.ReplaceAll(e.Detail(), "\n", "\n  ") + "\n")
	}
	if e, ok := errors.AsType[*workflow.InvalidError](err); ok {
		out.WriteString(e.Report() + "\n")
	}
	return out.String()
}

// commandHint names the command that was probably meant.
func commandHint(name string) string {
	best, at := "", 3
	for _, c := range interp.NewRegistry(stdlib.Commands()...).All() {
		if d := spelling.Distance(value.Cut16(name, 64), c.Name); d < at {
			best, at = c.Name, d
		}
	}
	if best == "" {
		return "hint: lobster help lists the commands\n"
	}
	return "hint: did you mean " + best + "? lobster help lists the commands\n"
}
