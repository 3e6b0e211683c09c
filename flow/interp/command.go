package interp

import (
	"context"
	"maps"
	"slices"

	"lobstah/flow/syntax"
	"lobstah/flow/value"
)

// Command is one command of the pipeline language.
type Command struct {
	Name        string
	Description string // one sentence
	Help        string // what `lobster help NAME` prints
	Params      []Param
	Required    []string // names of parameters that must be given
	SideEffects []string // what it may do outside the pipeline; empty means that it may be run again
	Lazy        bool     // it pulls one item at a time, and only when it is pulled
	Stops       bool     // it may stop pulling before its input ends
	Extra       bool     // the original program lacks it

	// Run starts the command. It pulls from call.Input only here or when its own output is pulled.
	Run func(ctx context.Context, call *Call) (Output, error)
}

// Param is a flag, or with the name "_" the positional words.
type Param struct {
	Name        string
	Type        string // string, number, boolean or array
	Description string
	Default     value.Value
}

// Output is what a stage hands on.
type Output struct {
	Output   Seq // nil means no items
	Halt     bool
	Rendered bool
}

// Call is one command at work: what it got from the pipeline.
type Call struct {
	*Env
	// Go starts a goroutine that must end soon after the context of the run has.
	Go    func(func())
	Args  syntax.Args
	Input Seq
	Stage int    // index in the pipeline
	Name  string // as the pipeline spelled it
	// Response is the person's answer to the request that this stage had suspended itself for, or Undefined.
	Response value.Value
	// MayStopEarly says that what follows might not pull everything, so waiting for the end of an input would be wrong.
	MayStopEarly bool
}

// Emit is the Output of these items.
func Emit(items ...value.Value) Output { return Output{Output: Items(items...)} }

// Registry holds the commands by name.
type Registry struct {
	commands map[string]Command
	withheld map[string]bool // those that [Registry.Only] left out
}

// NewRegistry returns a registry of these commands.
func NewRegistry(commands ...Command) *Registry {
	r := &Registry{commands: make(map[string]Command, len(commands))}
	for _, c := range commands {
		r.commands[c.Name] = c
	}
	return r
}

// Only returns a registry of the named commands of r and no others. Shell text, which can do whatever exec can, runs only if exec is among them.
func (r *Registry) Only(names ...string) *Registry {
	kept := &Registry{commands: map[string]Command{}, withheld: map[string]bool{}}
	for name, c := range r.commands {
		if slices.Contains(names, name) {
			kept.commands[name] = c
		} else {
			kept.withheld[name] = true
		}
	}
	return kept
}

// Missing is the error of a name that the registry lacks.
func (r *Registry) Missing(name string) error {
	if r.withheld[name] {
		return NotAllowedError{name}
	}
	return UnknownCommandError{name}
}

// MayRunShell says why shell text may not be run, or nil.
func (r *Registry) MayRunShell() error {
	if r != nil && r.withheld["exec"] {
		return NotAllowedError{"exec"}
	}
	return nil
}

// Lookup returns the command of that name.
func (r *Registry) Lookup(name string) (Command, bool) {
	c, ok := r.commands[name]
	return c, ok
}

// All returns the commands sorted by name.
func (r *Registry) All() []Command {
	return slices.SortedFunc(maps.Values(r.commands), func(a, b Command) int { return value.Compare16(a.Name, b.Name) })
}

// Schema returns the JSON Schema of the arguments.
func (c Command) Schema() value.Value {
	var props value.Builder
	for _, p := range c.Params {
		props.Set(p.Name, p.schema())
	}
	return value.Record(value.F("type", value.String("object")), value.F("properties", props.Value()), value.F("required", value.Strings(c.Required)))
}

func (p Param) schema() value.Value {
	var b value.Builder
	b.Set("type", value.String(p.Type))
	if p.Type == "array" {
		b.Set("items", value.Record(value.F("type", value.String("string"))))
	}
	if p.Description != "" {
		b.Set("description", value.String(p.Description))
	}
	if !p.Default.IsUndefined() {
		b.Set("default", p.Default)
	}
	return b.Value()
}
