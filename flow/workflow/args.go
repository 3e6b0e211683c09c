package workflow

import (
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

// resolveArgs puts the provided arguments on top of the declared defaults. What is no object is taken apart as JavaScript spreads it.
func resolveArgs(f *File, provided value.Value) value.Value {
	var b value.Builder
	for _, a := range f.Args {
		if !a.Default.IsUndefined() {
			b.Set(a.Name, a.Default)
		}
	}
	spread(&b, provided)
	return b.Value()
}

// Unmet compares what is given with what the file names: the arguments that have no value then, and what is given under other names, with a
// hint where one was probably meant. A run takes both as they are.
func (f *File) Unmet(provided value.Value) (missing, unknown []string) {
	if len(f.Args) == 0 {
		return nil, nil
	}
	named := map[string]bool{}
	given, _ := resolveArgs(f, provided).AsObject()
	for _, a := range f.Args {
		named[a.Name] = true
		if !given.Has(a.Name) {
			missing = append(missing, a.Name)
		}
	}
	for _, name := range given.Keys() {
		if !named[name] {
			if hint := didYouMean(name, named); hint != "" {
				name += " (" + hint + ")"
			}
			unknown = append(unknown, name)
		}
	}
	return missing, unknown
}

func spread(b *value.Builder, v value.Value) {
	switch v.Kind() {
	case value.KindObject:
		o, _ := v.AsObject()
		for k, f := range o.All() {
			b.Set(k, f)
		}
	case value.KindList:
		items, _ := v.AsList()
		for i, item := range items {
			b.Set(value.Text(value.Int(i)), item)
		}
	case value.KindString:
		s, _ := v.AsString()
		for i := range value.Len16(s) {
			b.Set(value.Text(value.Int(i)), value.String(value.Slice16(s, i, i+1)))
		}
	}
}

func argNames(args value.Value) []string {
	o, _ := args.AsObject()
	if o == nil {
		return nil
	}
	return o.Keys()
}

// argEnv gives steps the arguments as environment variables, which is how a shell gets them without any quoting.
func argEnv(env *interp.Env, args value.Value) *interp.Env {
	vars := map[string]string{"LOBSTER_ARGS_JSON": args.JSON()}
	o, _ := args.AsObject()
	for k, v := range o.All() {
		if name := argVar(k); name != "" {
			vars["LOBSTER_ARG_"+name] = value.UTF8(value.Text(v))
		}
	}
	return env.WithVars(vars)
}

// argVar is an argument's name as a variable's: capital letters and digits, everything else one underscore.
func argVar(name string) string {
	var b strings.Builder
	for _, c := range value.Upper(name) {
		switch {
		case c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
			b.WriteRune(c)
		case !strings.HasSuffix(b.String(), "_"):
			b.WriteByte('_')
		}
	}
	return strings.Trim(b.String(), "_")
}

// stepEnv is a step's world: its own variables and directory over those of base.
func stepEnv(base *interp.Env, sc scope, vars []Var, cwd string) *interp.Env {
	env := base
	if len(vars) > 0 {
		env = env.WithVars(fillVars(sc, vars))
	}
	if cwd != "" {
		c := *env
		c.Dir = sc.fillArgs(cwd)
		env = &c
	}
	return env
}

// fileEnv is the world of the whole file at this point: its variables may refer to results.
func (r *runner) fileEnv(sc scope) *interp.Env {
	return stepEnv(r.env, sc, r.file.Env, r.file.Cwd)
}

func fillVars(sc scope, vars []Var) map[string]string {
	out := make(map[string]string, len(vars))
	for _, v := range vars {
		out[v.Name] = value.UTF8(sc.fill(v.Text))
	}
	return out
}
