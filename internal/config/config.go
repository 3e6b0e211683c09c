// Package config reads the optional settings file: YAML whose nested names are
// settings, such as worker.port in
//
//	worker:
//	  port: 17474
//	engine: [auto, "http://127.0.0.1:9000"]
//
// Call [Read] with the names that exist. Only cmd/ imports it; it wraps
// goccy/go-yaml and knows no setting itself. The file is strict: a name that
// does not exist, stands twice or has a value of another shape is a fault with
// its line ([livefile.DamagedError]), since a setting that silently does nothing
// is worse than a program that does not start.
package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"lobstah/internal/livefile"
)

// A Value is what the file says of one setting.
type Value struct {
	Texts []string // one for a scalar, any number for a list
	List  bool
	Line  int
}

// An UnknownError names a setting that does not exist. It comes wrapped in a
// [livefile.DamagedError].
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string { return fmt.Sprintf("there is no setting %q", e.Name) }

// Read returns what the file sets, by name; a missing file sets nothing.
func Read(path string, known []string) (map[string]Value, error) {
	values, err := livefile.Read(path, func(data []byte) (map[string]Value, error) { return parse(data, known) })
	if err != nil {
		return nil, fmt.Errorf("settings file %w", err)
	}
	return values, nil
}

func parse(data []byte, known []string) (map[string]Value, error) {
	r := reader{known: known, values: map[string]Value{}}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, syntaxFault(err)
	}
	for i, doc := range file.Docs {
		if i > 0 && doc.Body != nil {
			return nil, at(doc.Body, "a second document; one is enough")
		}
		if doc.Body == nil || doc.Body.Type() == ast.NullType {
			continue
		}
		if err := r.node("", doc.Body); err != nil {
			return nil, err
		}
	}
	return r.values, nil
}

func syntaxFault(err error) error {
	e, ok := errors.AsType[*yaml.SyntaxError](err)
	if !ok {
		return err
	}
	return &livefile.DamagedError{Line: e.Token.Position.Line, Err: errors.New(e.Message)}
}

func at(node ast.Node, format string, args ...any) error {
	return &livefile.DamagedError{Line: line(node), Err: fmt.Errorf(format, args...)}
}

func line(node ast.Node) int { return node.GetToken().Position.Line }

type reader struct {
	known  []string
	values map[string]Value
}

// node takes in what stands under a name.
func (r *reader) node(name string, node ast.Node) error {
	switch n := node.(type) {
	case *ast.MappingNode:
		return r.mapping(name, n)
	case *ast.MappingValueNode: // a mapping of one
		return r.member(name, n)
	}
	if name == "" {
		return at(node, "want settings such as \"router:\" with \"port: 17475\" under it")
	}
	return r.value(name, node)
}

func (r *reader) mapping(name string, n *ast.MappingNode) error {
	for _, member := range n.Values {
		if err := r.member(name, member); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) member(prefix string, n *ast.MappingValueNode) error {
	name := strings.TrimPrefix(prefix+"."+n.Key.GetToken().Value, ".")
	group := slices.ContainsFunc(r.known, func(k string) bool { return strings.HasPrefix(k, name+".") })
	switch {
	case slices.Contains(r.known, name):
		return r.value(name, n.Value)
	case !group:
		return &livefile.DamagedError{Line: line(n.Key), Err: &UnknownError{name}}
	case n.Value.Type() == ast.NullType: // all that stood there is commented out
		return nil
	case n.Value.Type() != ast.MappingType && n.Value.Type() != ast.MappingValueType:
		return at(n.Key, "%s: want settings under it, not a value", name)
	}
	return r.node(name, n.Value)
}

func (r *reader) value(name string, node ast.Node) error {
	if _, twice := r.values[name]; twice {
		return at(node, "%s is set twice", name)
	}
	v := Value{Line: line(node)}
	switch n := node.(type) {
	case *ast.NullNode:
		return nil // "port:" with nothing behind it sets nothing
	case *ast.SequenceNode:
		v.List = true
		for _, item := range n.Values {
			text, ok := scalar(item)
			if !ok {
				return at(item, "%s: want a list of plain values", name)
			}
			v.Texts = append(v.Texts, text)
		}
	default:
		text, ok := scalar(node)
		if !ok {
			return at(node, "%s: want a plain value", name)
		}
		v.Texts = []string{text}
	}
	r.values[name] = v
	return nil
}

// scalar returns the text of a scalar as it was written: what it means is the
// setting's to say, so 0x10 and yes keep their letters.
func scalar(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return "", false
}
