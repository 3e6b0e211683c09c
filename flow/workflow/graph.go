package workflow

import (
	"fmt"
	"regexp"
	"strings"

	"lobstah/flow/value"
)

// Format is a way to draw a workflow.
type Format string

// The formats.
const (
	Mermaid Format = "mermaid"
	Dot     Format = "dot"
	ASCII   Format = "ascii"
)

// Formats lists the formats, the default first.
var Formats = []Format{Mermaid, Dot, ASCII}

const (
	labelUnits     = 80 // longer details are cut to one less and an ellipsis
	conditionUnits = 70
)

type graphNode struct {
	id, kind, detail string
	isGate           bool
}

type graphEdge struct{ from, to, label string }

// Graph draws the steps of a file: in which order they run, and which of them read the results of others.
func Graph(f *File, provided value.Value, format Format) (string, error) {
	sc := scope{resolveArgs(f, provided), &results{}}
	nodes := make([]graphNode, len(f.Steps))
	for i, s := range f.Steps {
		nodes[i] = graphNodeOf(s, sc)
	}
	edges := graphEdges(f)
	switch format {
	case Mermaid:
		return drawMermaid(nodes, edges), nil
	case Dot:
		return drawDot(nodes, edges), nil
	case ASCII:
		return drawASCII(nodes, edges), nil
	}
	return "", fmt.Errorf("unknown format %q; use mermaid, dot or ascii", format)
}

func graphNodeOf(s *Step, sc scope) graphNode {
	n := graphNode{id: s.ID, isGate: s.Gate != nil}
	fill := func(label, text string) string { return label + ": " + sc.fillArgs(text) }
	switch {
	case s.Kind == Parallel:
		n.kind, n.detail = "parallel", "parallel ("+waitWord(s)+")"
	case s.Kind == ForEach:
		n.kind, n.detail = "for_each", fill("for_each", s.Loop.Over)
	case s.Kind == Nested:
		n.kind, n.detail = "workflow", fill("workflow", s.Path)
	case s.Kind == Pipeline:
		n.kind, n.detail = "pipeline", fill("pipeline", s.Text)
	case s.Kind == Shell:
		n.kind, n.detail = "run", fill("run", s.Text)
	case isFilled(shellText(s.node)): // blank
		n.kind = "run"
	case s.Gate != nil:
		n.kind, n.detail = "approval", "approval gate"
	case s.Kind == Question:
		n.kind, n.detail = "input", "input request"
	default:
		n.kind = "step"
	}
	n.detail = ellipsis(n.detail, labelUnits)
	return n
}

func waitWord(s *Step) string {
	if s.Branches.Any {
		return "any"
	}
	return "all"
}

// ellipsis cuts a text that is longer than n units to n-1 and an ellipsis.
func ellipsis(text string, n int) string {
	if value.Len16(text) <= n {
		return text
	}
	return value.Cut16(text, n-1) + "…"
}

func graphEdges(f *File) []graphEdge {
	known := map[string]bool{}
	for _, s := range f.Steps {
		known[s.ID] = true
	}
	var edges []graphEdge
	seen := map[graphEdge]bool{}
	add := func(e graphEdge) {
		if known[e.from] && !seen[e] {
			seen[e] = true
			edges = append(edges, e)
		}
	}
	for i, s := range f.Steps {
		if i > 0 {
			add(graphEdge{f.Steps[i-1].ID, s.ID, "next"})
		}
		for _, ref := range valueRefs(s.Stdin) {
			add(graphEdge{ref.id, s.ID, "stdin"})
		}
		if s.Loop != nil {
			for _, ref := range references(s.Loop.Over) {
				add(graphEdge{ref.id, s.ID, "for_each"})
			}
		}
		if when, ok := s.When.AsString(); ok {
			label := ellipsis("when: "+value.Trim(when), conditionUnits)
			for _, ref := range references(when) {
				add(graphEdge{ref.id, s.ID, label})
			}
		}
	}
	return edges
}

// valueRefs lists the references in all texts of a value.
func valueRefs(v value.Value) []reference {
	switch v.Kind() {
	case value.KindString:
		s, _ := v.AsString()
		return references(s)
	case value.KindList:
		var out []reference
		items, _ := v.AsList()
		for _, it := range items {
			out = append(out, valueRefs(it)...)
		}
		return out
	case value.KindObject:
		var out []reference
		o, _ := v.AsObject()
		for _, f := range o.All() {
			out = append(out, valueRefs(f)...)
		}
		return out
	}
	return nil
}

// label is what stands in a node; the line break is written as two characters, which both formats read as one.
func (n graphNode) label() string {
	if n.detail == "" {
		return n.id
	}
	return n.id + `\n` + n.detail
}

var (
	mermaidEscape = strings.NewReplacer("&", "&amp;", `"`, "&quot;", "<", "&lt;", ">", "&gt;", "|", "&#124;")
	mermaidUnsafe = regexp.MustCompile(`[^A-Za-z0-9_]`)
	dotEscape     = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
)

func drawMermaid(nodes []graphNode, edges []graphEdge) string {
	keys := mermaidKeys(nodes)
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	for _, n := range nodes {
		open, shut := "[", "]"
		if n.isGate {
			open, shut = "{", "}"
		}
		fmt.Fprintf(&b, "  %s%s\"%s\"%s\n", keys[n.id], open, mermaidEscape.Replace(n.label()), shut)
	}
	b.WriteByte('\n')
	for _, e := range edges {
		fmt.Fprintf(&b, "  %s -->|%s| %s\n", keys[e.from], mermaidEscape.Replace(e.label), keys[e.to])
	}
	return b.String()
}

// mermaidKeys gives each node a key that Mermaid accepts and no other node has.
func mermaidKeys(nodes []graphNode) map[string]string {
	keys, taken := map[string]string{}, map[string]bool{}
	for _, n := range nodes {
		key := mermaidUnsafe.ReplaceAllString(n.id, "_")
		if key[0] >= '0' && key[0] <= '9' {
			key = "s_" + key
		}
		base := key
		for i := 2; taken[key]; i++ {
			key = fmt.Sprintf("%s_%d", base, i)
		}
		keys[n.id], taken[key] = key, true
	}
	return keys
}

func drawDot(nodes []graphNode, edges []graphEdge) string {
	var b strings.Builder
	b.WriteString("digraph workflow {\n  rankdir=TB;\n")
	for _, n := range nodes {
		shape := "box"
		if n.isGate {
			shape = "diamond"
		}
		fmt.Fprintf(&b, "  \"%s\" [shape=%s,label=\"%s\"];\n", dotEscape.Replace(n.id), shape, dotEscape.Replace(n.label()))
	}
	b.WriteByte('\n')
	for _, e := range edges {
		fmt.Fprintf(&b, "  \"%s\" -> \"%s\" [label=\"%s\"];\n", dotEscape.Replace(e.from), dotEscape.Replace(e.to), dotEscape.Replace(e.label))
	}
	b.WriteString("}\n")
	return b.String()
}

func drawASCII(nodes []graphNode, edges []graphEdge) string {
	var b strings.Builder
	b.WriteString("Workflow Graph\n\nNodes:\n")
	for _, n := range nodes {
		fmt.Fprintf(&b, "- %s [%s]", n.id, n.kind)
		if n.detail != "" {
			fmt.Fprintf(&b, " (%s)", n.detail)
		}
		b.WriteByte('\n')
	}
	b.WriteString("\nEdges:\n")
	if len(edges) == 0 {
		b.WriteString("- (none)\n")
	}
	for _, e := range edges {
		fmt.Fprintf(&b, "- %s -> %s (%s)\n", e.from, e.to, e.label)
	}
	return b.String()
}
