package workflow

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"lobstah/flow/value"
)

// Limits on workflow files, which may come from anywhere.
const (
	MaxFileBytes = 4 << 20
	maxDepth     = 200
	maxNodes     = 1 << 20 // counted with every alias expanded
)

// This file is the only one that knows the YAML library. It takes the syntax tree from it and nothing else: scalars are resolved by
// resolvePlain, because the library follows YAML 1.1 in places.

// parseYAML reads the one document of a YAML text. An empty text is null.
func parseYAML(src string) (root *node, err error) {
	src = strings.TrimPrefix(src, "\uFEFF")
	if line, col, deep := tooDeep(src); deep {
		return nil, &SyntaxError{Message: "Nested too deeply", Line: line, Column: col, source: src}
	}
	defer func() { // the library is known to panic on some broken input
		if r := recover(); r != nil {
			root, err = nil, &SyntaxError{Message: fmt.Sprintf("Cannot be read as YAML (%v)", r), Line: 1, Column: 1, source: src}
		}
	}()
	file, err := parser.ParseBytes([]byte(markTabs(src)), 0)
	if err != nil {
		return nil, yamlFault(src, err)
	}
	b := yamlBuilder{src: src, anchors: map[string]*node{}, sizes: map[*node]int{}}
	return b.document(file)
}

// yamlFault turns the library's error into ours.
func yamlFault(src string, err error) error {
	var e interface {
		error
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &e) || e.GetToken() == nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return &SyntaxError{Message: first, Line: 1, Column: 1, source: src}
	}
	pos := e.GetToken().Position
	return &SyntaxError{Message: yamlMessage(e.GetMessage()), Line: pos.Line, Column: pos.Column, source: src}
}

// yamlMessage puts the faults that people meet most into words that help.
func yamlMessage(msg string) string {
	switch {
	case strings.HasPrefix(msg, "mapping value is not allowed"):
		return "Nested mappings are not allowed in compact mappings"
	case strings.HasPrefix(msg, "mapping key") && strings.Contains(msg, "already defined"):
		return "Map keys must be unique"
	case msg == "":
		return "Cannot be read as YAML"
	}
	return strings.ToUpper(msg[:1]) + msg[1:]
}

// tooDeep looks for more open brackets than any workflow has, before the library, which is recursive, sees them.
func tooDeep(src string) (line, col int, deep bool) {
	depth, line, col := 0, 1, 0
	for i := range len(src) {
		col++
		switch src[i] {
		case '\n':
			line, col = line+1, 0
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(0, depth-1)
		}
		if depth > 5*maxDepth {
			return line, col, true
		}
	}
	return 0, 0, false
}

// tabMark stands for a tab within text while the library, which drops tabs from plain scalars, reads a file.
const tabMark = "\uE0F9"

// innerTab is a tab, perhaps with blanks around it, between two words of a line. One behind an indicator or before a comment separates.
var innerTab = regexp.MustCompile(`[^\s:,?\-\[\]{}|>&*!][ \t]*\t[ \t]*[^\s#]`)

func markTabs(src string) string {
	if !strings.Contains(src, "\t") || strings.Contains(src, tabMark) {
		return src
	}
	for range 2 { // matches share their ends, so the first pass leaves every other one
		src = innerTab.ReplaceAllStringFunc(src, func(s string) string { return strings.ReplaceAll(s, "\t", tabMark) })
	}
	return src
}

func unmarked(s string) string { return value.Clean(strings.ReplaceAll(s, tabMark, "\t")) }

type yamlBuilder struct {
	src     string
	anchors map[string]*node
	sizes   map[*node]int // how many nodes each stands for, aliases expanded
}

func (b *yamlBuilder) document(file *ast.File) (*node, error) {
	var body ast.Node
	docs := 0
	for _, d := range file.Docs {
		if _, isDirective := d.Body.(*ast.DirectiveNode); isDirective {
			continue
		}
		if docs++; docs > 1 {
			return nil, b.fault(d.Start, "Source contains multiple documents, but a workflow file holds one")
		}
		body = d.Body
	}
	return b.node(body, 0)
}

func (b *yamlBuilder) fault(tok *token.Token, message string) error {
	line, col := place(tok)
	return &SyntaxError{Message: message, Line: line, Column: col, source: b.src}
}

func place(tok *token.Token) (line, col int) {
	if tok == nil || tok.Position == nil {
		return 1, 1
	}
	return tok.Position.Line, tok.Position.Column
}

func (b *yamlBuilder) node(n ast.Node, depth int) (*node, error) {
	if n == nil {
		return b.count(&node{value: value.Null, line: 1, col: 1})
	}
	tok := n.GetToken()
	if depth > maxDepth {
		return nil, b.fault(tok, "Nested too deeply")
	}
	line, col := place(tok)
	switch n := n.(type) {
	case *ast.MappingNode:
		return b.mapping(n.Values, line, col, depth)
	case *ast.MappingValueNode:
		return b.mapping([]*ast.MappingValueNode{n}, line, col, depth)
	case *ast.SequenceNode:
		return b.sequence(n, line, col, depth)
	case *ast.AnchorNode:
		return b.anchor(n, depth)
	case *ast.AliasNode:
		return b.alias(n)
	case *ast.TagNode:
		return b.tagged(n, depth)
	case *ast.LiteralNode:
		style := literalStyle
		if tok.Type == token.FoldedType {
			style = foldedStyle
		}
		return b.count(&node{value: value.String(unmarked(n.Value.Value)), line: line, col: col, style: style})
	}
	return b.count(&node{value: scalarValue(tok), line: line, col: col, style: scalarStyle(tok)})
}

func scalarStyle(tok *token.Token) textStyle {
	if tok.Type == token.SingleQuoteType || tok.Type == token.DoubleQuoteType {
		return quotedStyle
	}
	return plainStyle
}

func scalarValue(tok *token.Token) value.Value {
	switch tok.Type {
	case token.SingleQuoteType, token.DoubleQuoteType:
		return value.String(unmarked(tok.Value))
	case token.ImplicitNullType:
		return value.Null
	}
	return resolvePlain(unmarked(tok.Value))
}

func (b *yamlBuilder) mapping(entries []*ast.MappingValueNode, line, col, depth int) (*node, error) {
	fields := make([]field, 0, len(entries))
	for len(entries) > 0 {
		e := entries[0]
		entries = entries[1:]
		key, err := b.key(e.Key, depth+1)
		if err != nil {
			return nil, err
		}
		taken, bare, err := b.bareValue(e)
		if err != nil {
			return nil, err
		}
		val := e.Value
		if bare {
			val, entries = nil, slices.Concat(taken, entries)
			if again := repeated(fields, append(entries, e)); again != nil {
				return nil, b.fault(again, "Map keys must be unique")
			}
		}
		child, err := b.node(val, depth+1)
		if err != nil {
			return nil, err
		}
		fields = append(fields, field{value.Text(key.value), key.line, key.col, child})
	}
	if len(fields) > 0 && fields[0].line <= line { // a block mapping's own token is its first colon
		line, col = fields[0].line, min(col, fields[0].col)
	}
	return b.count(objectNode(line, col, fields))
}

// key reads a mapping's key. Keys are text, whatever they look like; << merges nothing in YAML 1.2.
func (b *yamlBuilder) key(k ast.MapKeyNode, depth int) (*node, error) {
	var n ast.Node = k
	if e, ok := k.(*ast.MappingKeyNode); ok {
		n = e.Value
	}
	out, err := b.node(n, depth)
	if err != nil {
		return nil, err
	}
	if out.value.Kind() >= value.KindList {
		return nil, b.fault(k.GetToken(), "A key must be a word, not a list or an object")
	}
	if out.value.IsNull() {
		out = &node{value: value.String(""), line: out.line, col: out.col}
	}
	return out, nil
}

func (b *yamlBuilder) sequence(n *ast.SequenceNode, line, col, depth int) (*node, error) {
	items := make([]*node, 0, len(n.Values))
	for _, v := range n.Values {
		if inner, ok := asBlockList(v); ok && isOutside(inner.Start, n.Start, 0) {
			return nil, b.fault(v.GetToken(), bareTag)
		}
		item, err := b.node(v, depth+1)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return b.count(listNode(line, col, items))
}

func (b *yamlBuilder) anchor(n *ast.AnchorNode, depth int) (*node, error) {
	out, err := b.node(n.Value, depth+1)
	if err == nil {
		b.anchors[n.Name.GetToken().Value] = out
	}
	return out, err
}

func (b *yamlBuilder) alias(n *ast.AliasNode) (*node, error) {
	name := n.Value.GetToken()
	target, ok := b.anchors[name.Value]
	if !ok {
		return nil, b.fault(name, "Unresolved alias (the anchor must be set before the alias): "+name.Value)
	}
	line, col := place(n.GetToken())
	copied := *target
	copied.line, copied.col = line, col
	return b.count(&copied)
}

// tagged reads a tagged node. A tag of the core schema says how to read a scalar, one that we do not know makes it text.
func (b *yamlBuilder) tagged(n *ast.TagNode, depth int) (*node, error) {
	tok := n.GetToken()
	_, isScalar := n.Value.(ast.ScalarNode)
	_, isBlock := n.Value.(*ast.LiteralNode)
	if !isScalar || isBlock {
		return b.node(n.Value, depth+1)
	}
	text := unmarked(n.Value.GetToken().Value)
	v := value.String(text)
	switch tok.Value {
	case "!!int", "!!float", "!!bool", "!!null":
		v = resolvePlain(text)
	}
	line, col := place(tok)
	return b.count(&node{value: v, line: line, col: col})
}

// count refuses documents that aliases blow up beyond reason.
func (b *yamlBuilder) count(n *node) (*node, error) {
	size := 1
	for _, it := range n.items {
		size += b.sizes[it]
	}
	for _, f := range n.fields {
		size += b.sizes[f.node]
	}
	if size > maxNodes {
		return nil, &SyntaxError{Message: "Aliases expand to too many values", Line: n.line, Column: n.col, source: b.src}
	}
	b.sizes[n] = size
	return n, nil
}
