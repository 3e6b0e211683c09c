package interp

import (
	"context"
	"strings"
	"testing"
)

func TestNULInWords(t *testing.T) {
	t.Parallel()
	e := &Env{Handlers: Handlers{Exec: func(context.Context, *Process) (Exit, error) { t.Error("started"); return Exit{}, nil }}}
	_, err := e.Start(t.Context(), &Process{Argv: []string{"sh", "-c", "echo \x00"}})
	if err == nil || !strings.Contains(err.Error(), "word 3 holds a NUL") {
		t.Errorf("got %v, want an error about word 3", err)
	}
}

// The variable that is at fault is named: an argument of a workflow becomes one.
func TestNULInVariables(t *testing.T) {
	t.Parallel()
	env := Env{Vars: map[string]string{"A": "fine", "LOBSTER_ARG_X": "a\x00b"}, Handlers: Handlers{Exec: func(context.Context, *Process) (Exit, error) {
		t.Error("it was started all the same")
		return Exit{}, nil
	}}}
	if _, err := env.Start(t.Context(), &Process{Argv: []string{"true"}}); err == nil || !strings.Contains(err.Error(), `"LOBSTER_ARG_X" holds a NUL`) {
		t.Errorf("got %v, want an error that names the variable", err)
	}
}
