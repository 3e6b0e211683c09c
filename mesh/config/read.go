package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"lobstah/internal/livefile"
	"lobstah/internal/spelling"
	"lobstah/key"
	"lobstah/mesh/link"
	"lobstah/mesh/member"
)

// ErrNone says that there is no configuration.
var ErrNone = errors.New("there is no configuration")

// Read reads the file. What is wrong with its text is a [*livefile.DamagedError];
// a missing file is [ErrNone].
func Read(path string) (*Config, error) {
	c, err := livefile.Read(path, Parse)
	if errors.Is(err, ErrNone) {
		return nil, fmt.Errorf("%w at %s", ErrNone, path)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration %w", err)
	}
	return c, nil
}

// Parse reads the text of a file. JSON is read as the YAML that it is.
func Parse(data []byte) (*Config, error) {
	if data == nil {
		return nil, ErrNone
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, placed(err)
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, errors.New("want the fields of one node, such as nodeId and secret")
	}
	if err := plain(file.Docs[0].Body, 0); err != nil {
		return nil, err
	}
	c := new(Config)
	if err := yaml.NodeToValue(file.Docs[0].Body, c, yaml.Strict(), yaml.UseJSONUnmarshaler()); err != nil {
		return nil, placed(err)
	}
	c.defaults()
	if err := (&checker{file}).check(c); err != nil {
		return nil, err
	}
	return c, nil
}

// maxDepth is more than any field needs.
const maxDepth = 16

// plain refuses what JSON does not have either (tags, anchors, aliases, merges)
// and what is nested too deep: no field needs it, and the library is not at its
// best with it.
func plain(node ast.Node, depth int) error {
	if depth > maxDepth {
		return at(node, "nested deeper than any field")
	}
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, member := range n.Values {
			if err := plain(member, depth); err != nil {
				return err
			}
		}
	case *ast.MappingValueNode:
		if _, scalar := n.Key.(ast.ScalarNode); !scalar {
			return at(n, "want the name of a field here")
		}
		return errors.Join(plain(n.Key, depth), plain(n.Value, depth+1))
	case *ast.SequenceNode:
		for _, item := range n.Values {
			if err := plain(item, depth+1); err != nil {
				return err
			}
		}
	case *ast.StringNode, *ast.LiteralNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
	default:
		return at(node, "tags, anchors and the like are not read here")
	}
	return nil
}

func at(node ast.Node, text string) error {
	fault := &livefile.DamagedError{Err: errors.New(text)}
	if node != nil && node.GetToken() != nil {
		fault.Line = node.GetToken().Position.Line
	}
	return fault
}

// placed gives an error of the YAML library its line, and an unknown field the
// name that was probably meant.
func placed(err error) error {
	e, ok := errors.AsType[yaml.Error](err)
	if !ok {
		return err
	}
	fault := errors.New(e.GetMessage())
	if _, unknown := errors.AsType[*yaml.UnknownFieldError](err); unknown {
		fault = unknownField(e.GetToken().Value)
	} else if typed, ok := errors.AsType[*yaml.TypeError](err); ok {
		fault = fmt.Errorf("want %s here", kind(typed.DstType))
	} else if other, ok := errors.AsType[*yaml.UnexpectedNodeTypeError](err); ok && other.Expected == ast.SequenceType {
		fault = errors.New("want a list here, such as [this, that]")
	} else if ok && other.Expected == ast.MappingType {
		fault = errors.New("want fields here, such as name: value")
	}
	return &livefile.DamagedError{Line: e.GetToken().Position.Line, Err: fault}
}

func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "fields"
	}
	return "a text"
}

func unknownField(name string) error {
	if len(name) > 64 {
		return errors.New("there is no field of this name")
	}
	if strings.EqualFold(name, "apiKey") {
		return errors.New("no key stands in this file itself: name where it is by apiKeyEnv or apiKeyFile")
	}
	nearest, best := "", max(2, len(name)/3)+1
	for _, candidate := range fields(reflect.TypeFor[Config]()) {
		if d := spelling.Distance(strings.ToLower(name), strings.ToLower(candidate)); d < best {
			nearest, best = candidate, d
		}
	}
	if nearest == "" {
		return fmt.Errorf("there is no field %q", name)
	}
	return fmt.Errorf("there is no field %q; the nearest is %q", name, nearest)
}

// fields lists the names of all fields at all levels.
func fields(t reflect.Type) (names []string) {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" {
			names = append(append(names, name), fields(f.Type)...)
		}
	}
	return names
}

// UnmarshalYAML reads one text or a list.
func (s *Secrets) UnmarshalYAML(decode func(any) error) error {
	var one string
	if decode(&one) == nil {
		*s = Secrets{one}
		return nil
	}
	var list []string
	if err := decode(&list); err != nil {
		return errors.New("secret: want a text, or a list of them with the newest first")
	}
	*s = list
	return nil
}

// String keeps the secrets out of texts.
func (s Secrets) String() string { return fmt.Sprintf("(%d secret)", len(s)) }

// GoString does for %#v what String does for the others.
func (s Secrets) GoString() string { return s.String() }

// checker finds the lines of fields that are wrong in themselves.
type checker struct{ file *ast.File }

func (k *checker) fault(path, format string, args ...any) error {
	fault := &livefile.DamagedError{Err: fmt.Errorf(format, args...)}
	if p, err := yaml.PathString(path); err == nil {
		if node, err := p.FilterFile(k.file); err == nil {
			fault.Line = node.GetToken().Position.Line
		}
	}
	return fault
}

func (k *checker) check(c *Config) error {
	offer := c.Offer()
	switch {
	case c.NodeID == "":
		return k.fault("$.nodeId", "nodeId is missing: give this node a name, such as office-01")
	case !nodeName(c.NodeID):
		return k.fault("$.nodeId", "nodeId %.80q: want 1 to %d letters, digits, dots, dashes or underscores", c.NodeID, member.MaxName)
	case len(c.Secret) == 0 || slices.Contains(c.Secret, ""):
		return k.fault("$.secret", "secret is missing: all nodes of a mesh have the same; clawmatrix init makes one")
	case len(c.Secret) > link.MaxSecrets:
		return k.fault("$.secret", "%d secrets, at most %d can be in force", len(c.Secret), link.MaxSecrets)
	case c.Trust != Verified && c.Trust != BySecret:
		return k.fault("$.trust", "trust: %q is neither %s nor %s", c.Trust, Verified, BySecret)
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return k.fault("$.tlsCert", "tlsCert and tlsKey belong together")
	}
	for _, port := range []struct {
		name   string
		number int
	}{{"listenPort", c.ListenPort}, {"proxyPort", c.ProxyPort}} {
		if port.number < 1 || port.number > 65535 {
			return k.fault("$."+port.name, "%s: %d is no port", port.name, port.number)
		}
	}
	if err := offer.Check(); err != nil {
		return k.fault("$.agents", "agents, models or tags: %w", err)
	}
	return errors.Join(k.checkPeers(c), k.checkAgents(c), k.checkRest(c))
}

func (k *checker) checkPeers(c *Config) error {
	seen := map[string]bool{}
	for i, p := range c.Peers {
		at := func(field string) string { return fmt.Sprintf("$.peers[%d].%s", i, field) }
		if _, err := link.ParseURL(p.URL); err != nil {
			return k.fault(at("url"), "%w", err)
		}
		if p.NodeID != "" && !nodeName(p.NodeID) {
			return k.fault(at("nodeId"), "nodeId %.80q is no name of a node", p.NodeID)
		}
		if p.NodeID == c.NodeID {
			return k.fault(at("nodeId"), "%q is this node itself", p.NodeID)
		}
		if _, err := key.ParseID(p.Key); p.Key != "" && err != nil {
			return k.fault(at("key"), "%w", err)
		}
		if seen[p.URL] {
			return k.fault(at("url"), "%s stands twice", p.URL)
		}
		seen[p.URL] = true
	}
	return nil
}

func (k *checker) checkAgents(c *Config) error {
	seen := map[string]bool{}
	for i, a := range c.Agents {
		at := func(field string) string { return fmt.Sprintf("$.agents[%d].%s", i, field) }
		works := 0
		for _, set := range []bool{len(a.Command) > 0, a.A2A != "", a.OpenClaw != ""} {
			if set {
				works++
			}
		}
		switch {
		case seen[a.ID]:
			return k.fault(at("id"), "the agent %q stands twice", a.ID)
		case works > 1:
			return k.fault(at("id"), "the agent %q: only one of command, a2a and openclaw can work at its tasks", a.ID)
		case a.A2A != "" && !strings.HasPrefix(a.A2A, "https://") && !strings.HasPrefix(a.A2A, "http://"):
			return k.fault(at("a2a"), "a2a: want the http or https URL of the agent or of its card")
		case a.AtOnce < 0 || a.Idle < 0:
			return k.fault(at("id"), "the agent %q: atOnce and idle are numbers from 1", a.ID)
		}
		seen[a.ID] = true
	}
	return nil
}

func (k *checker) checkRest(c *Config) error {
	for i, a := range c.Addresses {
		if _, err := HostPort(a, c.ListenPort); err != nil {
			return k.fault(fmt.Sprintf("$.addresses[%d]", i), "%w", err)
		}
	}
	for i, text := range c.Proxies {
		if _, err := proxyPrefix(text); err != nil {
			return k.fault(fmt.Sprintf("$.trustedProxies[%d]", i), "trustedProxies: %w", err)
		}
	}
	for i, m := range c.Models {
		if fault := providerFault(m.Provider); fault != "" {
			return k.fault(fmt.Sprintf("$.models[%d].provider", i), "provider: %s", fault)
		}
		if fault := m.keyFault(); fault != "" {
			return k.fault(fmt.Sprintf("$.models[%d].id", i), "the model %q: %s", m.ID, fault)
		}
	}
	if err := c.ToolProxy.Check(); err != nil {
		return k.fault(k.named("toolProxy", err), "%w", err)
	}
	if c.APIPort < 0 || c.APIPort > 65535 {
		return k.fault("$.apiPort", "apiPort: %d is no port", c.APIPort)
	}
	return nil
}

// named is the path of the innermost field that an error's first word names and
// the file has.
func (k *checker) named(field string, err error) string {
	word, _, _ := strings.Cut(err.Error(), " ")
	for word = strings.TrimRight(word, ":"); len(word) > len(field); word = word[:max(strings.LastIndexByte(word, '.'), 0)] {
		if p, err := yaml.PathString("$." + word); err == nil {
			if _, err := p.FilterFile(k.file); err == nil {
				return "$." + word
			}
		}
	}
	return "$." + field
}

const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

func nodeName(s string) bool {
	return s != "" && len(s) <= member.MaxName && strings.Trim(s, nameBytes) == ""
}
