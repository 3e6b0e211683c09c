package interp

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"lobstah/flow/value"
)

// Mode is how a run talks to its caller.
type Mode string

// Human prints for people and may ask the one at the terminal; Tool prints one envelope and pauses instead of asking.
const (
	Human Mode = "human"
	Tool  Mode = "tool"
)

// Env is the world of a run. Copy it to change something for a part of the run; nobody changes one that is in use.
type Env struct {
	Handlers
	Commands *Registry
	Mode     Mode
	Vars     map[string]string // environment variables: of children, and settings of commands
	Dir      string            // working directory of children; "" is the process's
	Budget   *Budget           // how much the run may hold in memory; nil for no limit
	Stdout   io.Writer         // where json and table render
	Stderr   io.Writer         // warnings
	Store    Store             // state.set and its kin
	Cache    Cache             // answers of models
	// SaveAll writes all documents or none, for commands that keep one thing in Store and Cache.
	SaveAll func(docs ...Document) error
	// OnAnswer is told about every answer of a model, also about a replayed one, as soon as it is known; nil if nobody counts.
	OnAnswer func(Answer)
	// OnRender is told what a rendering stage consumed; nil if nobody wants to know.
	OnRender func(items []value.Value)
	// Dispatched is set once a command has done something that a retry would do twice; nil if nobody retries.
	Dispatched *atomic.Bool
}

// Answer is what a model returned to llm.invoke and its kin.
type Answer struct {
	Item     value.Value // the item that the command yields, with model and usage
	Key      string      // its cache key
	Replayed bool        // it came from the run state or the cache, so nobody pays for it again
	Attempt  int         // 1 for the first call; each retry for a better answer is an Answer of its own
}

// Handlers are the only ways out of a pipeline. A nil function means that there is no such way; use the methods of Env, which
// say so in an error.
type Handlers struct {
	// Exec runs a process to its end, cancelled with ctx.
	Exec func(ctx context.Context, p *Process) (Exit, error)
	// ReadFile reads a file that a command names, relative to the process's working directory.
	ReadFile func(name string) ([]byte, error)
	// Getwd is the process's working directory, and Chdir changes it: a paused run goes on in the one where it paused.
	Getwd func() (string, error)
	Chdir func(dir string) error
	// HTTP sends a request; it follows no redirect to another host with credentials.
	HTTP func(*http.Request) (*http.Response, error)
	// Ask shows a prompt to the person at the terminal and returns the line that they type. It is nil when nobody is there.
	Ask func(ctx context.Context, prompt string) (string, error)
	// Spool returns a place for output that may be larger than memory; nil keeps output in memory.
	Spool func() Spool
	// Now is the clock, Sleep its alarm, Random the source of ids and jitter.
	Now    func() time.Time
	Sleep  func(ctx context.Context, d time.Duration) error
	Random io.Reader
	// OnVars hears of the variables that a run adds to its environment, secrets among them; nil where nobody masks them.
	OnVars func(vars map[string]string)
}

// Store keeps documents (JSON text) under keys that pipelines choose. state.Store implements it.
type Store interface {
	Get(ctx context.Context, key string) (doc []byte, ok bool, err error)
	Set(ctx context.Context, key string, doc []byte) error
	// Update replaces a document by what change makes of it (nil before if there is none) with nobody in between.
	Update(ctx context.Context, key string, change func(before []byte) ([]byte, error)) error
	FilePath(key string) (string, error)
}

// Cache keeps documents by command and key. state.Cache implements it.
type Cache interface {
	Get(command, key string) (doc []byte, ok bool)
	File(command, key string) (string, error)
}

// Document is a file to write; its path comes from Store.FilePath or Cache.File.
type Document struct {
	Path string
	Doc  []byte
}

// Var returns an environment variable, or "".
func (e *Env) Var(name string) string { return e.Vars[name] }

// FirstVar returns the first of the named variables that is set and not empty, and its name.
func (e *Env) FirstVar(names ...string) (text, name string) {
	for _, n := range names {
		if v := e.Vars[n]; v != "" {
			return v, n
		}
	}
	return "", ""
}

// Environ returns the variables as NAME=value, sorted.
func (e *Env) Environ() []string {
	out := make([]string, 0, len(e.Vars))
	for _, k := range slices.Sorted(maps.Keys(e.Vars)) {
		out = append(out, k+"="+e.Vars[k])
	}
	return out
}

// WithVars returns a copy of e with these variables on top.
func (e *Env) WithVars(vars map[string]string) *Env {
	c := *e
	c.Vars = maps.Clone(e.Vars)
	if c.Vars == nil {
		c.Vars = map[string]string{}
	}
	maps.Copy(c.Vars, vars)
	if e.OnVars != nil {
		e.OnVars(vars)
	}
	return &c
}

// Workdir is the process's working directory, or "" if that cannot be told.
func (e *Env) Workdir() string {
	if e.Getwd == nil {
		return ""
	}
	dir, err := e.Getwd()
	if err != nil {
		return ""
	}
	return dir
}

// Enter makes the directory in which a run paused the working directory again, because the names that a person approved may be relative.
// A run that does not know its directory ("") goes on where it is.
func (e *Env) Enter(dir string) error {
	if dir == "" || dir == e.Workdir() {
		return nil
	}
	err := ErrNoHandler
	if e.Chdir != nil {
		err = e.Chdir(dir)
	}
	if err != nil {
		return fmt.Errorf("go on in %s, where the run paused: %w. Its relative names would mean other files here: make the folder again and resume, or run it again", dir, err)
	}
	return nil
}

// MarkDispatched notes that this run must not be tried again.
func (e *Env) MarkDispatched() {
	if e.Dispatched != nil {
		e.Dispatched.Store(true)
	}
}

// Interactive reports whether a person can be asked right now.
func (e *Env) Interactive() bool { return e.Mode != Tool && e.Ask != nil }

// LimitVar reads a limit in bytes from the environment: fallback if it is unset or blank, an error unless it is a positive safe
// integer.
func (e *Env) LimitVar(name string, fallback int64) (int64, error) {
	text := strings.TrimSpace(e.Vars[name])
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n > 1<<53-1 {
		return 0, &LimitError{Name: name}
	}
	return n, nil
}

// LimitError is a limit in the environment that is no number of bytes.
type LimitError struct{ Name string }

func (e *LimitError) Error() string { return e.Name + " must be a positive safe integer (bytes)" }
