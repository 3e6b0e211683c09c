package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lobstah/flow"
	"lobstah/flow/interp"
	"lobstah/flow/secret"
	"lobstah/flow/syntax"
	"lobstah/flow/value"
)

// The exit codes; a signal gives 128 and its number.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// program is one call of the command.
type program struct {
	args     []string
	environ  []string
	in       *os.File
	out, err io.Writer
	keep     func() interp.Spool // where output waits until the run has succeeded; open sets it
	secrets  *secret.Mask        // open sets it
}

// main runs the program that it was called as and returns the exit code.
func (p *program) main(name string) int {
	switch base := strings.TrimSuffix(filepath.Base(name), ".exe"); base {
	case "openclaw.invoke", "clawd.invoke":
		return p.shim(base)
	}
	return p.dispatch()
}

// shim runs one command whose words are this program's.
func (p *program) shim(command string) int {
	words := []string{command}
	for _, a := range p.args {
		words = append(words, quoteWord(a))
	}
	return p.run([]string{strings.Join(words, " ")})
}

func quoteWord(w string) string {
	if strings.HasPrefix(w, "--") {
		if name, text, ok := strings.Cut(w, "="); ok {
			return syntax.Quote(name+"=") + syntax.Quote(text)
		}
	}
	return syntax.Quote(w)
}

// extras are the subcommands that the original lacks. They count only where the words could not be meant as a pipeline: no pipeline
// command has one of these names.
func (p *program) extras() map[string]func([]string) int {
	return map[string]func([]string) int{
		"check": p.check, "fmt": p.format, "approvals": p.approvals, "log": p.log, "repl": p.repl, "schema": p.schema,
	}
}

func (p *program) dispatch() int {
	isHelp := func(a string) bool { return a == "-h" || a == "--help" }
	if len(p.args) == 0 {
		return p.help(nil)
	}
	first, rest := p.args[0], p.args[1:]
	extra := p.extras()[first]
	switch {
	case first == "graph":
		return p.graph(rest)
	case extra != nil:
		return extra(rest)
	case slices.ContainsFunc(p.args, isHelp):
		return p.help(nil)
	}
	switch first {
	case "help":
		return p.help(rest)
	case "version", "--version", "-v":
		return p.print(version + "\n")
	case "doctor":
		return p.doctor(rest)
	case "run":
		return p.run(rest)
	case "resume":
		return p.resume(rest)
	}
	return p.run(p.args)
}

// print writes text to stdout.
func (p *program) print(text string) int {
	if _, err := io.WriteString(p.out, text); err != nil {
		return exitFailed
	}
	return exitOK
}

// complain writes a line to stderr and returns the code.
func (p *program) complain(code int, format string, args ...any) int {
	fmt.Fprintf(p.err, format+"\n", args...)
	return code
}

// masked takes the environment's secrets, and those of the run, out of a text.
func (p *program) masked(text string) string {
	mask := p.secrets
	if mask == nil { // nothing was opened
		mask = secret.FromEnviron(p.environ)
	}
	return value.Clean(mask.Text(text))
}

// open returns the shell for this process.
func (p *program) open(mode interp.Mode) (*flow.Shell, error) {
	shell, err := flow.Open(p.environ, mode, flow.Streams{In: p.in, Out: p.out, Err: p.err})
	if err == nil {
		p.keep, p.secrets = shell.Env.Keep, shell.Secrets
	}
	return shell, err
}

// setting returns an environment variable.
func (p *program) setting(name string) string {
	for _, e := range slices.Backward(p.environ) {
		if text, ok := strings.CutPrefix(e, name+"="); ok {
			return text
		}
	}
	return ""
}

// on reports whether a switch in the environment is on.
func (p *program) on(name string) bool {
	v := p.setting(name)
	return v == "1" || v == "true"
}
