package flow

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"lobstah/flow/host"
	"lobstah/flow/interp"
	"lobstah/flow/secret"
	"lobstah/flow/state"
	"lobstah/flow/stdlib"
	"lobstah/flow/value"
	"lobstah/flow/workflow"
)

// Shell runs pipelines and workflow files for one caller. Its fields may be replaced before the first run, for example by handlers
// that allow less.
type Shell struct {
	Env     *interp.Env
	Pauses  *state.Store
	Journal *state.Journal // nil keeps none
	// Secrets are those of the environment, and of what workflow files and arguments add to it while they run.
	Secrets *secret.Mask
	// AllowChanged lets an approved workflow go on although its file has changed since.
	AllowChanged bool
}

// Streams are where a shell reads and writes. Nil means nothing there.
type Streams struct {
	In       *os.File
	Out, Err io.Writer
}

// Open returns a shell with the real handlers. The environment (NAME=value) says where state, cache and journal live.
func Open(environ []string, mode interp.Mode, std Streams) (*Shell, error) {
	vars := Vars(environ)
	get := func(name string) string { return vars[name] }
	dir, err := state.Dir(get)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil { // a resumed run may change the working directory
		return nil, err
	}
	pauses := state.Open(dir)
	if pauses.TTL, err = state.TTLFrom(get); err != nil {
		return nil, err
	}
	pauses.LongIDs = vars["LOBSTER_LONG_IDS"] == "1"
	cwd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	mask := secret.FromEnviron(environ)
	budget, err := (&interp.Env{Vars: vars}).LimitVar("LOBSTER_MAX_COLLECT_BYTES", interp.MaxCollectedBytes)
	if err != nil {
		return nil, err
	}
	printed, err := (&interp.Env{Vars: vars}).LimitVar("LOBSTER_MAX_PRINT_BYTES", interp.MaxPrinted)
	if err != nil {
		return nil, err
	}
	s := &Shell{Pauses: pauses, Journal: openJournal(get, mask.Text), Secrets: mask}
	s.Env = &interp.Env{
		Handlers: host.Handlers(std.In, std.Out, vars), Commands: commands(vars["LOBSTER_COMMANDS"]), Mode: mode, Vars: vars,
		Budget: interp.NewBudget(budget), Stdout: std.Out, Stderr: masked(std.Err, mask), Store: pauses, Cache: state.OpenCache(state.CacheDir(get, cwd)), SaveAll: saveAll,
	}
	s.Env.OnVars = mask.Learn
	s.Env.Spool = func() interp.Spool { return &host.Spool{Limit: printed} }
	return s, nil
}

// masked keeps secrets out of what is written to w. Whoever writes does so a line at a time.
func masked(w io.Writer, mask *secret.Mask) io.Writer {
	if w == nil {
		return nil
	}
	return &maskedWriter{w, mask}
}

type maskedWriter struct {
	w    io.Writer
	mask *secret.Mask
}

func (m *maskedWriter) Write(b []byte) (int, error) {
	if _, err := io.WriteString(m.w, m.mask.Text(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// commands are all commands, or those that a list with commas names.
func commands(names string) *interp.Registry {
	all := interp.NewRegistry(stdlib.Commands()...)
	if names == "" {
		return all
	}
	return all.Only(strings.FieldsFunc(names, func(r rune) bool { return r == ',' || r == ' ' })...)
}

// Vars turns NAME=value into a map.
func Vars(environ []string) map[string]string {
	vars := make(map[string]string, len(environ))
	for _, e := range environ {
		if name, text, ok := strings.Cut(e, "="); ok && name != "" {
			vars[name] = value.Clean(text)
		}
	}
	return vars
}

// openJournal returns nil where there is no place for a journal, which is no reason not to run.
func openJournal(get func(string) string, mask func(string) string) *state.Journal {
	dir, err := state.JournalDir(get)
	if err != nil || dir == "" {
		return nil
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil
	}
	j := state.OpenJournal(dir)
	j.Mask = mask
	return j
}

func saveAll(docs ...interp.Document) error {
	writes := make([]state.Write, len(docs))
	for i, d := range docs {
		writes[i] = state.Write{Path: d.Path, Doc: d.Doc}
	}
	return state.WriteAll(writes...)
}

// Outcome is how a run ended that did not fail (yet: Output may still).
type Outcome struct {
	Status workflow.Status
	// Output are the items; they must be pulled to their end, because pipelines work while they are pulled.
	Output interp.Seq
	// Approval or Input is what a person is asked, Undefined if nothing.
	Approval, Input value.Value
	// Rendered says that stages wrote the items to Env.Stdout.
	Rendered bool
	Cost     workflow.Cost
}

// ParseError is an error of the caller's words: a pipeline that cannot be read, a token that is none, an answer that does not
// fit. Nothing was run.
type ParseError struct{ Err error }

func (e *ParseError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ParseError) Unwrap() error { return e.Err }

// File runs a workflow file with these arguments (Undefined for none).
func (s *Shell) File(ctx context.Context, path string, args value.Value) (Outcome, error) {
	f, err := workflow.Load(path)
	if err != nil {
		return Outcome{}, err
	}
	return fromWorkflow(workflow.Run(ctx, f, s.options(args)))
}

func (s *Shell) options(args value.Value) workflow.Options {
	return workflow.Options{Env: s.Env, Pauses: s.Pauses, Journal: s.Journal, Args: args, AllowChanged: s.AllowChanged}
}

func fromWorkflow(o workflow.Outcome, err error) (Outcome, error) {
	if refusal, ok := errors.AsType[workflow.Refusal](err); ok {
		return Outcome{}, &ParseError{refusal}
	}
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Status: o.Status, Output: interp.Items(o.Output...), Cost: o.Cost}
	switch o.Status {
	case workflow.NeedsApproval:
		out.Approval = o.Request
	case workflow.NeedsInput:
		out.Input = o.Request
	}
	return out, nil
}
