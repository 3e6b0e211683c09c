package workflow

import (
	"iter"
	"math"
	"regexp"
	"strings"

	"lobstah/flow/value"
)

var (
	argRef    = regexp.MustCompile(`\$\{([A-Za-z0-9_-]+)\}`)
	stepRef   = regexp.MustCompile(`\$([A-Za-z0-9_-]+)\.([A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*)`)
	anyRef    = regexp.MustCompile(argRef.String() + `|` + stepRef.String() + `(?:\.(?:[A-Za-z0-9_]+|\$\{[A-Za-z0-9_-]+\}))*`)
	plainPath = regexp.MustCompile(`^[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*$`)
	refPrefix = regexp.MustCompile(`^` + stepRef.String())
	wholeRef  = regexp.MustCompile(`^` + stepRef.String() + `$`)

	condNumber = regexp.MustCompile(`^-?[0-9]+(?:\.[0-9]+)?`)
	condWord   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*`)
)

// reference is $id.path.
type reference struct{ id, path string }

func (r reference) String() string { return r.id + "." + r.path }

// asReference reads a text that is one reference and nothing else, blanks around it apart.
func asReference(text string) (reference, bool) {
	m := wholeRef.FindStringSubmatch(value.Trim(text))
	if m == nil {
		return reference{}, false
	}
	return reference{m[1], m[2]}, true
}

// references lists the references in a text.
func references(text string) []reference {
	var out []reference
	for _, m := range stepRef.FindAllStringSubmatch(text, -1) {
		out = append(out, reference{m[1], m[2]})
	}
	return out
}

// follow walks a path into a step's result. Lists take plain indices within their range, and nothing else has parts.
func follow(v value.Value, path string) value.Value {
	for seg := range strings.SplitSeq(path, ".") {
		switch v.Kind() {
		case value.KindObject:
			v = v.Field(seg)
		case value.KindList:
			v = itemAt(v, seg)
		default:
			return value.Undefined
		}
	}
	return v
}

func itemAt(list value.Value, seg string) value.Value {
	items, _ := list.AsList()
	i := value.ParseNumber(seg)
	if !(i >= 0 && i < float64(len(items)) && i == math.Trunc(i)) { // also when i is no number
		return value.Undefined
	}
	return items[int(i)]
}

// results are the results of the steps so far, in order. Branches may read them at the same time; only the run's own goroutine sets them.
type results struct {
	byID  map[string]value.Value
	order []string
}

func (r *results) get(id string) (value.Value, bool) {
	v, ok := r.byID[id]
	return v, ok
}

func (r *results) set(id string, v value.Value) {
	if r.byID == nil {
		r.byID = map[string]value.Value{}
	}
	if _, ok := r.byID[id]; !ok {
		r.order = append(r.order, id)
	}
	r.byID[id] = v
}

// value is the results as documents hold them.
func (r *results) value() value.Value {
	var b value.Builder
	for _, id := range r.order {
		b.Set(id, r.byID[id])
	}
	return b.Value()
}

// scope is what a text may refer to: arguments and results, those of a loop's round before those of the run.
type scope struct {
	args  value.Value
	steps stepLookup
}

type stepLookup interface {
	get(id string) (value.Value, bool)
}

// inner is a loop's round: its own results first.
type inner struct {
	own   *results
	outer stepLookup
}

func (i inner) get(id string) (value.Value, bool) {
	if v, ok := i.own.get(id); ok {
		return v, true
	}
	return i.outer.get(id)
}

// strict finds a reference whose step must exist.
func (s scope) strict(r reference) (value.Value, error) {
	v, ok := s.steps.get(r.id)
	if !ok {
		return value.Undefined, UnknownStepError{r.String()}
	}
	return follow(v, r.path), nil
}

// orFalse makes the two flags of a result false in texts while nobody has set them.
func orFalse(path string, v value.Value) value.Value {
	if v.IsUndefined() && (path == "approved" || path == "skipped") {
		return value.False
	}
	return v
}

// UnknownStepError is a reference to a step that has no result.
type UnknownStepError struct{ Ref string }

func (e UnknownStepError) Error() string { return "Unknown step reference: " + e.Ref }

// fillArgs replaces ${name} by the argument's text; names that are no arguments stay, so that the shell's own variables survive.
func (s scope) fillArgs(text string) string {
	if !strings.Contains(text, "${") {
		return text
	}
	return argRef.ReplaceAllStringFunc(text, s.argText)
}

// argText is what stands for a ${name}.
func (s scope) argText(ref string) string {
	args, _ := s.args.AsObject()
	if v, ok := args.Get(ref[2 : len(ref)-1]); ok {
		return value.Text(v)
	}
	return ref
}

// maxFilled caps what a text may become when its references are replaced, in bytes.
const maxFilled = 64 << 20

// fill replaces ${name} and $id.path, in one pass: an argument whose value looks like a reference stays what it is, so nobody can
// read a step's result by passing its name. Where it stands for a part of a path, as in $id.json.${name}, it names a field. References to steps without a result stay, and so do those that pass maxFilled, which
// [scope.fits] refuses before a step runs.
func (s scope) fill(text string) string { return s.fillUpTo(text, maxFilled) }

func (s scope) fillUpTo(text string, limit int) string {
	if !strings.Contains(text, "$") {
		return text
	}
	size := len(text)
	return anyRef.ReplaceAllStringFunc(text, func(m string) string {
		v, ok := s.referred(m)
		if !ok {
			return m
		}
		shown := v()
		if size += len(shown); size > limit {
			return m
		}
		return shown
	})
}

// referred finds what a match of anyRef stands for, as text to be made when it is wanted.
func (s scope) referred(m string) (func() string, bool) {
	if strings.HasPrefix(m, "${") {
		return func() string { return s.argText(m) }, true
	}
	ref, rest := m, ""
	if i := strings.Index(m, ".${"); i >= 0 {
		ref, rest = m[:i], m[i:]
	}
	id, path, _ := strings.Cut(ref[1:], ".")
	v, ok := s.steps.get(id)
	if !ok && rest != "" {
		return func() string { return ref + s.fillArgs(rest) }, true
	}
	return func() string {
		v := follow(v, path)
		if rest == "" {
			return inText(orFalse(path, v))
		}
		return s.field(v, rest)
	}, ok
}

// field is what $id.path.${name} is: an argument names a field of an object or a list, and follows the text of anything else.
func (s scope) field(v value.Value, rest string) string {
	filled := s.fillArgs(rest)
	switch path := strings.TrimPrefix(filled, "."); {
	case (v.Kind() == value.KindObject || v.Kind() == value.KindList) && plainPath.MatchString(path):
		return inText(follow(v, path))
	case v.IsNullish() && plainPath.MatchString(path):
		return ""
	}
	return inText(v) + filled
}

// fits refuses a step whose texts would be larger than maxFilled with the references in them replaced.
func (s scope) fits(step *Step) error {
	for text := range step.templates() {
		if !s.fitsText(text) {
			return plainError("Workflow step " + step.ID + " has a text of more than 64 MiB once its references are replaced; hand the value over as stdin: $step.json")
		}
	}
	return nil
}

func (s scope) fitsText(text string) bool {
	size := len(text)
	if !strings.Contains(text, "$") {
		return true
	}
	for _, m := range anyRef.FindAllString(text, -1) {
		if shown, ok := s.referred(m); ok {
			size += len(shown())
		}
		if size > maxFilled {
			return false
		}
	}
	return true
}

// templates yields the texts of a step in which references are replaced; a text that is one reference is the value itself.
func (s *Step) templates() iter.Seq[string] {
	texts := []string{s.Text, s.Path}
	for _, v := range s.Env {
		texts = append(texts, v.Text)
	}
	if text, ok := s.Stdin.AsString(); ok {
		texts = append(texts, text)
	}
	if s.Loop != nil {
		texts = append(texts, s.Loop.Over)
	}
	o, _ := s.PathArgs.AsObject()
	for _, v := range o.All() {
		text, _ := v.AsString()
		texts = append(texts, text)
	}
	return func(yield func(string) bool) {
		for _, text := range texts {
			if _, whole := asReference(text); !whole && !yield(text) {
				return
			}
		}
	}
}

// inText is how a value looks inside a text: nothing for what is missing, strings as they are, the rest as JSON.
func inText(v value.Value) string {
	switch v.Kind() {
	case value.KindUndefined, value.KindNull:
		return ""
	case value.KindList, value.KindObject:
		return v.JSON()
	}
	return value.Text(v)
}
