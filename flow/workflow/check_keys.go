package workflow

import (
	"maps"
	"slices"
	"strings"

	"lobstah/internal/spelling"
)

// The words that workflow files know. Others are ignored when a file runs, so a misspelt one does nothing, which is why they are worth a warning.
var (
	topKeys    = []string{"name", "description", "args", "env", "cwd", "cost_limit", "steps", "$schema", "version"}
	branchKeys = []string{"id", "run", "command", "pipeline", "env", "cwd", "stdin", "name", "description"}
	subKeys    = append(slices.Clone(branchKeys), "when", "condition")
	stepKeys   = append(slices.Clone(subKeys), "workflow", "workflow_args", "parallel", "for_each", "item_var", "index_var", "batch_size", "pause_ms",
		"steps", "approval", "input", "timeout_ms", "retry", "on_error")
	blockKeys = map[string][]string{
		"retry":      {"max", "backoff", "delay_ms", "max_delay_ms", "jitter"},
		"parallel":   {"wait", "timeout_ms", "branches"},
		"input":      {"prompt", "responseSchema", "defaults"},
		"cost_limit": {"max_usd", "action"},
		"approval": {"prompt", "items", "preview", "initiated_by", "initiatedBy", "required_approver", "requiredApprover", "require_different_approver",
			"requireDifferentApprover"},
	}
)

// meant says what to write for keys that other workflow files have, by the block that they stand in.
var meant = map[string]map[string]string{
	"workflow": {"tasks": "steps", "jobs": "steps", "inputs": "args", "params": "args", "parameters": "args", "vars": "args", "environment": "env",
		"working_directory": "cwd", "workdir": "cwd", "dir": "cwd"},
	"step": {"if": "when", "only_if": "when", "cmd": "run", "shell": "run", "script": "run", "exec": "run", "timeout": "timeout_ms", "retries": "retry: {max: 3}",
		"attempts": "retry: {max: 3}", "continue_on_error": "on_error: continue", "ignore_errors": "on_error: continue", "foreach": "for_each", "loop": "for_each",
		"with_items": "for_each", "with": "workflow_args", "args": "workflow_args, which go to a nested workflow", "uses": "workflow", "environment": "env",
		"working_directory": "cwd", "workdir": "cwd", "dir": "cwd", "approve": "approval", "prompt": "approval or input", "ask": "input", "depends_on": noOrder, "needs": noOrder,
		"after": noOrder},
	"retry":    {"attempts": "max", "max_attempts": "max", "times": "max", "count": "max", "delay": "delay_ms", "interval": "delay_ms", "max_delay": "max_delay_ms"},
	"input":    {"schema": "responseSchema", "default": "defaults"},
	"parallel": {"timeout": "timeout_ms", "steps": "branches"},
}

const noOrder = "nothing: steps run in the order of the file"

// words warns of keys that mean nothing, wherever a file has some.
func (l *linter) words(root *node) {
	l.keys(root, "workflow", topKeys)
	for _, s := range objects(root.get("steps")) {
		l.keys(s, "step", stepKeys)
		for _, b := range objects(s.get("parallel").get("branches")) {
			l.keys(b, "branch", branchKeys)
		}
		for _, sub := range objects(s.get("steps")) {
			l.keys(sub, "loop step", subKeys)
		}
	}
}

// objects are the items of a list that have keys.
func objects(n *node) []*node {
	if !n.isList() {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(n.items), func(item *node) bool { return !item.isObject() })
}

// keys warns of words that mean nothing.
func (l *linter) keys(n *node, what string, known []string) {
	for _, f := range n.fields {
		if !slices.Contains(known, f.key) {
			l.add(Warning, &node{line: f.line, col: f.col}, what+" has no key "+f.key+"; it is ignored", keyHint(what, f.key, known))
		}
		if inner, ok := blockKeys[f.key]; ok && f.node.isObject() {
			l.keys(f.node, f.key, inner)
		}
	}
}

// keyHint says what an unknown key was probably meant to be.
func keyHint(what, key string, known []string) string {
	block := what
	if what == "branch" || what == "loop step" {
		block = "step"
	}
	instead, ok := meant[block][key]
	first, _, _ := strings.Cut(instead, ":")
	switch {
	case instead == noOrder:
		return "write " + noOrder
	case ok && (slices.Contains(known, first) || !slices.Contains(stepKeys, first)):
		return "did you mean " + instead + "?"
	case ok:
		return "a " + what + " has no " + first + "; its keys are " + strings.Join(known, ", ")
	}
	return didYouMean(key, setOf(known))
}

func setOf(words []string) map[string]bool {
	set := make(map[string]bool, len(words))
	for _, w := range words {
		set[w] = true
	}
	return set
}

// didYouMean names the known word that is nearest, if one is near.
func didYouMean(word string, known map[string]bool) string {
	const longest, most = 64, 1000 // no word of ours is half as long, and nobody has so many steps
	if len(word) > longest || len(known) > most {
		return ""
	}
	best, at := "", max(2, len(word)/3)+1
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if len(k) > longest {
			continue
		}
		if d := spelling.Distance(word, k); d < at {
			best, at = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}
