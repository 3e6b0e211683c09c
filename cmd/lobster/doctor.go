package main

import (
	"context"

	"lobstah/flow"
	"lobstah/flow/interp"
	"lobstah/flow/value"
	"lobstah/flow/workflow"
)

// doctor proves that a pipeline can run a shell, and repeats the notes.
func (p *program) doctor(notes []string) int {
	ctx, stop := withSignals(context.Background())
	defer stop()
	if err := p.probe(ctx); err != nil {
		code, shown := ending(ctx, err, exitFailed)
		return p.failTool(code, "doctor_error", shown)
	}
	fields := []value.Field{value.F("toolMode", value.True), value.F("protocolVersion", value.Int(1)), value.F("version", value.String(version))}
	if len(notes) > 0 {
		fields = append(fields, value.F("notes", value.Strings(notes)))
	}
	err := p.envelope(flow.Outcome{Status: workflow.OK, Output: interp.Items(value.Record(fields...))})
	return p.fail(ctx, true, err)
}

func (p *program) probe(ctx context.Context) error {
	shell, err := p.open(interp.Tool)
	if err != nil {
		return err
	}
	o, err := shell.Pipeline(ctx, "exec --json --shell 'echo [1]'")
	if err != nil {
		return err
	}
	return interp.Drain(o.Output)
}
