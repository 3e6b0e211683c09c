package interp

import "lobstah/flow/value"

// Limits of what is kept for a suspended stage.
const (
	MaxReplayItems = 1_000_000
	MaxReplayBytes = 64 << 20 // as JSON text
)

// Suspension is the error with which a stage says that it needs an answer. The run is resumed by running the pipeline again from
// Stage with Items as input and the answer as Options.Response.
type Suspension struct {
	Stage   int
	Name    string
	Items   []value.Value // the stage's input
	Request InputRequest
}

func (*Suspension) Error() string { return "the pipeline waits for input" }

// InputRequest is a question to a person.
type InputRequest struct {
	Prompt   string
	Schema   value.Value // JSON Schema of the answer
	Defaults value.Value // shown, never applied; Undefined if there are none
	Subject  value.Value // what the question is about; Undefined if there is none
}

// metadata is the part of a request that must be the same when it is asked again.
func (r InputRequest) metadata() *value.Builder {
	b := new(value.Builder)
	b.Set("prompt", value.String(r.Prompt))
	b.Set("responseSchema", r.Schema)
	if !r.Defaults.IsUndefined() {
		b.Set("defaults", r.Defaults)
	}
	if !r.Subject.IsUndefined() {
		b.Set("subject", r.Subject)
	}
	return b
}

// Signature is the canonical JSON of the request.
func (r InputRequest) Signature() string { return value.Canonical(r.metadata().Value()) }

// CommandInput is the request as resume state files hold it, under commandInput.
func (s *Suspension) CommandInput() value.Value {
	meta := s.Request.metadata()
	meta.Set("signature", value.String(s.Request.Signature()))
	// What the original needs to recognise the request when the stage runs again, in place of the items.
	suspended := value.Record(value.F("type", value.String(s.Name)), value.F("subject", s.Request.Subject))
	pending := value.Record(value.F("requestIndex", value.Int(0)), value.F("metadata", meta.Value()), value.F("suspendedState", suspended))
	return value.Record(value.F("pending", pending), value.F("history", value.List()))
}

// Fits reports whether the items are few and small enough to be kept.
func (s *Suspension) Fits() bool {
	return len(s.Items) <= MaxReplayItems && len(value.List(s.Items...).JSON()) <= MaxReplayBytes
}
