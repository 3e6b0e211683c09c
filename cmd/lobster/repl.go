package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"lobstah/flow"
	"lobstah/flow/interp"
	"lobstah/flow/stdlib"
	"lobstah/flow/syntax"
	"lobstah/flow/value"
)

const replHelp = `Usage: lobster repl

Runs each line as a pipeline. The items of the last line are the input of one that begins with a bar:
  > exec --json 'gh pr list --json number,title'
  > | where 'number>100'
  > | table
:help COMMAND explains a command, :quit (or the end of input) leaves.
`

// replLine caps a line.
const replLine = 1 << 20

// repl runs lines until the input ends. The exit code is that of the last line.
func (p *program) repl(args []string) int {
	if len(args) > 0 {
		if args[0] == "-h" || args[0] == "--help" {
			return p.print(replHelp)
		}
		return p.misuse(replHelp, "repl takes no arguments")
	}
	shell, err := p.open(interp.Human)
	if err != nil {
		return p.complain(exitFailed, "error: %v", err)
	}
	shell.Env.Ask = nil // the terminal's lines are ours
	s := session{program: p, shell: shell}
	lines := bufio.NewScanner(p.in)
	lines.Buffer(nil, replLine)
	for s.prompt(); lines.Scan(); s.prompt() {
		if !s.line(strings.TrimSpace(lines.Text())) {
			return s.code
		}
	}
	if err := lines.Err(); err != nil {
		return p.complain(exitFailed, "error: %v", err)
	}
	return s.code
}

// session is what a repl remembers between lines.
type session struct {
	*program
	shell *flow.Shell
	last  []value.Value
	code  int
}

func (s *session) prompt() { _, _ = io.WriteString(s.err, "> ") }

// line runs one line; false ends the session.
func (s *session) line(text string) bool {
	command, topic, _ := strings.Cut(text, " ")
	switch {
	case text == "":
	case command == ":quit" || command == ":q":
		return false
	case command == ":help":
		s.code = s.explain(strings.TrimSpace(topic))
	case strings.HasPrefix(command, ":"):
		s.code = s.complain(exitUsage, "error: unknown directive %s\nhint: :help, :help COMMAND, :quit", command)
	default:
		s.code = s.pipeline(text)
	}
	return true
}

func (s *session) explain(topic string) int {
	if topic == "" {
		return s.print(replHelp + "\n" + commandTable(interp.NewRegistry(stdlib.Commands()...)))
	}
	return s.help([]string{topic})
}

// pipeline runs a line and prints its items, which it keeps for the next one.
func (s *session) pipeline(text string) int {
	ctx, stop := withSignals(context.Background())
	defer stop()
	rest, goesOn := strings.CutPrefix(text, "|")
	var input []value.Value
	if goesOn {
		input = s.last
	}
	p, err := syntax.Parse(rest)
	if err != nil {
		if fault, ok := errors.AsType[*syntax.Error](err); ok {
			return s.complain(exitUsage, "error: %s", fault.Detail())
		}
		return s.complain(exitUsage, "error: %v", err)
	}
	env, release := s.shell.Env.Hold()
	defer release()
	res, err := interp.Run(ctx, env, p, interp.Options{Input: interp.Items(input...)})
	var items []value.Value
	if err == nil {
		items, err = env.Collect(res.Output)
	}
	if err != nil {
		code, shown := ending(ctx, err, exitFailed)
		return s.complain(code, "%s", strings.TrimSuffix(s.masked("error: "+shown.Error()+"\n"+replHint(shown)), "\n"))
	}
	if res.Rendered {
		return exitOK
	}
	s.last = items
	return s.print(value.List(items...).Pretty() + "\n")
}

// replHint is what helps with an error at the prompt, where people type words of other prompts, too.
func replHint(err error) string {
	if e, ok := errors.AsType[interp.UnknownCommandError](err); ok && slices.Contains([]string{"help", "quit", "exit", "q", "?"}, e.Name) {
		return "hint: :help, :help COMMAND, :quit\n"
	}
	return details(err)
}
