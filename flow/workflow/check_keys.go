package workflow

import (
	"maps"
	"slices"

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

// keys warns of words that mean nothing.
func (l *linter) keys(n *node, what string, known []string) {
	for _, f := range n.fields {
		if !slices.Contains(known, f.key) {
			l.add(Warning, &node{line: f.line, col: f.col}, what+" has no key "+f.key+"; it is ignored", didYouMean(f.key, setOf(known)))
		}
		if inner, ok := blockKeys[f.key]; ok && f.node.isObject() {
			l.keys(f.node, f.key, inner)
		}
	}
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
