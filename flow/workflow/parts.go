package workflow

import (
	"strconv"
	"sync/atomic"
	"time"

	"lobstah/flow/state"
)

// maxParts bounds the journal's entries for what runs inside steps: branches, steps of loops and of nested files.
const maxParts = 1000

// parts counts them for a run with all its nested files. Branches count at the same time.
type parts struct{ n atomic.Int64 }

// admit reports whether one more may be written; of those beyond the bound the first becomes a note that the rest is left out.
func (p *parts) admit(e *state.Event) bool {
	switch n := p.n.Add(1); {
	case n <= maxParts:
		return true
	case n == maxParts+1:
		*e = state.Event{Event: e.Event, Run: e.Run, Step: e.Step, Status: "the parts from here on are not listed"}
		return true
	}
	return false
}

// logPart notes how a branch or a loop's step ended.
func (r *runner) logPart(path string, s *Step, began time.Time, err error) {
	e := state.Event{Event: "part.end", Run: r.id, Step: r.path + path, Kind: string(s.Kind), Status: "ok", Millis: since(r.env, began)}
	if err != nil {
		e.Status, e.Error = "error", err.Error()
	}
	if r.parts.admit(&e) {
		r.opts.Journal.Append(e)
	}
}

func roundPath(loop string, round int, step string) string {
	return loop + "[" + strconv.Itoa(round) + "]/" + step
}
