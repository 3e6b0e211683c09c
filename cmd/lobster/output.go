package main

import (
	"errors"
	"io"

	"lobstah/flow"
	"lobstah/flow/interp"
	"lobstah/flow/value"
	"lobstah/flow/workflow"
)

// envelope writes the answer of tool mode for a run that did not fail. Rendered items are not repeated in it.
func (p *program) envelope(o flow.Outcome) error {
	s := p.keep()
	defer s.Close() //nolint:errcheck // only forgets what was printed or failed
	head := "{\n  \"protocolVersion\": 1,\n  \"ok\": true,\n  \"status\": " + value.String(string(o.Status)).JSON() + ",\n  \"output\": "
	if _, err := io.WriteString(s, head); err != nil {
		return err
	}
	if _, err := interp.WriteList(s, o.Output, "  "); err != nil {
		return err
	}
	tail := ",\n  \"requiresApproval\": " + request(o.Approval) + ",\n  \"requiresInput\": " + request(o.Input) + p.meta(o) + "\n}\n"
	if _, err := io.WriteString(s, tail); err != nil {
		return err
	}
	return s.CopyTo(p.out)
}

func request(v value.Value) string {
	if v.IsUndefined() {
		return "null"
	}
	return string(value.AppendIndent(nil, v, "  "))
}

// meta is what LOBSTER_META=1 adds to the envelope: what models cost.
func (p *program) meta(o flow.Outcome) string {
	if !p.on("LOBSTER_META") {
		return ""
	}
	return ",\n  \"_meta\": " + string(value.AppendIndent(nil, value.Record(value.F("cost", o.Cost.Value())), "  "))
}

// printPipeline writes a pipeline's items for a person.
func (p *program) printPipeline(o flow.Outcome) error {
	if o.Rendered {
		return interp.Drain(o.Output)
	}
	s := p.keep()
	defer s.Close() //nolint:errcheck // only forgets what was printed or failed
	if _, err := interp.WriteList(s, o.Output, ""); err != nil {
		return err
	}
	if _, err := io.WriteString(s, "\n"); err != nil {
		return err
	}
	return s.CopyTo(p.out)
}

// printWorkflow writes a workflow's result for a person: its request if it waits, its items if it has any.
func (p *program) printWorkflow(o flow.Outcome) error {
	if o.Status != workflow.OK {
		doc := value.Record(value.F("status", value.String(string(o.Status))), value.F("output", value.List()),
			value.F("requiresApproval", orNull(o.Approval)), value.F("requiresInput", orNull(o.Input)))
		_, err := io.WriteString(p.out, doc.Pretty()+"\n")
		return err
	}
	s := p.keep()
	defer s.Close() //nolint:errcheck // only forgets what was printed or failed
	if n, err := interp.WriteList(s, o.Output, ""); err != nil || n == 0 {
		return err
	}
	if _, err := io.WriteString(s, "\n"); err != nil {
		return err
	}
	return s.CopyTo(p.out)
}

func orNull(v value.Value) value.Value {
	if v.IsUndefined() {
		return value.Null
	}
	return v
}

// failTool writes the envelope of an error and returns the exit code.
func (p *program) failTool(code int, kind string, err error) int {
	doc := value.Record(value.F("protocolVersion", value.Int(1)), value.F("ok", value.False),
		value.F("error", value.Record(value.F("type", value.String(kind)), value.F("message", value.String(p.masked(err.Error()))))))
	if _, err := io.WriteString(p.out, doc.Pretty()+"\n"); err != nil {
		return exitFailed
	}
	if p.on("LOBSTER_STRICT_TOOL") && code < 128 {
		return exitOK // the envelope says it all, and some callers drop it otherwise
	}
	return code
}

// errorKind returns the envelope's type and the exit code of an error.
func errorKind(err error) (kind string, code int) {
	if _, ok := errors.AsType[*flow.ParseError](err); ok {
		return "parse_error", exitUsage
	}
	return "runtime_error", exitFailed
}
