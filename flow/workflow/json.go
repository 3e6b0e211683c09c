package workflow

import (
	"encoding/json"
	"errors"
	"io"
	"sort"
	"strings"

	"lobstah/flow/value"
)

// parseJSON reads a JSON text with the places of its parts. Whether it is JSON at all is decided by value.Parse, which has JavaScript's rules;
// this walk only adds where things are.
func parseJSON(src string) (*node, error) {
	whole, err := value.Parse(src)
	if err != nil {
		var se *value.SyntaxError
		if errors.As(err, &se) {
			return nil, &SyntaxError{Message: se.Message, Line: se.Line, Column: se.Column, source: src}
		}
		return nil, err
	}
	b := jsonBuilder{dec: json.NewDecoder(strings.NewReader(src)), src: src, lines: lineStarts(src)}
	b.dec.UseNumber()
	root, err := b.node(whole, 0)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return root, err
}

type jsonBuilder struct {
	dec   *json.Decoder
	src   string
	lines []int
}

func lineStarts(src string) []int {
	starts := []int{0}
	for i := range len(src) {
		if src[i] == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

// next reads a token and tells where it began.
func (b *jsonBuilder) next() (tok json.Token, line, col int, err error) {
	at := int(b.dec.InputOffset())
	for at < len(b.src) && strings.IndexByte(" \t\r\n,:", b.src[at]) >= 0 {
		at++
	}
	line = sort.SearchInts(b.lines, at+1)
	col = at - b.lines[line-1] + 1
	tok, err = b.dec.Token()
	return tok, line, col, err
}

// node reads the value that comes next. What it is was parsed already.
func (b *jsonBuilder) node(v value.Value, depth int) (*node, error) {
	tok, line, col, err := b.next()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, &SyntaxError{Message: "Nested too deeply", Line: line, Column: col, source: b.src}
	}
	switch tok {
	case json.Delim('['):
		return b.list(v, line, col, depth)
	case json.Delim('{'):
		return b.object(v, line, col, depth)
	}
	return &node{value: v, line: line, col: col, style: quotedStyle}, nil
}

func (b *jsonBuilder) list(v value.Value, line, col, depth int) (*node, error) {
	vs, _ := v.AsList()
	out := &node{value: v, line: line, col: col}
	for i := 0; b.dec.More(); i++ {
		item := value.Undefined
		if i < len(vs) {
			item = vs[i]
		}
		child, err := b.node(item, depth+1)
		if err != nil {
			return nil, err
		}
		out.items = append(out.items, child)
	}
	_, _, _, err := b.next()
	return out, err
}

func (b *jsonBuilder) object(v value.Value, line, col, depth int) (*node, error) {
	out := &node{value: v, line: line, col: col}
	for b.dec.More() {
		tok, keyLine, keyCol, err := b.next()
		if err != nil {
			return nil, err
		}
		key, _ := tok.(string)
		child, err := b.node(v.Field(key), depth+1)
		if err != nil {
			return nil, err
		}
		out.set(field{key, keyLine, keyCol, child})
	}
	_, _, _, err := b.next()
	return out, err
}

// set adds a field; of two with one key the last counts.
func (n *node) set(f field) {
	if old := n.field(f.key); old != nil {
		*old = f
		return
	}
	n.fields = append(n.fields, f)
}
