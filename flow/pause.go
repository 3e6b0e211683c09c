package flow

import (
	"errors"
	"math"
	"time"

	"lobstah/flow/syntax"
	"lobstah/flow/value"
)

// The words of a pipeline's resume state.
const (
	approvalRequest = "approval_request"
	inputRequest    = "input_request"
	nextStage       = "next_stage"
	sameStage       = "same_stage"
)

var (
	errBadPause        = errors.New("Invalid pipeline resume state")
	errPauseGone       = errors.New("Pipeline resume state not found")
	errTooMuchToReplay = errors.New("requestInput cannot keep more than 64 MiB of items for its stage; ask before collecting so much")
)

// pause is a paused pipeline, as its document holds it. A document is hostile until it was read by readPause.
type pause struct {
	run          string          // id in the journal; "" if the original program wrote the document
	dir          string          // where it paused; "" if unknown
	pipeline     syntax.Pipeline // what was left of it when the run began
	next         int             // stage to go on with
	items        []value.Value
	kind         string // approvalRequest or inputRequest
	prompt       value.Value
	mode         string // of an input: the answer goes to the next stage, or to the one that asked
	schema       value.Value
	commandInput value.Value
	superseded   []string
}

func (p pause) document(now time.Time) []byte {
	var b value.Builder
	b.Set("pipeline", p.pipeline.Value())
	b.Set("resumeAtIndex", value.Int(p.next))
	b.Set("items", value.List(p.items...))
	b.Set("haltType", value.String(p.kind))
	b.Set("prompt", p.prompt)
	b.Set("createdAt", value.String(now.UTC().Format("2006-01-02T15:04:05.000Z")))
	b.Set("supersededResumeStateKeys", value.Strings(p.superseded))
	if p.mode != "" {
		b.Set("resumeMode", value.String(p.mode))
	}
	if !p.schema.IsUndefined() {
		b.Set("inputSchema", p.schema)
	}
	if !p.commandInput.IsUndefined() {
		b.Set("commandInput", p.commandInput)
	}
	b.Set("runId", value.String(p.run))
	b.Set("workdir", value.String(p.dir))
	return append(value.AppendIndent(nil, b.Value(), ""), '\n')
}

func readPause(doc []byte) (pause, error) {
	v, err := value.Parse(string(doc))
	if err != nil {
		return pause{}, err
	}
	if v.IsNull() {
		return pause{}, errPauseGone
	}
	p := pause{prompt: v.Field("prompt"), schema: v.Field("inputSchema"), commandInput: v.Field("commandInput")}
	next, _ := v.Field("resumeAtIndex").AsNumber()
	var okPipeline, okItems bool
	p.pipeline, okPipeline = syntax.FromValue(v.Field("pipeline"))
	p.items, okItems = v.Field("items").AsList()
	if p.kind, _ = v.Field("haltType").AsString(); v.Field("haltType").IsUndefined() {
		p.kind = approvalRequest
	}
	p.run, _ = v.Field("runId").AsString()
	p.dir, _ = v.Field("workdir").AsString()
	if p.mode, _ = v.Field("resumeMode").AsString(); v.Field("resumeMode").IsUndefined() {
		p.mode = nextStage
	}
	if !okPipeline || !okItems || v.Field("resumeAtIndex").Kind() != value.KindNumber || next != math.Trunc(next) || next < 0 || next > float64(len(p.pipeline.Stages)) {
		return pause{}, errBadPause
	}
	if (p.kind != approvalRequest && p.kind != inputRequest) || (p.mode != nextStage && p.mode != sameStage) {
		return pause{}, errBadPause
	}
	if !p.isWhole() || !p.readSuperseded(v.Field("supersededResumeStateKeys")) {
		return pause{}, errBadPause
	}
	p.next = int(next)
	return p, nil
}

// isWhole reports whether what belongs to the kind of pause is there, and nothing else.
func (p *pause) isWhole() bool {
	asks := p.kind == inputRequest
	if asks && p.schema.IsUndefined() || !asks && p.mode == sameStage {
		return false
	}
	return p.commandInput.IsUndefined() == (p.mode != sameStage)
}

// readSuperseded takes the pauses that this one replaced; older documents have none.
func (p *pause) readSuperseded(v value.Value) bool {
	if v.IsUndefined() {
		return true
	}
	keys, ok := v.AsList()
	for _, k := range keys {
		key, isText := k.AsString()
		ok = ok && isText
		p.superseded = append(p.superseded, key)
	}
	return ok
}
