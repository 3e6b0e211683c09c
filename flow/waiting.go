package flow

import (
	"context"
	"time"

	"lobstah/flow/state"
	"lobstah/flow/value"
	"lobstah/flow/workflow"
)

// What a waiting run asks for.
const (
	AsksApproval = "approval"
	AsksInput    = "input"
)

// Waiting is a run that waits for a person, and what would happen next.
type Waiting struct {
	Kind       state.Kind
	ApprovalID string // empty where there is none
	Token      string
	Since      time.Time
	Asks       string // AsksApproval or AsksInput
	Prompt     string
	Target     string      // the workflow file, or "pipeline"
	Items      value.Value // what the question is about; Undefined if nothing
	Next       []string    // the stages or steps that would follow
	Warnings   []string
}

// Waiting lists the runs that wait, oldest first. Runs whose documents cannot be read are listed with a warning.
func (s *Shell) Waiting(ctx context.Context) ([]Waiting, error) {
	all, err := s.Pauses.Waiting(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Waiting, len(all))
	for i, w := range all {
		out[i] = describeWaiting(w)
	}
	return out, nil
}

func describeWaiting(w state.Waiting) Waiting {
	out := Waiting{Kind: w.Kind, ApprovalID: w.ApprovalID, Token: w.Token, Since: w.Since, Asks: AsksApproval, Target: "pipeline"}
	doc, err := value.Parse(string(w.Document))
	if err != nil {
		out.Warnings = []string{"its state cannot be read: " + err.Error()}
		return out
	}
	if w.Kind == state.Workflow {
		out.fromWorkflow(doc)
		return out
	}
	out.fromPipeline(w.Document)
	return out
}

func (w *Waiting) fromPipeline(doc []byte) {
	p, err := readPause(doc)
	if err != nil {
		w.Warnings = []string{err.Error()}
		return
	}
	if p.kind == inputRequest {
		w.Asks = AsksInput
	}
	w.Prompt = value.Text(p.prompt)
	w.Items = value.List(p.items...)
	for _, stage := range p.pipeline.From(p.next).Stages {
		w.Next = append(w.Next, stage.Redacted())
	}
}

// fromWorkflow reads the file again, because its steps are not in the state.
func (w *Waiting) fromWorkflow(doc value.Value) {
	w.Target = value.Text(doc.Field("filePath"))
	step, isApproval := doc.Field("approvalStepId").AsString()
	if !isApproval {
		w.Asks = AsksInput
		step, _ = doc.Field("inputStepId").AsString()
	}
	w.Prompt = "step " + step // all that a state of the original tells
	request := doc.Field("request")
	w.Items = request.Field("items")
	if prompt := request.Field("prompt"); !prompt.IsUndefined() {
		w.Prompt = value.Text(prompt)
	}
	f, err := workflow.Load(w.Target)
	if err != nil {
		w.Warnings = []string{"its file cannot be read: " + err.Error()}
		return
	}
	switch approved, bound := doc.Field("binding").Field("file").AsString(); {
	case !bound:
		w.Warnings = []string{"the state does not say which text of the file was shown (the original program wrote it)"}
	case approved != f.Hash:
		w.Warnings = []string{"the file has changed since; resume will refuse it"}
	}
	w.Next = workflow.Upcoming(f, doc)
}

// Value is the waiting run as JSON.
func (w Waiting) Value() value.Value {
	return value.Record(
		value.F("approvalId", orUndefined(w.ApprovalID)), value.F("resumeToken", value.String(w.Token)), value.F("asks", value.String(w.Asks)),
		value.F("prompt", value.String(w.Prompt)), value.F("target", value.String(w.Target)), value.F("since", value.String(w.Since.UTC().Format(time.RFC3339))),
		value.F("items", w.Items), value.F("next", value.Strings(w.Next)), value.F("warnings", value.Strings(w.Warnings)),
	)
}

func orUndefined(text string) value.Value {
	if text == "" {
		return value.Undefined
	}
	return value.String(text)
}
