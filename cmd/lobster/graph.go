package main

import (
	"cmp"
	"slices"
	"strings"

	"lobstah/flow/value"
	"lobstah/flow/workflow"
)

const graphHelp = `Usage: lobster graph FILE [--format mermaid|dot|ascii] [--args-json OBJECT]

Draws the steps of a workflow file and what passes between them. Mermaid is the default:
  lobster graph deploy.lobster
  lobster graph --file deploy.lobster --format dot | dot -Tsvg > deploy.svg
`

func (p *program) graph(args []string) int {
	file, format, argsJSON := "", workflow.Formats[0], ""
	for i := 0; i < len(args); i++ {
		name, text, hasText := strings.Cut(args[i], "=")
		switch name {
		case "-h", "--help":
			return p.print(graphHelp)
		case "--file", "--format", "--args-json":
			if !hasText {
				if i++; i < len(args) {
					text = args[i]
				}
			}
		default:
			if file == "" && !strings.HasPrefix(args[i], "-") {
				file = args[i]
			}
			continue
		}
		switch name {
		case "--file":
			file = text
		case "--format":
			format = cmp.Or(workflow.Format(text), workflow.Formats[0])
		case "--args-json":
			argsJSON = text
		}
	}
	return p.draw(file, format, argsJSON)
}

func (p *program) draw(file string, format workflow.Format, argsJSON string) int {
	given := value.Undefined
	switch {
	case file == "":
		return p.complain(exitUsage, "graph requires a workflow file path (use --file <path>)")
	case !slices.Contains(workflow.Formats, format):
		return p.complain(exitUsage, "graph --format must be one of: mermaid, dot, ascii")
	}
	if argsJSON != "" {
		var err error
		if given, err = value.Parse(argsJSON); err != nil {
			return p.complain(exitUsage, "graph --args-json must be valid JSON")
		}
		if given.Kind() != value.KindObject {
			return p.complain(exitUsage, "graph --args-json must be a JSON object")
		}
	}
	f, err := workflow.Load(file)
	if err != nil {
		return p.complain(exitFailed, "Error: %v", err)
	}
	text, err := workflow.Graph(f, given, format)
	if err != nil {
		return p.complain(exitFailed, "Error: %v", err)
	}
	return p.print(strings.TrimSuffix(text, "\n") + "\n")
}
