package workflow

import (
	"math"

	"lobstah/flow/value"
)

const (
	kindsText  = "run, command, pipeline, workflow, parallel, for_each"
	timeoutMax = 2147483647
)

// validator collects what is wrong with a document. Of each step it reports the first fault, in a fixed order: callers compare messages.
type validator struct {
	problems []Problem
	ids      map[string]bool // of steps so far
	branches map[string]bool // of parallel branches so far
	// checkSchema compiles a JSON Schema; nil accepts every object.
	checkSchema func(value.Value) error
}

func (v *validator) fault(n *node, message string) bool {
	v.problems = append(v.problems, Problem{Severity: Fault, Line: n.line, Column: n.col, Message: message})
	return false
}

// document checks the whole file.
func (v *validator) document(root *node) {
	v.ids, v.branches = map[string]bool{}, map[string]bool{}
	switch steps := root.get("steps"); {
	case !root.isObject() && !root.isList():
		v.fault(root, "Workflow file must be a JSON/YAML object")
	case !steps.isList() || len(steps.items) == 0:
		if steps == nil {
			steps = root
		}
		v.fault(steps, "Workflow file requires a non-empty steps array")
	default:
		v.costLimit(root.get("cost_limit"))
		if cwd := root.get("cwd"); cwd != nil && cwd.value.Truthy() && cwd.value.Kind() != value.KindString {
			v.fault(cwd, "Workflow cwd must be a string")
		}
		for _, s := range steps.items {
			v.step(s)
		}
	}
}

func (v *validator) costLimit(n *node) {
	if n == nil {
		return
	}
	if !n.isObject() {
		v.fault(n, "Workflow cost_limit must be an object")
		return
	}
	if limit, ok := costNumber(n.val("max_usd")); !ok || limit < 0 {
		v.fault(n, "Workflow cost_limit.max_usd must be a non-negative number")
		return
	}
	if a := n.get("action"); a != nil && n.text("action") != "warn" && n.text("action") != "stop" {
		v.fault(a, `Workflow cost_limit.action must be "warn" or "stop"`)
	}
}

// costNumber accepts numbers and numeric text.
func costNumber(v value.Value) (float64, bool) {
	if v.IsUndefined() {
		return 0, false
	}
	f := value.ToNumber(v)
	return f, !math.IsNaN(f) && !math.IsInf(f, 0)
}

// step checks one step and notes its ids.
func (v *validator) step(n *node) {
	if !n.isObject() && !n.isList() {
		v.fault(n, "Workflow step must be an object")
		return
	}
	id := n.text("id")
	if id == "" {
		v.fault(n, "Workflow step requires an id")
		return
	}
	c := stepCheck{v, n, "Workflow step " + id + " ", id}
	if c.nested() && c.parallel() && c.loop() && c.kinds() && c.texts() && c.input() && c.approval() && c.resilience() {
		if v.ids[id] || v.branches[id] {
			v.fault(n.get("id"), "Duplicate workflow step id: "+id)
		}
	}
	v.ids[id] = true
}

// stepCheck checks one step; each of its methods reports whether the next one may go on.
type stepCheck struct {
	v      *validator
	n      *node
	prefix string
	id     string
}

func (c stepCheck) fault(n *node, message string) bool { return c.v.fault(n, c.prefix+message) }

// faultAt reports at a field, or at the step where the field is absent.
func (c stepCheck) faultAt(key, message string) bool {
	if f := c.n.get(key); f != nil {
		return c.fault(f, message)
	}
	return c.fault(c.n, message)
}

func (c stepCheck) nested() bool {
	path := c.n.get("workflow")
	if path != nil {
		text, ok := path.value.AsString()
		switch {
		case !ok:
			return c.fault(path, "workflow must be a string (file path)")
		case value.Trim(text) == "":
			return c.fault(path, "workflow path cannot be blank")
		}
	}
	if args := c.n.get("workflow_args"); args != nil && !args.isObject() {
		return c.fault(args, "workflow_args must be a plain object")
	}
	return true
}

// shellText is the text of run if that is text at all, even an empty one, or else of command.
func shellText(n *node) value.Value {
	if run := n.val("run"); run.Kind() == value.KindString {
		return run
	}
	return n.val("command")
}

func isFilled(v value.Value) bool {
	s, ok := v.AsString()
	return ok && s != ""
}

// does lists which of the things that a step can do are there.
func does(n *node) (shell, others int) {
	if shellText(n).Truthy() {
		shell = 1
	}
	if isFilled(n.val("pipeline")) {
		others++
	}
	for _, key := range []string{"workflow", "parallel", "for_each"} {
		if n.get(key) != nil {
			others++
		}
	}
	return shell, others
}

// isGate reports whether an approval field makes a step a gate.
func isGate(v value.Value) bool {
	if s, ok := v.AsString(); ok {
		return value.Trim(s) != ""
	}
	b, _ := v.AsBool()
	return b || v.Kind() == value.KindObject
}

// idle reports a step that does nothing, at what should have told it what to do.
func (c stepCheck) idle() bool {
	at, hint := c.n, ""
	for _, key := range []string{"run", "command", "pipeline"} {
		if f := c.n.get(key); f != nil {
			at, hint = f, key+" takes text, such as "+key+": exec date"
		}
	}
	c.fault(at, "requires "+kindsText+", approval, or input")
	c.v.problems[len(c.v.problems)-1].Hint = hint
	return false
}

func (c stepCheck) kinds() bool {
	shell, others := does(c.n)
	gate, input := isGate(c.n.val("approval")), c.n.get("input")
	switch {
	case shell+others == 0 && !gate && !input.isObject():
		return c.idle()
	case shell+others > 1:
		return c.fault(c.n, "can only define one of run, command, pipeline, workflow, parallel, or for_each")
	case input != nil && !input.isObject():
		return c.fault(input, "input must be an object")
	case input != nil && shell+others > 0:
		return c.fault(input, "input steps cannot define run, command, pipeline, workflow, parallel, or for_each")
	case input != nil && gate:
		return c.fault(input, "cannot define both approval and input")
	}
	return true
}

func (c stepCheck) texts() bool {
	for _, key := range []string{"run", "command", "pipeline"} {
		if f := c.n.get(key); f != nil && f.value.Kind() != value.KindString {
			return c.fault(f, key+" must be a string")
		}
	}
	if f := c.n.get("cwd"); f != nil && f.value.Truthy() && f.value.Kind() != value.KindString {
		return c.fault(f, "cwd must be a string")
	}
	return true
}

func (c stepCheck) input() bool {
	in := c.n.get("input")
	if in == nil {
		return true
	}
	schema := in.get("responseSchema")
	switch {
	case in.val("prompt").Kind() != value.KindString:
		return c.fault(in, "input.prompt must be a string")
	case schema == nil || !schema.isObject() && !schema.isList():
		return c.fault(in, "input.responseSchema must be an object")
	case c.v.checkSchema != nil:
		if err := c.v.checkSchema(schema.value); err != nil {
			return c.fault(schema, "input.responseSchema is invalid: "+err.Error())
		}
	}
	return true
}

func (c stepCheck) approval() bool {
	a := c.n.get("approval")
	if !a.isObject() {
		return true
	}
	for _, key := range []string{"initiated_by", "initiatedBy", "required_approver", "requiredApprover"} {
		if f := a.get(key); f != nil && f.value.Kind() != value.KindString {
			return c.fault(f, "approval."+key+" must be a string")
		}
	}
	for _, key := range []string{"require_different_approver", "requireDifferentApprover"} {
		if f := a.get(key); f != nil && f.value.Kind() != value.KindBool {
			return c.fault(f, "approval."+key+" must be a boolean")
		}
	}
	return true
}

func (c stepCheck) resilience() bool {
	if t := c.n.get("timeout_ms"); t != nil && !isTimeout(t.value) {
		return c.fault(t, "timeout_ms must be a positive integer between 1 and 2147483647")
	}
	if o := c.n.get("on_error"); o != nil {
		switch OnError(c.n.text("on_error")) {
		case Stop, Continue, SkipRest:
		default:
			return c.fault(o, `on_error must be "stop", "continue", or "skip_rest"`)
		}
	}
	return c.retry(c.n.get("retry"))
}

func (c stepCheck) retry(r *node) bool {
	if r == nil {
		return true
	}
	if !r.isObject() {
		return c.fault(r, "retry must be an object")
	}
	if m := r.get("max"); m != nil && !isCount(m.value) {
		return c.fault(m, "retry.max must be a positive integer")
	}
	if b := r.get("backoff"); b != nil && r.text("backoff") != "fixed" && r.text("backoff") != "exponential" {
		return c.fault(b, `retry.backoff must be "fixed" or "exponential"`)
	}
	for _, key := range []string{"delay_ms", "max_delay_ms"} {
		if d := r.get(key); d != nil && !isDelay(d.value) {
			return c.fault(d, "retry."+key+" must be a finite non-negative number")
		}
	}
	if j := r.get("jitter"); j != nil && j.value.Kind() != value.KindBool {
		return c.fault(j, "retry.jitter must be a boolean")
	}
	return true
}

func isTimeout(v value.Value) bool { return isCount(v) && value.ToNumber(v) <= timeoutMax }

func isCount(v value.Value) bool {
	f, ok := v.AsNumber()
	return ok && f >= 1 && f == math.Trunc(f) && !math.IsInf(f, 0)
}

func isDelay(v value.Value) bool {
	f, ok := v.AsNumber()
	return ok && f >= 0 && !math.IsInf(f, 0)
}
