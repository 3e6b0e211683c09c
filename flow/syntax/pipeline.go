// Package syntax turns the text of a pipeline into a tree, and back. It executes nothing.
//
//   - [Parse] reads a pipeline: stages separated by |, each a command name and its words.
//   - [Pipeline.String] writes it in one canonical form, which parses to the same tree.
//   - [Pipeline.Value] and [FromValue] are its form in resume state files, shared with the original program.
//   - [Error] tells where the text is wrong: offset, line, column, and the line with a caret under it.
//
// Grammar: the text is split at every | that stands outside quotes; each piece is split into words at blanks, tabs and line
// ends. Quotes (" or ') may open anywhere in a word. In double quotes a backslash protects " \ $ and `, and swallows a line
// end; in single quotes it protects only '. The first word names the command. --key=value is a flag, --key takes the next word
// as its value unless that starts with --, everything else is positional. There are no boolean flags (exec --json excepted):
// whether a value is needed is not the grammar's business.
//
// Everybody under flow imports this package; it imports only flow/value. Text is hostile; it is never longer than what the
// caller chose to read, and parsing takes time proportional to it. Nothing here starts goroutines or keeps state.
package syntax

import (
	"slices"
	"strings"

	"lobstah/flow/value"
)

// Pipeline is a parsed pipeline: at least one stage, unless it came from a state file.
type Pipeline struct {
	Stages []Stage
}

// Stage is one command with its arguments.
type Stage struct {
	Name   string
	Args   Args
	Raw    string // the text between the bars, trimmed
	Offset int    // where Raw starts in the pipeline's text, in bytes; 0 if it came from a state file
}

// Args are the words after a command's name. The zero Args is empty.
type Args struct {
	Positional []string
	flags      *value.Object // name to string or true, in order; "_" is never among them
}

// NewArgs returns arguments with these positionals and flags.
func NewArgs(positional []string, flags ...value.Field) Args {
	o, _ := value.Record(flags...).AsObject()
	return Args{Positional: positional, flags: o}
}

// Get returns the first of the named flags that was given: a string, or true for a flag without value. Undefined if none was.
func (a Args) Get(names ...string) value.Value {
	for _, n := range names {
		if v, ok := a.flags.Get(n); ok {
			return v
		}
	}
	return value.Undefined
}

// Has reports whether the flag was given at all.
func (a Args) Has(name string) bool { return a.flags.Has(name) }

// Truthy reports whether one of the flags is there with a value that is not empty. "false" and "no" are true: flags are text.
func (a Args) Truthy(names ...string) bool { return a.Get(names...).Truthy() }

// Text returns the flag's text and whether it was given; a flag without value is "true".
func (a Args) Text(names ...string) (string, bool) {
	v := a.Get(names...)
	if v.IsUndefined() {
		return "", false
	}
	return value.Text(v), true
}

// Flags returns the flags in order.
func (a Args) Flags() *value.Object { return a.flags }

// Joined returns the positional words with blanks between.
func (a Args) Joined() string { return strings.Join(a.Positional, " ") }

// First returns the first positional word, or "".
func (a Args) First() string {
	if len(a.Positional) == 0 {
		return ""
	}
	return a.Positional[0]
}

// Value returns the arguments as one object: "_" with the positional words, then the flags.
func (a Args) Value() value.Value {
	var b value.Builder
	b.Set("_", value.Strings(a.Positional))
	for k, v := range a.flags.All() {
		b.Set(k, v)
	}
	return b.Value()
}

// Value returns the pipeline as the list that state files hold: [{name, args, raw}].
func (p Pipeline) Value() value.Value {
	out := make([]value.Value, len(p.Stages))
	for i, s := range p.Stages {
		out[i] = value.Record(value.F("name", value.String(s.Name)), value.F("args", s.Args.Value()), value.F("raw", value.String(s.Raw)))
	}
	return value.List(out...)
}

// FromValue reads the list that [Pipeline.Value] returns; false if it has another form.
func FromValue(v value.Value) (Pipeline, bool) {
	items, ok := v.AsList()
	if !ok {
		return Pipeline{}, false
	}
	p := Pipeline{Stages: make([]Stage, len(items))}
	for i, item := range items {
		if p.Stages[i], ok = stageFromValue(item); !ok {
			return Pipeline{}, false
		}
	}
	return p, true
}

func stageFromValue(v value.Value) (Stage, bool) {
	name, ok := v.Field("name").AsString()
	args, isObject := v.Field("args").AsObject()
	raw, hasRaw := v.Field("raw").AsString()
	if !ok || !isObject || !hasRaw {
		return Stage{}, false
	}
	words, _ := args.Get("_")
	list, _ := words.AsList()
	a := Args{flags: args.Without("_")}
	for _, w := range list {
		a.Positional = append(a.Positional, value.Text(w))
	}
	return Stage{Name: name, Args: a, Raw: raw}, true
}

// From returns the pipeline without its first n stages.
func (p Pipeline) From(n int) Pipeline {
	return Pipeline{Stages: p.Stages[min(max(n, 0), len(p.Stages)):]}
}

// Names returns the stages' command names.
func (p Pipeline) Names() []string {
	names := make([]string, 0, len(p.Stages))
	for _, s := range p.Stages {
		names = append(names, s.Name)
	}
	return names
}

// Equal reports whether both pipelines run the same commands with the same arguments.
func (p Pipeline) Equal(q Pipeline) bool {
	return slices.EqualFunc(p.Stages, q.Stages, func(a, b Stage) bool {
		return a.Name == b.Name && value.Same(a.Args.Value(), b.Args.Value())
	})
}
