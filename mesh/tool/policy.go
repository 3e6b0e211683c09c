package tool

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"lobstah/key"
)

// Names of the native tools, whose arguments the policy reads.
const (
	Exec     = "exec"
	Read     = "read"
	Write    = "write"
	Edit     = "edit"
	List     = "list"
	WebFetch = "web_fetch"
)

var natives = []string{Exec, Read, Write, Edit, List, WebFetch}

// Place is what a policy has to know of the node that it is for.
type Place struct {
	Node string // its name, for hints to callers
	Home string // ~ in paths
	Work string // the folder that is granted where no paths are named
	// Pin resolves a name of Config.Callers to a key; nil knows none. A name
	// that is not pinned is nobody, since any member may call itself so.
	Pin func(name string) (key.ID, bool)
	// Verified refuses callers whose key is not pinned: `trust: verified`.
	Verified bool
}

// A Policy decides who may use which tool how. It is immutable and pure; the
// zero Policy denies everything.
type Policy struct {
	cfg   Config
	place Place
	roots []string
	rules map[string]Rule // with absolute paths
}

// NewPolicy makes the policy of a configuration.
func NewPolicy(cfg Config, place Place) (*Policy, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	p := &Policy{cfg: cfg, place: place, roots: expand(cfg.Paths, place.Home), rules: map[string]Rule{}}
	if len(cfg.Paths) == 0 && place.Work != "" {
		p.roots = []string{place.Work}
	}
	for name, rule := range cfg.Callers {
		rule.Paths = expand(rule.Paths, place.Home)
		p.rules[name] = rule
	}
	return p, nil
}

// A Verdict is what a policy decided. Refusal says why a call is denied and who
// can change that; it is nil when the call is allowed.
type Verdict struct {
	Grant   Grant
	Refusal *Error
}

func deny(code, hint, format string, args ...any) Verdict {
	return Verdict{Refusal: refuse(code, hint, format, args...)}
}

// Decide judges one call. It reads the arguments of exec and of the tools for
// files as mesh/tool/native does; those of other tools are no concern of it.
func (p *Policy) Decide(c Caller, tool string, args json.RawMessage) Verdict {
	v, rule := p.admit(c, tool)
	if v.Refusal != nil {
		return v
	}
	grant := Grant{Roots: p.granted(rule), Timeout: p.cfg.timeout(), MaxOutput: p.cfg.maxOutput()}
	switch tool {
	case Exec:
		return p.decideExec(grant, rule, args)
	case Read, Write, Edit, List:
		return decidePath(grant, tool, args)
	}
	return Verdict{Grant: grant}
}

// Names lists the tools that the configuration spells out for anybody, and the
// native ones that it covers.
func (p *Policy) Names() []string {
	if !p.cfg.Enabled {
		return nil
	}
	lists := [][]string{p.cfg.Allow}
	if p.cfg.Callers != nil {
		lists = nil
		for _, rule := range p.rules {
			lists = append(lists, rule.Allow)
		}
	}
	var names []string
	for _, list := range lists {
		for _, name := range slices.Concat(natives, list) {
			if covers(list, name) && p.allows(name) && !covers(p.cfg.Deny, name) && !strings.HasSuffix(name, "*") {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Welcomes refuses a caller who may use no tool at all.
func (p *Policy) Welcomes(c Caller) *Error {
	switch {
	case !p.cfg.Enabled:
		return refuse(CodeDisabled, p.owner("can set toolProxy.enabled"), "this node lends no tools")
	case p.place.Verified && !c.Verified:
		return refuse(CodeUnverified, fmt.Sprintf("on %s: clawmatrix verify %s", p.here(), c), "%s is not verified here", c)
	case p.cfg.Callers == nil:
		return nil
	}
	if _, found := p.ruleOf(c.Key); !found {
		return refuse(CodeDenied, p.owner(changeToolProxy), "%s may use no tools here (not in toolProxy.callers)", c)
	}
	return nil
}

// owner is a hint to who can change something.
func (p *Policy) owner(can string) string { return "the owner of " + p.here() + " " + can }

func (p *Policy) here() string { return cmp.Or(p.place.Node, "this node") }

const changeToolProxy = "can change toolProxy in its configuration"

// Offers reports whether a caller may use a tool with some arguments at least.
func (p *Policy) Offers(c Caller, tool string) bool {
	v, _ := p.admit(c, tool)
	return v.Refusal == nil
}

// admit judges the caller and the tool. The rule is that of the caller; nil when
// the configuration has none for anybody.
func (p *Policy) admit(c Caller, tool string) (Verdict, *Rule) {
	if refusal := p.Welcomes(c); refusal != nil {
		return Verdict{Refusal: refusal}, nil
	}
	switch {
	case covers(p.cfg.Deny, tool):
		return deny(CodeDenied, p.owner(changeToolProxy), "%s is denied here (toolProxy.deny)", tool), nil
	case len(p.cfg.Allow) == 0 && !p.byCaller():
		return deny(CodeDenied, `an empty list allows nothing; ["*"] is everything`, "no tool is allowed here (toolProxy.allow is empty)"), nil
	case !p.allows(tool):
		return deny(CodeDenied, p.owner(changeToolProxy), "%s is not allowed here (toolProxy.allow)", tool), nil
	case p.cfg.Callers == nil:
		return Verdict{}, nil
	}
	name, _ := p.ruleOf(c.Key)
	rule := p.rules[name]
	if !covers(rule.Allow, tool) {
		return deny(CodeDenied, p.owner(changeToolProxy), "%s may not use %s here (toolProxy.callers.%s.allow)", c, tool, name), nil
	}
	return Verdict{}, &rule
}

// byCaller reports whether the lists of callers alone say what is allowed.
func (p *Policy) byCaller() bool { return p.cfg.Callers != nil && p.cfg.Allow == nil }

// allows reports whether the node's own list has a tool.
func (p *Policy) allows(tool string) bool { return p.byCaller() || covers(p.cfg.Allow, tool) }

// ruleOf finds the rule for a key: under its text form, else under a name that
// is pinned to it.
func (p *Policy) ruleOf(id key.ID) (name string, found bool) {
	if _, ok := p.rules[id.String()]; ok {
		return id.String(), true
	}
	for _, name := range slices.Sorted(maps.Keys(p.rules)) {
		if p.place.Pin == nil {
			break
		}
		if pinned, ok := p.place.Pin(name); ok && pinned == id {
			return name, true
		}
	}
	return "", false
}

// granted is the folders of a caller: its own, as far as they lie in the node's.
func (p *Policy) granted(rule *Rule) []string {
	if rule == nil {
		return p.roots
	}
	var out []string
	for _, mine := range rule.Paths {
		if len(p.cfg.Paths) == 0 || slices.ContainsFunc(p.roots, func(root string) bool { return within(root, mine) }) {
			out = append(out, mine)
		}
	}
	return out
}

func within(root, path string) bool {
	rel, err := filepath.Rel(root, path)
	return err == nil && filepath.IsLocal(rel)
}

// ExecArgs are the arguments of exec. Command is a line for a shell, or, where
// none is granted, words in the quotes of one; Argv is a program and its
// arguments, run as they are. Timeout is in seconds.
type ExecArgs struct {
	Command string            `json:"command,omitempty"`
	Argv    []string          `json:"argv,omitempty"`
	Workdir string            `json:"workdir,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	Timeout float64           `json:"timeout,omitempty"`
}

func (p *Policy) decideExec(grant Grant, rule *Rule, raw json.RawMessage) Verdict {
	var args ExecArgs
	if err := ReadArgs(raw, &args); err != nil {
		return Verdict{Refusal: asError(err)}
	}
	if (args.Command == "") == (len(args.Argv) == 0) {
		return deny(CodeArguments, "", "exec wants either command or argv")
	}
	if args.Workdir != "" {
		if _, _, err := grant.Locate(args.Workdir); err != nil {
			return Verdict{Refusal: asError(err)}
		}
	}
	if p.anyCommand(rule) {
		grant.Shell = true
		return Verdict{Grant: grant}
	}
	argv := args.Argv
	if argv == nil {
		var err error
		if argv, err = split(args.Command); err != nil {
			return deny(CodeCommand, "the owner grants a shell by the command \"*\"", "%s", err)
		}
	}
	switch {
	case len(args.Env) > 0:
		return deny(CodeCommand, "leave env out", "with a list of commands, variables cannot be set")
	case !p.commandAllowed(rule, argv):
		return deny(CodeCommand, p.owner("can add it to the commands of toolProxy"),
			"the command %.200q is not among those that you may run here", strings.Join(argv, " "))
	}
	grant.Argv = argv
	return Verdict{Grant: grant}
}

// anyCommand reports whether exec is unlimited: the node's and the caller's
// commands both are. Without a rule for callers, missing commands are, as in the
// original.
func (p *Policy) anyCommand(rule *Rule) bool {
	node := p.cfg.Commands == nil || slices.ContainsFunc(p.cfg.Commands, Pattern.anything)
	return node && (rule == nil || slices.ContainsFunc(rule.Commands, Pattern.anything))
}

func (p *Policy) commandAllowed(rule *Rule, argv []string) bool {
	matches := func(c Pattern) bool { return c.anything() || c.matches(argv) }
	node := p.cfg.Commands == nil || slices.ContainsFunc(p.cfg.Commands, matches)
	return node && (rule == nil || slices.ContainsFunc(rule.Commands, matches))
}

func decidePath(grant Grant, tool string, raw json.RawMessage) Verdict {
	var args struct {
		Path string `json:"path"`
	}
	if err := json.Unmarshal(raw, &args); err != nil { // the tool itself is strict about the others
		return deny(CodeArguments, "", "the arguments of %s: %s", tool, err)
	}
	if args.Path == "" && tool == List {
		args.Path = "."
	}
	if _, _, err := grant.Locate(args.Path); err != nil {
		return Verdict{Refusal: asError(err)}
	}
	return Verdict{Grant: grant}
}
