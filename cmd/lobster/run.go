package main

import (
	"context"
	"errors"
	"io"
	"strings"

	"lobstah/flow"
	"lobstah/flow/interp"
	"lobstah/flow/value"
	"lobstah/flow/workflow"
)

// runFlags are the words of `lobster run`. Flags count wherever they stand.
type runFlags struct {
	mode     string
	file     string
	argsJSON string
	hasArgs  bool
	dryRun   bool
	rest     []string
}

func parseRun(args []string) runFlags {
	f := runFlags{mode: "human"}
	dryAt := -1
	for i := 0; i < len(args); i++ {
		name, text, hasText := strings.Cut(args[i], "=")
		switch name {
		case "--mode", "--file", "--args-json":
			if !hasText {
				if i++; i >= len(args) {
					continue
				}
				text = args[i]
			}
			f.set(name, text)
			continue
		}
		if args[i] == "--dry-run" {
			if len(f.rest) == 0 {
				f.dryRun = true
				continue
			}
			dryAt = len(f.rest)
		}
		f.rest = append(f.rest, args[i])
	}
	f.lateDryRun(dryAt)
	return f
}

func (f *runFlags) set(name, text string) {
	switch name {
	case "--mode":
		if f.mode = text; text == "" {
			f.mode = "human"
		}
	case "--file":
		f.file = text
	case "--args-json":
		f.argsJSON, f.hasArgs = text, text != ""
	}
}

// lateDryRun takes --dry-run after a single word that names a workflow file as a flag; elsewhere it belongs to the pipeline.
func (f *runFlags) lateDryRun(at int) {
	if at == 1 && len(f.rest) == 2 && isWorkflow(f.rest[0]) {
		f.dryRun = true
		f.rest = f.rest[:1]
	}
}

func isWorkflow(word string) bool { return !strings.Contains(word, "|") && workflow.IsFile(word) }

// target returns the workflow file to run, or "" for a pipeline.
func (f *runFlags) target() string {
	switch {
	case f.file != "":
		return f.file
	case len(f.rest) == 1 && isWorkflow(f.rest[0]):
		return f.rest[0]
	}
	return ""
}

func (f *runFlags) tool() bool { return f.mode == "tool" }

// modeOf maps a mode's name: everything but tool is human.
func modeOf(name string) interp.Mode {
	if name == "tool" {
		return interp.Tool
	}
	return interp.Human
}

func (p *program) run(args []string) int {
	f := parseRun(args)
	ctx, stop := withSignals(context.Background())
	defer stop()
	ctx, end, err := p.limited(ctx)
	if err != nil {
		return p.fail(ctx, f.tool(), err)
	}
	defer end()
	shell, err := p.open(modeOf(f.mode))
	if err != nil {
		return p.fail(ctx, f.tool(), err)
	}
	defer p.warnJournal(shell)
	if f.tool() && p.on("LOBSTER_STRICT_TOOL") {
		shell.Env.Stdout = p.err
	}
	if file := f.target(); file != "" {
		return p.runFile(ctx, shell, file, f)
	}
	return p.runPipeline(ctx, shell, strings.Join(f.rest, " "), f)
}

func (p *program) runPipeline(ctx context.Context, shell *flow.Shell, text string, f runFlags) int {
	if f.dryRun {
		err := shell.PlanPipeline(p.err, text)
		return p.finishPlan(ctx, f, err)
	}
	o, err := shell.Pipeline(ctx, text)
	if err == nil && f.tool() {
		err = p.envelope(o)
	} else if err == nil {
		err = p.printPipeline(o)
	}
	return p.fail(ctx, f.tool(), err)
}

// finishPlan ends a dry run, whose text is on stderr.
func (p *program) finishPlan(ctx context.Context, f runFlags, err error) int {
	if err == nil && f.tool() {
		err = p.envelope(flow.Outcome{Status: workflow.OK, Output: interp.Empty})
	}
	return p.fail(ctx, f.tool(), err)
}

func (p *program) runFile(ctx context.Context, shell *flow.Shell, file string, f runFlags) int {
	given := value.Undefined
	if f.hasArgs {
		var err error
		if given, err = value.Parse(f.argsJSON); err != nil {
			return p.badArgs(f)
		}
	}
	p.warnArgs(file, given)
	if f.dryRun {
		return p.finishPlan(ctx, f, p.planFile(shell, file, given))
	}
	o, err := shell.File(ctx, file, given)
	if err == nil && f.tool() {
		err = p.envelope(o)
	} else if err == nil {
		err = p.printWorkflow(o)
	}
	return p.fail(ctx, f.tool(), readable(err))
}

// warnArgs tells a person of arguments that were forgotten or misspelt, which a run takes for empty ones and for additions.
func (p *program) warnArgs(file string, given value.Value) {
	if !p.verbose() {
		return
	}
	f, err := workflow.Load(file)
	if err != nil {
		return // the run says so
	}
	missing, unknown := f.Unmet(given)
	for _, name := range missing {
		p.complain(exitOK, "warning: the argument %s has no value: give one in --args-json, or a default in the file", value.VisibleLine(name))
	}
	for _, name := range unknown {
		p.complain(exitOK, "warning: the file names no argument %s", value.VisibleLine(name))
	}
}

func (p *program) planFile(shell *flow.Shell, file string, given value.Value) error {
	w, err := workflow.Load(file)
	if err != nil {
		return readable(err)
	}
	return workflow.Plan(p.err, w, given, shell.Env.Commands)
}

// readable makes the error of a file that cannot be read at all one of usage.
func readable(err error) error {
	if access, ok := errors.AsType[*workflow.AccessError](err); ok {
		return &flow.ParseError{Err: access}
	}
	return err
}

func (p *program) badArgs(f runFlags) int {
	const text = "run --args-json must be valid JSON"
	if f.tool() {
		return p.failTool(exitUsage, "parse_error", errors.New(text))
	}
	return p.complain(exitUsage, "%s", text)
}

// fail reports the error, if there is one, the way the mode asks for, and returns the exit code.
func (p *program) fail(ctx context.Context, tool bool, err error) int {
	if err == nil {
		return exitOK
	}
	kind, code := errorKind(err)
	code, shown := ending(ctx, err, code)
	if tool {
		return p.failTool(code, kind, shown)
	}
	prefix := "Error: "
	if code == exitUsage {
		prefix = "Parse error: "
	}
	text := p.masked(prefix + shown.Error() + "\n" + p.where(shown))
	if p.verbose() {
		text = value.Visible(text)
	}
	_, _ = io.WriteString(p.err, text)
	return code
}
