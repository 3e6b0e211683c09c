package main

import (
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/mattn/go-isatty"

	"lobstah/flow"
	"lobstah/flow/filter"
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
	return details(err)
}

// details are the places of an error, and hints.
func details(err error) string {
	var out strings.Builder
	for within := err; ; {
		e, ok := errors.AsType[*workflow.StepError](within)
		if !ok {
			break
		}
		out.WriteString("  at " + e.Where() + "\n" + findings(e))
		within = e.Err
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
	if e, ok := errors.AsType[filter.UnknownError](err); ok {
		out.WriteString("hint: " + e.Hint() + "\n")
	}
	if e, ok := errors.AsType[*syntax.Error](err); ok {
		out.WriteString("  " + strings.ReplaceAll(e.Detail(), "\n", "\n  ") + "\n")
	}
	if e, ok := errors.AsType[*workflow.InvalidError](err); ok {
		out.WriteString(e.Report() + "\n")
	}
	return out.String()
}

// findings is what check says about the same fault: the line with a caret, and a hint. It is silent on what only a run can tell.
func findings(e *workflow.StepError) string {
	problems, source, err := workflow.Check(e.File, nil)
	if err != nil {
		return ""
	}
	for _, found := range problems {
		if found.Severity == workflow.Fault && found.Message == e.Error() {
			return found.Report(e.File, source)
		}
	}
	return ""
}

// commandHint names what was probably meant: a file that is not here, a command, or one of this program's own words.
func commandHint(name string) string {
	if workflow.HasExtension(name) {
		return "hint: there is no workflow file of this name here\n"
	}
	words := []string{"lobster run", "lobster resume", "lobster graph", "lobster doctor", "lobster version", "lobster help"}
	for extra := range (&program{}).extras() {
		words = append(words, "lobster "+extra)
	}
	slices.Sort(words)
	for _, c := range interp.NewRegistry(stdlib.Commands()...).All() {
		words = append(words, c.Name)
	}
	best, at := "", 3
	for _, w := range words {
		if d := spelling.Distance(value.Cut16(name, 64), strings.TrimPrefix(w, "lobster ")); d < at {
			best, at = w, d
		}
	}
	if best == "" {
		return "hint: lobster help lists the commands\n"
	}
	return "hint: did you mean " + best + "? lobster help lists the commands\n"
}
