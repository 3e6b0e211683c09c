package main

import (
	"encoding/json"
	"slices"
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/stdlib"
	"lobstah/flow/workflow"
)

const checkHelp = `Usage: lobster check [--strict] [--json] FILE...

Says what is wrong or risky in workflow files, without running them: place, line and hint. Exit code 1 if a run would be refused, with --strict
also for warnings.
  lobster check deploy.lobster
  lobster check --json *.lobster
`

// finding is one line of --json.
type finding struct {
	File string `json:"file"`
	workflow.Problem
}

func (p *program) check(args []string) int {
	var files []string
	strict, asJSON := false, false
	for _, a := range args {
		switch {
		case a == "-h" || a == "--help":
			return p.print(checkHelp)
		case a == "--strict":
			strict = true
		case a == "--json":
			asJSON = true
		case strings.HasPrefix(a, "-"):
			return p.misuse(checkHelp, "unknown flag %s", a)
		default:
			files = append(files, a)
		}
	}
	if len(files) == 0 {
		return p.misuse(checkHelp, "check needs a workflow file")
	}
	return p.report(files, strict, asJSON)
}

func (p *program) report(files []string, strict, asJSON bool) int {
	commands := interp.NewRegistry(stdlib.Commands()...)
	code := exitOK
	for _, file := range files {
		problems, source, err := workflow.Check(file, commands)
		if err != nil {
			code = p.complain(exitFailed, "error: %v", err)
			continue
		}
		if slices.ContainsFunc(problems, func(f workflow.Problem) bool { return strict || f.Severity == workflow.Fault }) {
			code = exitFailed
		}
		for _, problem := range problems {
			if !asJSON {
				p.print(problem.Report(file, source))
				continue
			}
			line, err := json.Marshal(finding{file, problem})
			if err != nil {
				return p.complain(exitFailed, "error: %v", err)
			}
			p.print(string(line) + "\n")
		}
	}
	return code
}

// misuse explains how a subcommand is called.
func (p *program) misuse(help, format string, args ...any) int {
	usage, _, _ := strings.Cut(help, "\n")
	p.complain(exitUsage, "error: "+format, args...)
	return p.complain(exitUsage, "hint: %s", strings.ToLower(usage[:1])+usage[1:])
}

const schemaHelp = `Usage: lobster schema

Prints the JSON Schema of workflow files, for editors that check YAML and JSON while it is written.
  lobster schema > workflow.schema.json
Then let the first line of a workflow file be: # yaml-language-server: $schema=./workflow.schema.json
`

// schema prints the JSON Schema of workflow files.
func (p *program) schema(args []string) int {
	switch {
	case len(args) == 0:
		return p.print(strings.TrimSpace(workflow.Schema) + "\n")
	case args[0] == "-h" || args[0] == "--help":
		return p.print(schemaHelp)
	}
	return p.misuse(schemaHelp, "schema takes no arguments")
}
