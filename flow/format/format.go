// Package format writes workflow files in one form: two blanks of indentation, an empty line between steps and before each block of the
// top level, one blank after a colon. Comments, quoting and the order of keys stay as the author wrote them.
//
// [File] is the only call. It never changes what a file means: what it wrote is read again and compared, and if a value or a comment got
// lost, the result is [ErrLossy]. Imported by cmd/lobster. Files are hostile; reading them is goccy/go-yaml's and flow/workflow's job.
package format

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"lobstah/flow/value"
)

// MaxSource caps a file, in bytes.
const MaxSource = 4 << 20

// ErrLossy says that the formatter does not know how to write something in the file without losing it.
var ErrLossy = errors.New("cannot format the file without losing something in it")

// File returns the formatted text of a workflow file; its name tells JSON from YAML.
func File(name, source string) (string, error) {
	if len(source) > MaxSource {
		return "", fmt.Errorf("the file exceeds %d bytes", MaxSource)
	}
	if strings.EqualFold(filepath.Ext(name), ".json") {
		v, err := value.Parse(source)
		return v.Pretty() + "\n", err
	}
	return formatYAML(source)
}

func formatYAML(source string) (string, error) {
	if isTooDeep(source) {
		return "", fmt.Errorf("the file nests deeper than %d brackets", maxBrackets)
	}
	out, err := render(source)
	if err != nil {
		return "", err
	}
	if again, err := render(out); err != nil || again != out || !sameMeaning(source, out) || comments(source) != comments(out) {
		return "", ErrLossy
	}
	return out, nil
}

// maxBrackets bounds the open brackets of a file, which the library reads recursively and in quadratic time.
const maxBrackets = 1000

func isTooDeep(source string) bool {
	depth := 0
	for _, c := range []byte(source) {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(0, depth-1)
		}
		if depth > maxBrackets {
			return true
		}
	}
	return false
}

func render(source string) (string, error) {
	file, err := parser.ParseBytes([]byte(source), parser.ParseComments)
	if err != nil {
		return "", err
	}
	if strings.Count(source, "*") > maxAliases && aliases(source) > maxAliases {
		return "", ErrLossy
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return "", errors.New("a workflow file is one document")
	}
	var p printer
	p.document(file.Docs[0].Body)
	return strings.TrimRight(p.b.String(), "\n") + "\n", nil
}

// maxAliases bounds what reading a file again can grow to.
const maxAliases = 16

func aliases(source string) int {
	n := 0
	for _, t := range lexer.Tokenize(source) {
		if t.Type == token.AliasType {
			n++
		}
	}
	return n
}

// sameMeaning reports whether both texts hold the same values.
func sameMeaning(a, b string) bool {
	var x, y any
	if yaml.UnmarshalWithOptions([]byte(a), &x, yaml.UseOrderedMap()) != nil || yaml.UnmarshalWithOptions([]byte(b), &y, yaml.UseOrderedMap()) != nil {
		return false
	}
	return reflect.DeepEqual(x, y)
}

// comments returns the text of all comments, in order.
func comments(source string) string {
	var b strings.Builder
	for _, t := range lexer.Tokenize(source) {
		if t.Type == token.CommentType {
			b.WriteString(strings.TrimSpace(t.Value) + "\n")
		}
	}
	return b.String()
}

// printer writes block nodes; what stands on one line it leaves to the nodes.
type printer struct{ b strings.Builder }

func (p *printer) line(indent int, text string) {
	if text == "" {
		p.b.WriteByte('\n')
		return
	}
	p.b.WriteString(strings.Repeat(" ", indent) + text + "\n")
}

// gap writes an empty line, unless there is one or nothing stands before.
func (p *printer) gap() {
	if s := p.b.String(); s != "" && !strings.HasSuffix(s, "\n\n") {
		p.b.WriteByte('\n')
	}
}

func (p *printer) comment(indent int, group *ast.CommentGroupNode) {
	if group == nil {
		return
	}
	for _, c := range group.Comments {
		p.line(indent, "#"+strings.TrimRight(c.Token.Value, " \t\r"))
	}
}

func (p *printer) document(body ast.Node) {
	m, ok := body.(*ast.MappingNode)
	if !ok {
		p.b.WriteString(body.String())
		return
	}
	for _, entry := range m.Values {
		if isBlock(entry.Value) {
			p.gap()
		}
		p.entry(0, entry, entry.Key.String() == "steps")
	}
	p.comment(0, m.FootComment)
}

func isBlock(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.MappingNode:
		return !n.IsFlowStyle && len(n.Values) > 0
	case *ast.SequenceNode:
		return !n.IsFlowStyle && len(n.Values) > 0
	}
	return false
}

// entry writes one key and its value; spaced puts empty lines between the items of a list.
func (p *printer) entry(indent int, e *ast.MappingValueNode, spaced bool) {
	p.comment(indent, e.GetComment())
	key := e.Key.String() + ":"
	switch v := e.Value.(type) {
	case *ast.MappingNode:
		if isBlock(v) {
			p.line(indent, key)
			p.mapping(indent+2, v)
			break
		}
		p.inline(indent, key, v)
	case *ast.SequenceNode:
		if isBlock(v) {
			p.line(indent, key)
			p.sequence(indent+2, v, spaced)
			break
		}
		p.inline(indent, key, v)
	case *ast.LiteralNode:
		p.literal(indent, key, v)
	default:
		p.inline(indent, key, v)
	}
	p.comment(indent, e.FootComment)
}

// inline writes a value on its key's line, with the comment behind it.
func (p *printer) inline(indent int, key string, v ast.Node) {
	text := strings.TrimSpace(v.String())
	if v.Type() == ast.NullType && v.GetToken().Value == "" {
		text = ""
	}
	p.line(indent, strings.TrimRight(key+" "+text, " "))
}

// literal writes a block scalar with its own lines, moved to the new indentation.
func (p *printer) literal(indent int, key string, v *ast.LiteralNode) {
	p.line(indent, key+" "+strings.TrimSpace(v.Start.Value)+trailing(v))
	for _, l := range dedent(v.Value.GetToken().Origin) {
		if l == "" {
			p.line(0, "")
			continue
		}
		p.line(indent+2, l)
	}
}

func trailing(n ast.Node) string {
	group := n.GetComment()
	if group == nil || len(group.Comments) == 0 {
		return ""
	}
	return " #" + strings.TrimRight(group.Comments[0].Token.Value, " \t\r")
}

// dedent returns the lines of a block scalar without their common indentation and without blank lines at the end.
func dedent(origin string) []string {
	lines := strings.Split(strings.TrimRight(origin, " \n\r\t"), "\n")
	common := -1
	for _, l := range lines {
		if n := len(l) - len(strings.TrimLeft(l, " ")); strings.TrimSpace(l) != "" && (common < 0 || n < common) {
			common = n
		}
	}
	for i, l := range lines {
		lines[i] = strings.TrimRight(l[min(max(common, 0), len(l)):], "\r")
		if strings.TrimSpace(l) == "" {
			lines[i] = ""
		}
	}
	return lines
}

func (p *printer) mapping(indent int, m *ast.MappingNode) {
	for _, e := range m.Values {
		p.entry(indent, e, false)
	}
	p.comment(indent, m.FootComment)
}

func (p *printer) sequence(indent int, s *ast.SequenceNode, spaced bool) {
	var above *ast.CommentGroupNode // what stood between the last item and this one
	for i, v := range s.Values {
		if spaced && i > 0 {
			p.gap()
		}
		p.comment(indent, above)
		if i < len(s.ValueHeadComments) {
			p.comment(indent, s.ValueHeadComments[i])
		}
		above = detach(v)
		p.item(indent, v)
	}
	p.comment(indent, above)
	p.comment(indent, s.FootComment)
}

// detach takes off the comment that the parser counts to the end of a mapping although it stands further left than its keys.
func detach(v ast.Node) *ast.CommentGroupNode {
	m, ok := v.(*ast.MappingNode)
	if !ok || len(m.Values) == 0 {
		return nil
	}
	last := m.Values[len(m.Values)-1]
	foot := last.FootComment
	if foot == nil || len(foot.Comments) == 0 || foot.Comments[0].Token.Position.Column >= m.Values[0].Key.GetToken().Position.Column {
		return nil
	}
	last.FootComment = nil
	return foot
}

// item writes one list item: its first line behind the dash, the others below.
func (p *printer) item(indent int, v ast.Node) {
	var inner printer
	switch v := v.(type) {
	case *ast.MappingNode:
		if isBlock(v) {
			inner.mapping(indent+2, v)
		}
	case *ast.SequenceNode:
		if isBlock(v) {
			inner.sequence(indent+2, v, false)
		}
	case *ast.LiteralNode:
		inner.literal(indent, "-", v)
		p.b.WriteString(inner.b.String())
		return
	}
	if inner.b.Len() == 0 {
		p.inline(indent, "-", v)
		return
	}
	p.b.WriteString(strings.Repeat(" ", indent) + "- " + strings.TrimLeft(inner.b.String(), " "))
}
