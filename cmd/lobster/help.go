package main

import (
	"fmt"
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/stdlib"
)

const generalHelp = `lobster runs pipelines of JSON values and workflow files that stop for a person's approval.

Usage:
  lobster 'PIPELINE'                          run a pipeline (the same as lobster run 'PIPELINE')
  lobster run [--mode tool] FILE              run a workflow file (.lobster .yaml .yml .json)
  lobster run --file FILE --args-json OBJECT  the same, with arguments
  lobster run --dry-run ...                   say what would run, and run nothing
  lobster resume --token T --approve yes|no   answer a run that waits for approval (or --id ID)
  lobster resume --token T --response-json J  answer a run that waits for input
  lobster resume --token T --cancel           give a waiting run up
  lobster graph FILE [--format mermaid|dot|ascii]
  lobster check FILE                          find what is wrong or risky in a workflow file
  lobster fmt FILE                            print a workflow file in its one form (-w writes it)
  lobster approvals                           list the runs that wait for a person
  lobster log                                 list past runs (lobster log RUN for its steps)
  lobster repl                                try pipelines line by line
  lobster schema                              print the JSON Schema of workflow files, for editors
  lobster doctor | version | help [COMMAND]

Modes: human (default) prints for people; tool prints one JSON envelope and pauses instead of asking.

Examples:
  lobster "exec --json 'gh pr list --json number,title' | where 'number>100' | table"
  lobster "exec --json 'cat drafts.json' | approve --prompt 'Send these?' | gog.gmail.send"

Commands of pipelines (lobster help COMMAND tells more):
`

// help prints the general help or that of one command.
func (p *program) help(words []string) int {
	registry := interp.NewRegistry(stdlib.Commands()...)
	if len(words) == 0 || words[0] == "" {
		return p.print(generalHelp + commandTable(registry))
	}
	c, ok := registry.Lookup(words[0])
	if extra := p.extras()[words[0]]; extra != nil && !ok {
		return extra([]string{"--help"})
	}
	if !ok {
		return p.complain(exitUsage, "Unknown command: %s", words[0])
	}
	return p.print(commandHelp(c))
}

func commandTable(r *interp.Registry) string {
	var b strings.Builder
	for _, c := range r.All() {
		fmt.Fprintf(&b, "  %-20s %s\n", c.Name, c.Description)
	}
	return b.String()
}

func commandHelp(c interp.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\nUsage:\n", c.Name, c.Description)
	for line := range strings.SplitSeq(c.Help, "\n") {
		b.WriteString(strings.TrimRight("  "+line, " ") + "\n")
	}
	heading := "\nFlags:\n"
	for _, param := range c.Params {
		if param.Name != "_" {
			fmt.Fprintf(&b, "%s  --%-31s %s\n", heading, param.Name+" "+strings.ToUpper(param.Type), param.Description)
			heading = ""
		}
	}
	if len(c.SideEffects) > 0 {
		fmt.Fprintf(&b, "\nEffects: %s\n", strings.Join(c.SideEffects, ", "))
	}
	return b.String()
}
