package workflow

import (
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"lobstah/flow/value"
)

// A tag or an anchor may stand alone, and then means a null with that tag or name. The library takes what follows on the next lines for
// its value, so a key after it, such as a step's approval, would vanish into it. This file puts such keys back where they stand.

// bareValue reports whether an entry's value is a tag or anchor that stands alone, and returns the entries that the library put into it.
// What it took from an outer list cannot be put back, so that is an error.
func (b *yamlBuilder) bareValue(e *ast.MappingValueNode) (taken []*ast.MappingValueNode, bare bool, err error) {
	inner, names := unwrap(e.Value)
	if inner == e.Value {
		return nil, false, nil
	}
	key := e.Key.GetToken()
	switch n := inner.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			taken = n.Values
		}
	case *ast.MappingValueNode:
		taken = []*ast.MappingValueNode{n}
	}
	if list, ok := asBlockList(e.Value); ok && isOutside(list.Start, key, 1) {
		return nil, false, b.fault(e.Value.GetToken(), bareTag)
	}
	if len(taken) == 0 || !isOutside(taken[0].Key.GetToken(), key, 0) {
		return nil, false, nil
	}
	for _, name := range names {
		line, col := place(key)
		if b.anchors[name], err = b.count(&node{value: value.Null, line: line, col: col}); err != nil {
			return nil, false, err
		}
	}
	return taken, true, nil
}

const bareTag = "A tag or an anchor needs a value here; write null after it"

// asBlockList finds the list, not one in brackets, that a tag or an anchor stands before.
func asBlockList(n ast.Node) (*ast.SequenceNode, bool) {
	inner, _ := unwrap(n)
	list, ok := inner.(*ast.SequenceNode)
	return list, ok && inner != n && !list.IsFlowStyle
}

// unwrap takes tags and anchors off a node, and returns the anchors' names.
func unwrap(n ast.Node) (inner ast.Node, names []string) {
	for {
		switch w := n.(type) {
		case *ast.TagNode:
			n = w.Value
		case *ast.AnchorNode:
			names = append(names, w.Name.GetToken().Value)
			n = w.Value
		default:
			return n, names
		}
	}
}

// isOutside reports whether a token stands on a later line than a key and no deeper than it, or than margin columns before it.
func isOutside(tok, key *token.Token, margin int) bool {
	line, col := place(tok)
	keyLine, keyCol := place(key)
	return line > keyLine && col <= keyCol-margin
}

// repeated finds a key that stands twice, which the library cannot see in entries that it had put apart.
func repeated(before []field, entries []*ast.MappingValueNode) *token.Token {
	seen := map[string]bool{}
	for _, f := range before {
		seen[f.key] = true
	}
	for _, e := range entries {
		tok := e.Key.GetToken()
		if seen[tok.Value] {
			return tok
		}
		seen[tok.Value] = true
	}
	return nil
}
