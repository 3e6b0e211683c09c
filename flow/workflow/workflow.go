// Package workflow reads, checks, draws and runs workflow files: YAML or JSON documents that list steps, some of which wait for a person.
//
//   - [Load] reads and validates a file; [Check] reports everything that is wrong or risky in it, with line, column and caret.
//   - [Run] runs a file; a gate saves the run and ends it with a request. [Resume] goes on with the person's answer.
//   - [Plan] tells what a run would do; [Graph] draws the steps; [Schema] is the JSON Schema that editors understand.
//
// A file's words (id, run, pipeline, approval, ...) and their meaning are those of the program we replace; docs/lobster.md teaches them.
// Texts may hold ${arg} and $step.path; conditions have a small grammar of their own (condition.go).
//
// A paused run is bound to the file, the scripts that it names and the arguments that the person saw: when one has changed, Resume refuses. What
// was approved is done by at most one process, however many try, and never twice: the pause is used up before the first step with effects.
//
// Imported by flow and cmd/lobster; imports flow/interp for pipelines and processes, flow/state for pauses and the journal. Files, step
// output and resume documents are hostile: size, depth and aliases are capped. A *File is immutable; one Run belongs to one goroutine,
// which waits for those that parallel branches start.
package workflow

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"lobstah/flow/value"
)

// File is a validated workflow file.
type File struct {
	Path   string // as it was given
	Source string
	Hash   string // SHA-256 of Source, hex

	Name        string
	Description string
	Args        []Arg
	Env         []Var
	Cwd         string
	CostLimit   *CostLimit
	Steps       []*Step

	root *node
}

// setsVars reports whether the file sets environment variables, for itself or for a step.
func (f *File) setsVars() bool {
	return len(f.Env) > 0 || slices.ContainsFunc(f.Steps, func(s *Step) bool {
		for part := range s.parts() {
			if len(part.Env) > 0 {
				return true
			}
		}
		return false
	})
}

// Arg is a declared argument.
type Arg struct {
	Name    string
	Default value.Value // Undefined when there is none
}

// Var is an environment variable whose value is a template.
type Var struct{ Name, Text string }

// CostLimit bounds what models may cost.
type CostLimit struct {
	MaxUSD float64
	Stop   bool // else warn
}

// Kind is what a step does first; a gate may follow.
type Kind string

// The kinds of steps.
const (
	Shell    Kind = "shell"
	Pipeline Kind = "pipeline"
	Parallel Kind = "parallel"
	ForEach  Kind = "for_each"
	Nested   Kind = "workflow"
	Question Kind = "input"
	NoOp     Kind = "no-op" // only a gate
)

// Step is one step. Which fields beyond the first block are set depends on Kind.
type Step struct {
	ID    string
	Kind  Kind
	Text  string // the shell's or pipeline's text
	Stdin value.Value
	Env   []Var
	Cwd   string
	When  value.Value // Undefined runs always

	Gate     *Gate
	Input    *Input
	Branches *Branches
	Loop     *Loop
	Path     string      // of a nested workflow
	PathArgs value.Value // its arguments

	Timeout time.Duration // 0 is none
	Retry   Retry
	OnError OnError

	node *node
}

// Gate is an approval.
type Gate struct {
	Prompt                   string      // "" asks for the step by its id
	Items                    value.Value // Undefined shows the step's own result
	Preview                  string
	InitiatedBy              string
	RequiredApprover         string
	RequireDifferentApprover bool
}

// Input is a question with a typed answer.
type Input struct {
	Prompt   string
	Schema   value.Value
	Defaults value.Value // Undefined when there are none
}

// Branches run at the same time.
type Branches struct {
	Any     bool // the first to settle wins; else all
	Timeout time.Duration
	List    []*Step
}

// Loop runs its steps for each item of a list.
type Loop struct {
	Over     string
	Item     string
	Index    string
	Batch    int
	Pause    time.Duration
	Steps    []*Step
	hasBatch bool
}

// Retry says how often and how fast to try again.
type Retry struct {
	Max         int // attempts in all; at least 1
	Exponential bool
	Delay       time.Duration
	MaxDelay    time.Duration
	Jitter      bool
}

// OnError is what a failed step does to the run.
type OnError string

// The reactions to a failed step.
const (
	Stop     OnError = "stop"
	Continue OnError = "continue"
	SkipRest OnError = "skip_rest"
)

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
