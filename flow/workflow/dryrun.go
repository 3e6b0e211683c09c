package workflow

import (
	"fmt"
	"io"
	"strings"
	"time"

	"lobstah/flow/interp"
	"lobstah/flow/syntax"
	"lobstah/flow/value"
)

// Plan writes what a run would do, as far as it is known before any step has run: arguments are filled in, approvals count as given, and
// outputs are unknown. It executes nothing and opens no other file.
func Plan(w io.Writer, f *File, provided value.Value, commands *interp.Registry) error {
	p := &planner{commands: commands, scope: scope{resolveArgs(f, provided), &results{}}}
	plural := "s"
	if len(f.Steps) == 1 {
		plural = ""
	}
	p.line(0, "[DRY RUN] Would execute %d step%s:\n", len(f.Steps), plural)
	for i, s := range f.Steps {
		if err := p.step(i+1, s); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, value.Visible(p.out.String()))
	return err
}

type planner struct {
	out      strings.Builder
	commands *interp.Registry
	scope    scope
}

const unknownOutput = "  [contains step output refs — unknown at plan time]"

func (p *planner) line(indent int, format string, args ...any) {
	p.out.WriteString(strings.Repeat(" ", indent))
	fmt.Fprintf(&p.out, format, args...)
	p.out.WriteByte('\n')
}

func (p *planner) done() *results { return p.scope.steps.(*results) }

func (p *planner) step(n int, s *Step) error {
	goOn, err := p.scope.allows(s.When)
	if err != nil {
		return err
	}
	if !goOn {
		p.line(2, "%d. %s  [skipped — condition: false]", n, s.ID)
		p.done().set(s.ID, value.Record(value.F("id", value.String(s.ID)), value.F("skipped", value.True)))
		return nil
	}
	p.line(2, "%d. %s  [%s]", n, s.ID, s.Kind)
	if err := p.kind(s); err != nil {
		return err
	}
	if err := p.stdin(s); err != nil {
		return err
	}
	p.resilience(s)
	p.done().set(s.ID, plannedResult(s))
	return nil
}

// plannedResult is what a step leaves behind in a plan: nothing but a given approval.
func plannedResult(s *Step) value.Value {
	var b value.Builder
	b.Set("id", value.String(s.ID))
	if s.Gate != nil {
		b.Set("approved", value.True)
	}
	return b.Value()
}

func (p *planner) kind(s *Step) error {
	switch s.Kind {
	case Shell:
		p.text("run", s.Text)
	case Pipeline:
		return p.pipeline(s)
	case Parallel:
		return p.branches(s)
	case ForEach:
		return p.loop(s)
	case Nested:
		p.text("workflow", s.Path)
		if o, ok := s.PathArgs.AsObject(); ok && o.Len() > 0 {
			p.line(5, "args: %s", strings.Join(o.Keys(), ", "))
		}
	case Question:
		p.line(5, "prompt: %s", s.Input.Prompt)
		p.line(5, "[input required]")
	}
	return nil
}

// fill puts in what is known: arguments and approvals. The second result says that a reference is left.
func (p *planner) fill(text string) (string, bool) { return p.fillSteps(p.scope.fillArgs(text)) }

func (p *planner) fillSteps(text string) (string, bool) {
	text = stepRef.ReplaceAllStringFunc(text, func(m string) string {
		id, path, _ := strings.Cut(m[1:], ".")
		if v, ok := p.scope.steps.get(id); ok && path == "approved" {
			return inText(orFalse(path, v.Field(path)))
		}
		return m
	})
	return text, stepRef.MatchString(text)
}

func (p *planner) text(label, text string) {
	text, unknown := p.fill(text)
	p.line(5, "%s: %s%s", label, text, ifUnknown(unknown))
}

func ifUnknown(unknown bool) string {
	if unknown {
		return unknownOutput
	}
	return ""
}

func (p *planner) pipeline(s *Step) error {
	p.text("pipeline", s.Text)
	deferred, err := p.checkPipeline(s.Text, "Workflow step "+s.ID+" pipeline references unknown command: ")
	if deferred {
		p.line(5, "[command validation deferred — stage name depends on step output]")
	}
	return err
}

// checkPipeline parses a pipeline and looks its commands up. Names that depend on outputs cannot be looked up yet.
func (p *planner) checkPipeline(text, unknownPrefix string) (deferred bool, err error) {
	filled, _ := p.fill(text)
	parsed, err := syntax.Parse(filled)
	if err != nil {
		return false, err
	}
	for _, stage := range parsed.Stages {
		if p.dependsOnStep(stage.Name) {
			deferred = true
			continue
		}
		if _, ok := p.commands.Lookup(stage.Name); !ok {
			return deferred, plainError(unknownPrefix + stage.Name)
		}
	}
	return deferred, nil
}

// dependsOnStep tells whether a stage's name holds the output of an earlier step.
func (p *planner) dependsOnStep(name string) bool {
	for _, ref := range stepRef.FindAllString(name, -1) {
		id, _, _ := strings.Cut(ref[1:], ".")
		if _, ok := p.scope.steps.get(id); ok {
			return true
		}
	}
	return false
}

func (p *planner) branches(s *Step) error {
	wait := "all"
	if s.Branches.Any {
		wait = "any"
	}
	p.line(5, "wait: %s", wait)
	if s.Branches.Timeout > 0 {
		p.line(5, "timeout: %dms", s.Branches.Timeout.Milliseconds())
	}
	for _, b := range s.Branches.List {
		text, unknown := p.fill(b.Text)
		p.line(5, "branch %s: [%s] %s%s", b.ID, b.Kind, text, ifUnknown(unknown))
		if b.Kind != Pipeline {
			continue
		}
		if _, err := p.checkPipeline(b.Text, "Parallel branch "+b.ID+" pipeline references unknown command: "); err != nil {
			return err
		}
	}
	for _, b := range s.Branches.List {
		p.done().set(b.ID, plannedResult(b))
	}
	return nil
}

func (p *planner) loop(s *Step) error {
	l := s.Loop
	text, unknown := p.fillSteps(l.Over)
	if ref, ok := asReference(l.Over); ok {
		if _, err := p.scope.strict(ref); err != nil {
			return plainError("Workflow step " + s.ID + " for_each: " + err.Error())
		}
	}
	p.line(5, "for_each: %s%s", text, ifUnknown(unknown))
	p.line(5, "item_var: %s, index_var: %s", l.Item, l.Index)
	if l.hasBatch {
		p.line(5, "batch_size: %d", l.Batch)
	}
	if l.Pause > 0 {
		p.line(5, "pause_ms: %s", inMillis(l.Pause))
	}
	p.line(5, "sub-steps: %d", len(l.Steps))
	own := &results{}
	for _, name := range []string{l.Item, l.Index} {
		own.set(name, value.Record(value.F("id", value.String(name))))
	}
	sub := &planner{commands: p.commands, scope: scope{p.scope.args, inner{own, p.scope.steps}}}
	for i, step := range l.Steps {
		if err := sub.subStep(i+1, s, step, own); err != nil {
			return err
		}
	}
	p.out.WriteString(sub.out.String())
	return nil
}

func (p *planner) subStep(n int, loop, s *Step, own *results) error {
	goOn, err := p.scope.allows(s.When)
	if err != nil {
		return err
	}
	if !goOn {
		p.line(7, "%d. %s  [skipped — condition: false]", n, s.ID)
		own.set(s.ID, value.Record(value.F("id", value.String(s.ID)), value.F("skipped", value.True)))
		return nil
	}
	if text, ok := s.Stdin.AsString(); ok {
		if ref, isRef := asReference(text); isRef {
			if _, err := p.scope.strict(ref); err != nil {
				return plainError("Workflow step " + loop.ID + " for_each sub-step " + s.ID + " stdin: " + err.Error())
			}
		}
	}
	label := "run"
	if s.Kind == Pipeline {
		label = "pipeline"
		if _, err := p.checkPipeline(s.Text, "Workflow step "+loop.ID+" for_each sub-step "+s.ID+" pipeline: unknown command: "); err != nil {
			return err
		}
	}
	text, _ := p.fill(s.Text)
	p.line(7, "%d. %s  [%s] %s: %s", n, s.ID, s.Kind, label, text)
	own.set(s.ID, plannedResult(s))
	return nil
}

func (p *planner) stdin(s *Step) error {
	text, ok := s.Stdin.AsString()
	if !ok || s.Kind == Question {
		return nil
	}
	if ref, isRef := asReference(text); isRef {
		if _, err := p.scope.strict(ref); err != nil {
			return plainError("Workflow step " + s.ID + " stdin: " + err.Error())
		}
		p.line(5, "stdin: %s  [output unknown at plan time]", value.Trim(text))
		return nil
	}
	if filled, unknown := p.fill(text); unknown {
		p.line(5, "stdin: %s%s", filled, unknownOutput)
	}
	return nil
}

func (p *planner) resilience(s *Step) {
	if s.Timeout > 0 {
		p.line(5, "timeout: %dms", s.Timeout.Milliseconds())
	}
	if s.OnError != Stop {
		p.line(5, "on_error: %s", s.OnError)
	}
	if s.Retry.Max > 1 {
		backoff, jitter := "fixed", ""
		if s.Retry.Exponential {
			backoff = "exponential"
		}
		if s.Retry.Jitter {
			jitter = ", jitter"
		}
		p.line(5, "retry: up to %d attempts, %s backoff (base: %sms%s)", s.Retry.Max, backoff, inMillis(s.Retry.Delay), jitter)
	}
	if s.Gate != nil {
		p.line(5, "[approval required]")
	}
}

// inMillis is a duration as a number of milliseconds.
func inMillis(d time.Duration) string {
	return value.FormatNumber(float64(d) / float64(time.Millisecond))
}
