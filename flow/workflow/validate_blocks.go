package workflow

import (
	"strconv"

	"lobstah/flow/value"
)

// maxBranches bounds the processes that one step starts at the same time.
const maxBranches = 256

// parallel checks a parallel block and notes its branches' ids.
func (c stepCheck) parallel() bool {
	p := c.n.get("parallel")
	if p == nil {
		return true
	}
	if !p.isObject() {
		return c.fault(p, "parallel must be an object")
	}
	branches := p.get("branches")
	if !branches.isList() || len(branches.items) == 0 {
		return c.fault(p, "parallel requires a non-empty branches array")
	}
	if len(branches.items) > maxBranches {
		return c.fault(p, "parallel has "+strconv.Itoa(len(branches.items))+" branches, more than "+strconv.Itoa(maxBranches)+": all of them run at the same time")
	}
	if w := p.get("wait"); w != nil && p.text("wait") != "all" && p.text("wait") != "any" {
		return c.fault(w, `parallel wait must be "all" or "any"`)
	}
	if t := p.get("timeout_ms"); t != nil && !isTimeout(t.value) {
		return c.fault(t, "parallel timeout_ms must be a positive integer between 1 and 2147483647")
	}
	seen := map[string]bool{}
	for _, b := range branches.items {
		if !c.branch(b, seen) {
			return false
		}
	}
	for id := range seen {
		c.v.branches[id] = true
	}
	return true
}

func (c stepCheck) branch(b *node, seen map[string]bool) bool {
	if !b.isObject() && !b.isList() {
		return c.fault(b, "parallel branches must be objects")
	}
	id := b.text("id")
	switch {
	case id == "":
		return c.fault(b, "parallel branch requires an id")
	case id == c.id:
		return c.fault(b.get("id"), "parallel branch id cannot match the step id")
	case seen[id]:
		return c.fault(b.get("id"), "duplicate parallel branch id: "+id)
	case c.v.ids[id] || c.v.branches[id]:
		return c.v.fault(b.get("id"), "Duplicate workflow id across steps/parallel branches: "+id)
	}
	seen[id] = true
	name := "parallel branch " + id + " "
	if !shellText(b).Truthy() && !isFilled(b.val("pipeline")) {
		return c.fault(b, name+"requires run, command, or pipeline")
	}
	return c.words(b, name) && c.oneText(b, name, shellText(b).Truthy() && isFilled(b.val("pipeline")))
}

// words checks that the texts to run are texts.
func (c stepCheck) words(n *node, name string) bool {
	for _, key := range []string{"run", "command", "pipeline"} {
		if f := n.get(key); f != nil && f.value.Kind() != value.KindString {
			return c.fault(f, name+key+" must be a string")
		}
	}
	return true
}

func (c stepCheck) oneText(n *node, name string, both bool) bool {
	if both {
		return c.fault(n, name+"can only define one of run, command, or pipeline")
	}
	return true
}

// loop checks a for_each block.
func (c stepCheck) loop() bool {
	over := c.n.get("for_each")
	if over == nil {
		return true
	}
	if over.value.Kind() != value.KindString {
		return c.fault(over, "for_each must be a string (step reference expression)")
	}
	steps := c.n.get("steps")
	if !steps.isList() || len(steps.items) == 0 {
		return c.fault(over, "for_each requires a non-empty steps array")
	}
	if !c.loopAlone() || !c.loopNumbers() {
		return false
	}
	item, index := loopVars(c.n)
	if item == index {
		return c.faultAt("index_var", "item_var and index_var cannot be the same")
	}
	seen := map[string]bool{}
	for _, s := range steps.items {
		if !c.subStep(s, seen, item, index) {
			return false
		}
	}
	return true
}

// loopAlone checks that a loop is nothing else besides.
func (c stepCheck) loopAlone() bool {
	shell, others := does(c.n)
	switch {
	case shell+others > 1:
		return c.fault(c.n, "for_each cannot also define run, command, pipeline, workflow, or parallel")
	case isGate(c.n.val("approval")):
		return c.faultAt("approval", "for_each steps cannot define approval (use a separate step after the loop)")
	case c.n.get("input").isObject():
		return c.faultAt("input", "for_each steps cannot define input (use a separate step after the loop)")
	case !c.n.val("stdin").IsNullish():
		return c.faultAt("stdin", "for_each steps cannot define stdin (loop input comes from the for_each expression)")
	}
	return true
}

func (c stepCheck) loopNumbers() bool {
	for _, key := range []string{"item_var", "index_var"} {
		if f := c.n.get(key); f != nil && f.value.Kind() != value.KindString {
			return c.fault(f, key+" must be a string")
		}
	}
	if b := c.n.get("batch_size"); b != nil && !isCount(b.value) {
		return c.fault(b, "batch_size must be a positive integer")
	}
	if p := c.n.get("pause_ms"); p != nil && !isDelay(p.value) {
		return c.fault(p, "pause_ms must be a finite non-negative number")
	}
	return true
}

func loopVars(n *node) (item, index string) {
	item, index = "item", "index"
	if n.get("item_var") != nil {
		item = n.text("item_var")
	}
	if n.get("index_var") != nil {
		index = n.text("index_var")
	}
	return item, index
}

func (c stepCheck) subStep(s *node, seen map[string]bool, item, index string) bool {
	id := s.text("id")
	name := "for_each sub-step " + id + " "
	switch {
	case id == "":
		return c.fault(s, "for_each sub-step requires an id")
	case id == item || id == index:
		return c.fault(s.get("id"), "for_each sub-step id '"+id+"' conflicts with loop variable")
	case seen[id]:
		return c.fault(s.get("id"), "duplicate for_each sub-step id: "+id)
	case isGate(s.val("approval")) || s.get("input").isObject():
		return c.fault(s, "for_each sub-steps cannot contain approval or input steps")
	case s.val("workflow").Truthy() || s.val("parallel").Truthy() || s.val("for_each").Truthy():
		return c.fault(s, name+"cannot define workflow, parallel, or for_each")
	}
	seen[id] = true
	if !c.words(s, name) {
		return false
	}
	shell, _ := shellText(s).AsString()
	hasShell, hasPipeline := value.Trim(shell) != "", value.Trim(s.text("pipeline")) != ""
	if command := value.Trim(s.text("command")); !hasShell && !hasPipeline && command == "" {
		return c.fault(s, name+"requires run, command, or pipeline")
	}
	return c.oneText(s, name, hasShell && hasPipeline)
}
