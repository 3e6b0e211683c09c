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
