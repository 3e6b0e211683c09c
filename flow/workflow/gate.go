package workflow

import (
	"cmp"
	"context"
	"strings"

	"lobstah/flow/state"
	"lobstah/flow/value"
)

// previewUnits is how much of a step's output a request shows.
const previewUnits = 2000

// gateResult is the result of a step that is only a gate: what it reads.
func (r *runner) gateResult(s *Step, sc scope) (value.Value, error) {
	in, err := job{runner: r, scope: sc}.stdin(s)
	if err != nil || in.IsNullish() {
		return value.Record(value.F("id", value.String(s.ID))), err
	}
	if text, ok := in.AsString(); ok {
		return textResult(s.ID, text), nil
	}
	return value.Record(value.F("id", value.String(s.ID)), value.F("stdout", value.String(in.JSON())), value.F("json", in)), nil
}

// identity is who may approve.
type identity struct {
	initiatedBy      string
	requiredApprover string
	different        bool
}

// gate asks a person whether the run may go on.
func (r *runner) gate(ctx context.Context, s *Step, result value.Value) (*Outcome, error) {
	request, who := r.approvalRequest(s, result)
	if r.opts.Env.Interactive() {
		return nil, r.approveNow(ctx, s, result, value.Text(request.Field("prompt")), who)
	}
	if r.nested {
		return r.halted(NeedsApproval)
	}
	r.done.set(s.ID, result)
	doc := r.document(r.next + 1)
	doc.Set("approvalStepId", value.String(s.ID))
	if v, ok := who.value(); ok {
		doc.Set("approvalIdentity", v)
	}
	return r.pause(ctx, NeedsApproval, request, r.next+1, doc)
}

func (r *runner) approveNow(ctx context.Context, s *Step, result value.Value, prompt string, who identity) error {
	line, err := r.opts.Env.Ask(ctx, prompt+" [y/N] ")
	if err != nil {
		return fatal{err}
	}
	decision := "no"
	if a := strings.ToLower(value.Trim(line)); a == "y" || a == "yes" {
		decision = "yes"
	}
	by := r.approver()
	r.log(state.Event{Event: "approval", Step: s.ID, Prompt: prompt, Decision: decision, By: by})
	if decision == "no" {
		return fatal{plainError("Not approved")}
	}
	if err := who.admits(s.ID, by); err != nil {
		return fatal{err}
	}
	r.complete(s, approved(result, by, who))
	return nil
}

func (r *runner) approver() string {
	return value.Trim(r.opts.Env.Var("LOBSTER_APPROVAL_APPROVED_BY"))
}

// admits checks the approver against the policy.
func (w identity) admits(step, by string) error {
	prefix := "Workflow step " + step + " approval "
	switch {
	case w.requiredApprover == "" && !w.different:
		return nil
	case by == "":
		return Refusal(prefix + "requires approver identity; set LOBSTER_APPROVAL_APPROVED_BY")
	case w.requiredApprover != "" && by != w.requiredApprover:
		return Refusal(prefix + "requires approver '" + w.requiredApprover + "', got '" + by + "'")
	case w.different && by == w.initiatedBy:
		return Refusal(prefix + "must be granted by someone other than '" + w.initiatedBy + "'")
	}
	return nil
}

// approved is a step's result after a person said yes.
func approved(result value.Value, by string, who identity) value.Value {
	o, _ := result.AsObject()
	o = o.With("approved", value.True)
	if by != "" {
		o = o.With("approvedBy", value.String(by))
	}
	if who.initiatedBy != "" {
		o = o.With("initiatedBy", value.String(who.initiatedBy))
	}
	return value.FromObject(o)
}

// approvalRequest is what the person is shown, without token and id.
func (r *runner) approvalRequest(s *Step, result value.Value) (value.Value, identity) {
	who := r.identityOf(s.Gate)
	prompt, items, preview := value.String(s.Gate.prompt(s.ID)), gateItems(s.Gate, result), gatePreview(s.Gate, result)
	if own := ownRequest(result.Field("json")); !own.IsUndefined() {
		prompt, items, preview = own.Field("prompt"), own.Field("items"), own.Field("preview")
		if items.IsNullish() {
			items = value.List()
		}
		who.extend(own)
	}
	var b value.Builder
	b.Set("type", value.String("approval_request"))
	b.Set("prompt", prompt)
	b.Set("items", items)
	if preview.Truthy() {
		b.Set("preview", preview)
	}
	if v, ok := who.value(); ok {
		o, _ := v.AsObject()
		for k, f := range o.All() {
			b.Set(k, f)
		}
	}
	return b.Value(), who
}

func (g *Gate) prompt(id string) string {
	if g.Prompt != "" {
		return g.Prompt
	}
	return "Approve " + id + "?"
}

func gateItems(g *Gate, result value.Value) value.Value {
	if !g.Items.IsUndefined() {
		return g.Items
	}
	return listOf(result.Field("json"))
}

// listOf is a list as it is, nothing as an empty one, anything else as a list of one.
func listOf(v value.Value) value.Value {
	switch v.Kind() {
	case value.KindList:
		return v
	case value.KindUndefined:
		return value.List()
	}
	return value.List(v)
}

func gatePreview(g *Gate, result value.Value) value.Value {
	if g.Preview != "" {
		return value.String(g.Preview)
	}
	text, _ := result.Field("stdout").AsString()
	if text = value.Trim(text); text == "" {
		if json := result.Field("json"); !json.IsUndefined() {
			text = json.JSON()
		}
	}
	return value.String(value.Cut16(text, previewUnits))
}

// ownRequest is the request that a step's own JSON makes, Undefined when it makes none.
func ownRequest(json value.Value) value.Value {
	for _, v := range []value.Value{json.Field("requiresApproval"), json} {
		if v.Field("prompt").Truthy() {
			return v
		}
	}
	return value.Undefined
}

// identityOf is the policy of a gate: the file's, and for what it leaves open the environment's.
func (r *runner) identityOf(g *Gate) identity {
	who := identity{initiatedBy: g.InitiatedBy, requiredApprover: g.RequiredApprover}
	env := func(name string) string { return value.Trim(r.opts.Env.Var("LOBSTER_APPROVAL_" + name)) }
	if who.initiatedBy == "" {
		who.initiatedBy = env("INITIATED_BY")
	}
	if who.requiredApprover == "" {
		who.requiredApprover = env("REQUIRED_APPROVER")
	}
	switch strings.ToLower(env("REQUIRE_DIFFERENT_APPROVER")) {
	case "true", "1", "yes", "y":
		who.different = true
	}
	who.different = who.different || g.RequireDifferentApprover // nobody can take back what another one demands
	return who
}

// extend takes the policy that a step's own request states, as far as file and environment leave it open: what a step prints may come from
// strangers, who must not choose who approves.
func (w *identity) extend(own value.Value) {
	w.initiatedBy = cmp.Or(w.initiatedBy, anyText(own, "initiatedBy", "initiated_by"))
	w.requiredApprover = cmp.Or(w.requiredApprover, anyText(own, "requiredApprover", "required_approver"))
	for _, key := range []string{"requireDifferentApprover", "require_different_approver"} {
		b, _ := own.Field(key).AsBool()
		w.different = w.different || b
	}
}

// anyText is the first of the fields that holds something, as text.
func anyText(v value.Value, keys ...string) string {
	for _, k := range keys {
		if f := v.Field(k); !f.IsNullish() && value.Trim(value.Text(f)) != "" {
			return value.Trim(value.Text(f))
		}
	}
	return ""
}

// value is the policy as requests and documents hold it, and false when there is none.
func (w identity) value() (value.Value, bool) {
	var b value.Builder
	if w.initiatedBy != "" {
		b.Set("initiatedBy", value.String(w.initiatedBy))
	}
	if w.requiredApprover != "" {
		b.Set("requiredApprover", value.String(w.requiredApprover))
	}
	if w.different {
		b.Set("requireDifferentApprover", value.True)
	}
	n := b.Len()
	return b.Value(), n > 0
}

func identityFrom(v value.Value) identity {
	var w identity
	w.extend(v)
	return w
}
