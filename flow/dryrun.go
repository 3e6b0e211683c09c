package flow

import (
	"fmt"
	"io"
	"strings"

	"lobstah/flow/syntax"
	"lobstah/flow/value"
)

// PlanPipeline writes what a pipeline would run. The error is a [*ParseError] if it cannot be read.
func (s *Shell) PlanPipeline(w io.Writer, text string) error {
	p, err := syntax.Parse(text)
	if err != nil {
		return &ParseError{err}
	}
	if name, unknown := s.Env.Commands.Unknown(p); unknown {
		return s.Env.Commands.Missing(name)
	}
	plural := "s"
	if len(p.Stages) == 1 {
		plural = ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[DRY RUN] Pipeline (%d stage%s):\n", len(p.Stages), plural)
	for i, stage := range p.Stages {
		fmt.Fprintf(&b, "  %d. %s", i+1, stage.Name)
		if args := planArgs(stage.Args); args != "" {
			b.WriteString("  args: " + args)
		}
		b.WriteByte('\n')
	}
	_, err = io.WriteString(w, value.Visible(b.String()))
	return err
}

func planArgs(args syntax.Args) string {
	var parts []string
	o, _ := args.Value().AsObject()
	for k, v := range o.All() {
		if words, isList := v.AsList(); isList && k == "_" {
			for _, w := range words {
				parts = append(parts, value.Text(w))
			}
			continue
		}
		parts = append(parts, k+"="+value.Text(v))
	}
	return strings.Join(parts, ", ")
}
