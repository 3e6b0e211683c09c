package workflow

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"lobstah/flow/filter"
	"lobstah/flow/interp"
	"lobstah/flow/syntax"
	"lobstah/flow/value"
)

// Check reads a workflow file and reports everything that is wrong with it, and what is risky, in the order of the file. Nothing runs. Commands may
// be nil; then the names of commands are not looked up. The error tells only that the file cannot be read.
func Check(name string, commands *interp.Registry) (problems []Problem, source string, err error) {
	source, err = read(name)
	if err != nil {
		return nil, "", err
	}
	return CheckSource(name, source, commands), source, nil
}

// CheckSource is [Check] for a text; name decides its syntax and where nested files are looked for.
func CheckSource(name, source string, commands *interp.Registry) []Problem {
	root, err := parse(name, source)
	if syn, ok := errors.AsType[*SyntaxError](err); ok {
		return []Problem{{Severity: Fault, Line: syn.Line, Column: syn.Column, Message: syn.Message, Hint: syntaxHint(syn.Message)}}
	}
	if err != nil {
		return []Problem{{Severity: Fault, Line: 1, Column: 1, Message: err.Error()}}
	}
	v := validator{checkSchema: compileSchema}
	v.document(root)
	l := &linter{source: source, name: name, commands: commands, problems: v.problems, known: map[string]bool{}}
	l.words(root)
	if len(v.problems) == 0 {
		l.file(decode(name, source, root))
	}
	slices.SortStableFunc(l.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if len(l.problems) > maxProblems {
		rest := l.problems[maxProblems:]
		if slices.ContainsFunc(rest, func(p Problem) bool { return p.Severity == Fault }) {
			l.unlisted = Fault
		}
		more := Problem{Severity: cmp.Or(l.unlisted, Warning), Line: rest[0].Line, Column: rest[0].Column,
			Message: fmt.Sprintf("there are more problems than %d; from here on they are not listed", maxProblems)}
		return append(l.problems[:maxProblems:maxProblems], more)
	}
	return l.problems
}

// maxProblems is how many problems of a file are listed. Nobody reads so many, and each costs time.
const maxProblems = 200

func syntaxHint(message string) string {
	switch {
	case strings.HasPrefix(message, "Nested mappings"):
		return `put the text in quotes, or after "|" on its own lines: a colon followed by a blank means a key in YAML`
	case strings.HasPrefix(message, "Found character '\t'"):
		return "indent with blanks; YAML takes no tabs there"
	case strings.HasPrefix(message, "Could not find end character"):
		return "end the text with the quote that it begins with"
	case strings.HasPrefix(message, "Map keys must be unique"):
		return "write the key once"
	}
	return ""
}

// linter looks for what a valid file may still get wrong.
type linter struct {
	source   string
	name     string
	commands *interp.Registry
	problems []Problem
	known    map[string]bool // ids whose results exist by now
	all      map[string]bool // all ids of the file
	args     map[string]bool
	gated    bool     // a step before this one waits for a person
	unlisted Severity // of what was found after the list was full
}

// isFull reports whether there are more problems than will be listed, one of which has this severity.
func (l *linter) isFull(sev Severity) bool {
	full := len(l.problems) > maxProblems
	if full && l.unlisted != Fault {
		l.unlisted = sev
	}
	return full
}

func (l *linter) add(sev Severity, n *node, message, hint string) {
	if l.isFull(sev) {
		return
	}
	l.problems = append(l.problems, Problem{sev, n.line, n.col, message, hint})
}

// addAt reports at a byte of a text.
func (l *linter) addAt(sev Severity, n *node, offset int, message, hint string) {
	if l.isFull(sev) {
		return
	}
	line, col := n.at(l.source, offset)
	l.problems = append(l.problems, Problem{sev, line, col, message, hint})
}

func (l *linter) file(f *File) {
	l.all, l.args = map[string]bool{}, map[string]bool{}
	for _, a := range f.Args {
		l.args[a.Name] = true
	}
	for _, s := range f.Steps {
		l.all[s.ID] = true
		if s.Branches != nil {
			for _, b := range s.Branches.List {
				l.all[b.ID] = true
			}
		}
	}
	if limit := f.root.get("cost_limit"); limit != nil && limit.val("max_usd").Kind() == value.KindString {
		l.add(Warning, limit.get("max_usd"), "cost_limit.max_usd is text", "write the number without quotes")
	}
	for _, s := range f.Steps {
		l.step(s)
	}
}

func (l *linter) step(s *Step) {
	l.condition(s)
	l.stdin(s)
	switch s.Kind {
	case Shell, Pipeline:
		l.text(s)
	case Parallel:
		for _, b := range s.Branches.List {
			l.stdin(b)
			l.text(b)
		}
		for _, b := range s.Branches.List {
			l.known[b.ID] = true
		}
	case ForEach:
		l.loop(s)
	case Nested:
		l.nested(s)
	}
	l.prompts(s)
	l.gated = l.gated || s.Gate != nil || s.Kind == Question
	if s.Gate != nil && s.Kind != NoOp {
		l.add(Warning, s.node.get("approval"), "the step runs first and asks for approval afterwards", "give the approval a step of its own before this one")
	}
	l.known[s.ID] = true
}

// prompts warns of references in what a person is asked: nothing fills them in.
func (l *linter) prompts(s *Step) {
	n := s.node.get("approval")
	if n.isObject() {
		n = n.get("prompt")
	}
	if s.Kind == Question {
		n = s.node.get("input").get("prompt")
	}
	if n == nil {
		return
	}
	text, _ := n.value.AsString()
	for _, m := range argRef.FindAllStringSubmatchIndex(text, -1) {
		if l.args[text[m[2]:m[3]]] {
			l.addAt(Warning, n, m[0], "prompts are shown as they are written, so "+text[m[0]:m[1]]+" is not filled in", "show values as the gate's stdin or items")
		}
	}
	for _, m := range stepRef.FindAllStringSubmatchIndex(text, -1) {
		if l.known[text[m[2]:m[3]]] {
			l.addAt(Warning, n, m[0], "prompts are shown as they are written, so "+text[m[0]:m[1]]+" is not filled in", "show values as the gate's stdin or items")
		}
	}
}

func (l *linter) loop(s *Step) {
	over := s.node.get("for_each")
	ref, ok := asReference(s.Loop.Over)
	switch {
	case !ok && !argRef.MatchString(s.Loop.Over):
		l.add(Fault, over, "for_each must be a reference such as $step.json", "name the step whose result is the list")
	case ok:
		l.reference(over, 0, ref)
	}
	var own []string // known within the loop only
	know := func(id string) {
		if !l.known[id] {
			l.known[id] = true
			own = append(own, id)
		}
	}
	know(s.Loop.Item)
	know(s.Loop.Index)
	for _, sub := range s.Loop.Steps {
		l.condition(sub)
		l.stdin(sub)
		l.text(sub)
		know(sub.ID)
	}
	for _, id := range own {
		delete(l.known, id)
	}
}

func (l *linter) nested(s *Step) {
	if at := stepRef.FindStringIndex(s.Path); at != nil {
		l.addAt(Warning, s.node.get("workflow"), at[0], "the file's name depends on a step, so an approval before it cannot be bound to the file", "name the file here, or in an argument")
		return
	}
	if argRef.MatchString(s.Path) {
		return
	}
	path := s.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(l.name), path)
	}
	if _, err := os.Stat(path); err != nil {
		l.add(Fault, s.node.get("workflow"), "workflow file not found: "+path, "the path is relative to this file")
	}
}

func (l *linter) condition(s *Step) {
	n := s.node.get("when")
	if n == nil {
		n = s.node.get("condition")
	}
	if n == nil || n.value.Kind() == value.KindBool {
		return
	}
	text, ok := n.value.AsString()
	if !ok {
		l.add(Fault, n, "Unsupported condition type", "a condition is true, false or a text such as $step.json.ok == true")
		return
	}
	if _, err := parseCondition(text); err != nil {
		l.addAt(Fault, n, condFault(text), "Unsupported condition: "+value.Trim(text), `compare with ==, !=, <, <=, >, >=; join with && and ||; put text in quotes; refer to steps as $id.json.field`)
		return
	}
	l.references(n, text)
}

// stdin checks what a step reads: a whole reference must exist when the step runs.
func (l *linter) stdin(s *Step) {
	n := s.node.get("stdin")
	text, ok := s.Stdin.AsString()
	if n == nil || !ok {
		return
	}
	if ref, isRef := asReference(text); isRef {
		l.reference(n, 0, ref)
	}
}

// references checks all references of a text that must exist.
func (l *linter) references(n *node, text string) {
	for _, m := range stepRef.FindAllStringSubmatchIndex(text, -1) {
		l.reference(n, m[0], reference{text[m[2]:m[3]], text[m[4]:m[5]]})
	}
}

var resultFields = []string{"id", "stdout", "json", "approved", "approvedBy", "initiatedBy", "subject", "response", "skipped", "error", "errorMessage"}

func (l *linter) reference(n *node, offset int, ref reference) {
	switch {
	case !l.known[ref.id] && l.all[ref.id]:
		l.addAt(Fault, n, offset, "step "+ref.id+" runs later, so it has no result yet", "move this step behind it")
	case !l.known[ref.id] && l.isFull(Fault):
	case !l.known[ref.id]:
		l.addAt(Fault, n, offset, "Unknown step reference: "+ref.String(), didYouMean(ref.id, l.known))
	default:
		l.fieldOf(n, offset, ref)
	}
}

func (l *linter) fieldOf(n *node, offset int, ref reference) {
	field, _, _ := strings.Cut(ref.path, ".")
	if !slices.Contains(resultFields, field) {
		l.addAt(Warning, n, offset, "a step's result has no field "+field, "its fields are "+strings.Join(resultFields, ", "))
	}
}

// text checks the shell or pipeline text of a step.
func (l *linter) text(s *Step) {
	key := string(Pipeline)
	if s.Kind == Shell {
		if key = "run"; s.node.text("run") == "" {
			key = "command"
		}
	}
	n := s.node.get(key)
	l.pasted(n, s)
	l.variables(n, s.Text)
	if word, hidden := hiddenScript(s.Text); hidden && l.gated {
		l.add(Warning, n, "which file "+word+" is cannot be told before the step runs, so the approval before it is not bound to the file's contents", "name the script by a plain path from the workflow's folder")
	}
	for _, m := range stepRef.FindAllStringSubmatchIndex(s.Text, -1) {
		ref := reference{s.Text[m[2]:m[3]], s.Text[m[4]:m[5]]}
		switch {
		case l.known[ref.id]:
			l.fieldOf(n, m[0], ref)
		case l.all[ref.id]:
			l.addAt(Warning, n, m[0], "step "+ref.id+" runs later, so this stays as it is written", "move this step behind it")
		}
	}
	if s.Kind == Pipeline {
		l.pipeline(n, s.Text)
	}
}

// pasted warns of values that become part of a program's text.
func (l *linter) pasted(n *node, s *Step) {
	what, safe := "shell", func(arg string) string {
		return `use "$LOBSTER_ARG_` + argVar(arg) + `", which the shell never reads as code`
	}
	if s.Kind == Pipeline {
		what, safe = "pipeline", func(arg string) string {
			return `hand it over as data: stdin, or a shell stage with "$LOBSTER_ARG_` + argVar(arg) + `"`
		}
	}
	for _, m := range argRef.FindAllStringSubmatchIndex(s.Text, -1) {
		if name := s.Text[m[2]:m[3]]; l.args[name] {
			l.addAt(Warning, n, m[0], "the value of ${"+name+"} is pasted into "+what+" text, so it can run commands", safe(name))
		}
	}
	for _, m := range stepRef.FindAllStringSubmatchIndex(s.Text, -1) {
		ref := reference{s.Text[m[2]:m[3]], s.Text[m[4]:m[5]]}
		if l.known[ref.id] && ref.path != "approved" && ref.path != "skipped" && ref.path != "error" {
			l.addAt(Warning, n, m[0], "the value of $"+ref.String()+" is pasted into "+what+" text, so it can run commands",
				`hand it over as stdin: $`+ref.String()+`, or as env: {VALUE: $`+ref.String()+`} and "$VALUE"`)
		}
	}
}

// variables reports variables of arguments that the file does not name: misspelt ones are empty in a shell, and nobody says so.
func (l *linter) variables(n *node, text string) {
	if len(l.args) == 0 {
		return
	}
	known := map[string]bool{"LOBSTER_ARGS_JSON": true}
	for name := range l.args {
		known["LOBSTER_ARG_"+argVar(name)] = true
	}
	for _, m := range argVariable.FindAllStringIndex(text, -1) {
		if name := text[m[0]:m[1]]; !known[name] {
			l.addAt(Warning, n, m[0], name+" belongs to no argument that the file names", didYouMean(name, known))
		}
	}
	for _, m := range argRef.FindAllStringSubmatchIndex(text, -1) {
		if name := text[m[2]:m[3]]; !l.args[name] && !strings.HasPrefix(name, "LOBSTER_ARG") {
			if hint := didYouMean(name, l.args); hint != "" && name != strings.ToUpper(name) { // capitals are a shell's own
				l.addAt(Warning, n, m[0], "the file names no argument "+name+", so ${"+name+"} is left to the shell", hint)
			}
		}
	}
}

// argVariable is what could be the variable of an argument in shell text.
var argVariable = regexp.MustCompile(`\bLOBSTER_ARG_[A-Z0-9_]+`)

// filters reports filters of a template that do not exist, which a run tells when its first item is there.
func (l *linter) filters(n *node, stage syntax.Stage) {
	text, ok := stage.Args.Text("text")
	if !ok {
		text = stage.Args.Joined()
	}
	if stage.Name != "template" || stage.Args.Has("file") || argRef.MatchString(text) || stepRef.MatchString(text) {
		return
	}
	if e, found := filter.Unknown(text); found {
		l.addAt(Fault, n, stage.Offset, e.Error(), e.Hint())
	}
}

func (l *linter) pipeline(n *node, text string) {
	p, err := syntax.Parse(text)
	if fault, ok := errors.AsType[*syntax.Error](err); ok {
		l.addAt(Fault, n, fault.Offset, fault.Message, fault.Hint)
		return
	}
	if err != nil || l.commands == nil {
		return
	}
	for _, stage := range p.Stages {
		l.filters(n, stage)
		_, ok := l.commands.Lookup(stage.Name)
		if ok || strings.ContainsAny(stage.Name, "$") {
			continue
		}
		names := map[string]bool{}
		for _, c := range l.commands.All() {
			names[c.Name] = true
		}
		l.addAt(Fault, n, stage.Offset, "Unknown command: "+stage.Name, didYouMean(stage.Name, names))
	}
}
