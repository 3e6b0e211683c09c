package workflow

import (
	"strings"

	"lobstah/flow/value"
)

// node is a part of a workflow file with its place in it. Lines and columns are 1-based; columns count characters.
type node struct {
	value     value.Value // the whole part
	line, col int
	style     textStyle
	items     []*node // of a list
	fields    []field // of an object, in the file's order
}

// textStyle is how a text is written, which tells where its characters are.
type textStyle uint8

const (
	plainStyle textStyle = iota
	quotedStyle
	literalStyle // a block that keeps its lines
	foldedStyle  // a block that joins them
)

// at is the place of a byte of a text node in the file, exact unless escapes or folded lines stand before it.
func (n *node) at(source string, offset int) (line, col int) {
	text, _ := n.value.AsString()
	before := text[:min(max(offset, 0), len(text))]
	switch n.style {
	case literalStyle:
		rows := strings.Count(before, "\n")
		line = n.line + 1 + rows
		return line, indentOf(source, line) + value.Len16(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	case quotedStyle:
		return n.line, n.col + 1 + value.Len16(before)
	case foldedStyle:
		return n.line, n.col
	}
	return n.line, n.col + value.Len16(before)
}

// indentOf is how many blanks a line begins with.
func indentOf(source string, line int) int {
	text, _ := lineOf(source, line)
	return len(text) - len(strings.TrimLeft(text, " "))
}

type field struct {
	key       string
	line, col int // of the key
	node      *node
}

// get returns the field's value, or nil when there is none. A field that is null is there.
func (n *node) get(key string) *node {
	if f := n.field(key); f != nil {
		return f.node
	}
	return nil
}

func (n *node) field(key string) *field {
	if n == nil {
		return nil
	}
	for i := range n.fields {
		if n.fields[i].key == key {
			return &n.fields[i]
		}
	}
	return nil
}

// val is the field's value, Undefined when there is none.
func (n *node) val(key string) value.Value {
	if f := n.get(key); f != nil {
		return f.value
	}
	return value.Undefined
}

// text is the field's string, or "" when it is absent or something else.
func (n *node) text(key string) string {
	s, _ := n.val(key).AsString()
	return s
}

func (n *node) isObject() bool {
	return n != nil && n.value.Kind() == value.KindObject
}

func (n *node) isList() bool {
	return n != nil && n.value.Kind() == value.KindList
}

func listNode(line, col int, items []*node) *node {
	vs := make([]value.Value, len(items))
	for i, it := range items {
		vs[i] = it.value
	}
	return &node{value: value.List(vs...), line: line, col: col, items: items}
}

func objectNode(line, col int, fields []field) *node {
	var b value.Builder
	for _, f := range fields {
		b.Set(f.key, f.node.value)
	}
	return &node{value: b.Value(), line: line, col: col, fields: fields}
}
