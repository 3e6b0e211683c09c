package workflow

import (
	"math"
	"strings"

	"lobstah/flow/value"
)

// maxShown is how long a step's text may become in a list of what would run; references that would make it longer stay as they are.
const maxShown = 64 << 10

// Upcoming tells what a paused run would do once its person agrees: the steps that are left, and after a block or a loop what is in it, each
// with arguments, results and the approval itself filled in as far as they are known and not too long. doc is the document of the pause, f its file as it is now.
func Upcoming(f *File, doc value.Value) []string {
	done := &results{}
	steps, _ := doc.Field("steps").AsObject()
	for id, v := range steps.All() {
		done.set(id, v)
	}
	if gate, ok := doc.Field("approvalStepId").AsString(); ok {
		result, known := done.get(gate)
		if !known || result.Kind() != value.KindObject {
			result = value.Record(value.F("id", value.String(gate)))
		}
		done.set(gate, approved(result, "", identity{}))
	}
	sc := scope{doc.Field("args"), done}
	var out []string
	for _, s := range f.Steps[nextOf(doc, len(f.Steps)):] {
		for part := range s.parts() {
			name := s.ID
			if part != s {
				name += "/" + part.ID
			}
			out = append(out, upcoming(name, part, sc))
		}
	}
	return out
}

func nextOf(doc value.Value, steps int) int {
	next, _ := doc.Field("resumeAtIndex").AsNumber()
	if math.IsNaN(next) {
		return steps
	}
	return int(min(max(next, 0), float64(steps)))
}

// upcoming describes one step under a name. A condition that cannot be decided yet is shown.
func upcoming(name string, s *Step, sc scope) string {
	line := name + " [" + string(s.Kind) + "]"
	if goOn, err := sc.allows(s.When); err == nil && !goOn {
		return line + " skipped, because " + value.Text(s.When) + " does not hold"
	} else if err != nil {
		line += " if " + value.Text(s.When)
	}
	if text := stepText(s); text != "" {
		line += " " + strings.TrimSpace(sc.fillUpTo(text, maxShown))
	}
	if s.Gate != nil {
		line += " [asks for approval]"
	}
	return line
}

func stepText(s *Step) string {
	switch s.Kind {
	case Nested:
		return s.Path
	case ForEach:
		return "for each of " + s.Loop.Over
	case Parallel:
		return "side by side"
	case Question:
		return s.Input.Prompt
	}
	return s.Text
}
