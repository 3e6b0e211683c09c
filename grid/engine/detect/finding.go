package detect

import (
	"fmt"
	"runtime"

	"lobstah/grid"
	"lobstah/grid/engine"
)

// A Problem says why what was found cannot be used.
type Problem int

// The problems; None means that the engine can be used.
const (
	None        Problem = iota
	NoModels            // it runs and has no model
	Loading             // it runs and loads its model
	NeedsKey            // it wants a key, or another one
	NotRunning          // it is installed and does not run
	Unreachable         // OLLAMA_HOST names it and nothing answers there
	NotAnEngine         // something else listens there
)

// Kinds of engines, as [Finding.Kind] and grid.Model.Engine name them.
const (
	Ollama      = "ollama"
	LlamaServer = "llama-server"
	VLLM        = "vllm"
	LMStudio    = "lm-studio"
	Other       = "openai-compatible"
)

// A Finding is an engine, or why there is none, at one address.
type Finding struct {
	Kind    string // of engine; "" when it could not be told
	URL     string // base URL; "" for a program that does not run
	Program string // path of an installed Ollama that does not run
	Version string // where the engine tells it
	Models  []grid.Model
	Problem Problem
	Err     error         // what went wrong, for a log
	Engine  engine.Engine // set when Problem is None, NoModels or Loading
}

// Usable reports whether calls can be sent to it now.
func (f Finding) Usable() bool { return f.Problem == None }

// String says in one line what was found.
func (f Finding) String() string {
	name := f.Kind
	if f.Version != "" {
		name += " " + f.Version
	}
	switch f.Problem {
	case None:
		return fmt.Sprintf("%s at %s with %s", name, f.URL, count(len(f.Models), "model"))
	case NoModels:
		return fmt.Sprintf("%s at %s runs but has no model", name, f.URL)
	case Loading:
		return fmt.Sprintf("%s at %s is loading its model", name, f.URL)
	case NeedsKey:
		return fmt.Sprintf("an engine at %s wants a key", f.URL)
	case NotRunning:
		return fmt.Sprintf("%s is installed (%s) but not running", name, f.Program)
	case Unreachable:
		return fmt.Sprintf("nothing answers at %s, which OLLAMA_HOST names", f.URL)
	}
	return fmt.Sprintf("what listens at %s is not an engine", f.URL)
}

// Hint says what to do about a problem, as a command where one helps; it is
// empty when there is nothing to do.
func (f Finding) Hint() string {
	switch {
	case f.Problem == NoModels && f.Kind == Ollama:
		return "ollama pull qwen3:4b"
	case f.Problem == NoModels && f.Kind == LMStudio:
		return "lms get qwen3-4b"
	case f.Problem == NoModels:
		return "start it with a model"
	case f.Problem == Loading:
		return "wait until it has loaded"
	case f.Problem == NeedsKey:
		return "--engine " + f.URL + " --engine-key KEY (or LOBSTAH_ENGINE_KEY)"
	case f.Problem == NotRunning && (runtime.GOOS == "darwin" || runtime.GOOS == "windows"):
		return "open the Ollama app, or run: ollama serve"
	case f.Problem == NotRunning:
		return "ollama serve"
	case f.Problem == Unreachable:
		return "start that engine, or unset OLLAMA_HOST"
	}
	return ""
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
