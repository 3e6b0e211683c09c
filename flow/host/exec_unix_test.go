//go:build !windows

package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lobstah/flow/interp"
)

func start(t *testing.T, p *interp.Process) (string, interp.Exit, error) {
	t.Helper()
	var out bytes.Buffer
	p.Stdout = &out
	exit, err := Exec(t.Context(), p)
	return out.String(), exit, err
}

func TestExec(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tool"), []byte("#!/bin/sh\necho tool \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "plain"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	path := []string{"PATH=" + dir + ":/usr/bin:/bin"}
	tests := []struct {
		name string
		p    interp.Process
		out  string
		exit interp.Exit
		err  error
	}{
		{name: "in the child's PATH", p: interp.Process{Argv: []string{"tool", "a b"}, Env: path}, out: "tool a b\n"},
		{name: "relative to its directory", p: interp.Process{Argv: []string{"./tool"}, Dir: dir, Env: path}, out: "tool\n"},
		{name: "relative PATH", p: interp.Process{Argv: []string{"tool"}, Dir: dir, Env: []string{"PATH=."}}, out: "tool\n"},
		{name: "exit code", p: interp.Process{Argv: []string{"sh", "-c", "exit 7"}, Env: path}, exit: interp.Exit{Code: 7}},
		{name: "signal", p: interp.Process{Argv: []string{"sh", "-c", "kill -9 $$"}, Env: path}, exit: interp.Exit{Code: -1, Signal: true}},
		{name: "stdin", p: interp.Process{Argv: []string{"cat"}, Env: path, Stdin: strings.NewReader("x")}, out: "x"},
		{name: "stdin that nobody reads", p: interp.Process{Argv: []string{"true"}, Env: path, Stdin: strings.NewReader(strings.Repeat("x", 1<<20))}},
		{name: "missing", p: interp.Process{Argv: []string{"no-such-tool"}, Env: path}, err: fs.ErrNotExist},
		{name: "missing directory", p: interp.Process{Argv: []string{"true"}, Env: path, Dir: dir + "/none"}, err: fs.ErrNotExist},
		{name: "no program", p: interp.Process{Argv: []string{"plain"}, Env: path}, err: fs.ErrPermission},
	}
	for _, tt := range tests {
		out, exit, err := start(t, &tt.p)
		if out != tt.out || exit != tt.exit || !errors.Is(err, tt.err) {
			t.Errorf("%s: got %q, %v, %v, want %q, %v, %v", tt.name, out, exit, err, tt.out, tt.exit, tt.err)
		}
	}
}

// A process ends with its whole group, whatever holds the output open; one that will not end by itself is killed.
func TestCancelEndsTheGroup(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"sleep 60 & sleep 60", "trap '' TERM; sleep 60 & while :; do sleep 1; done"} {
		cause := errors.New("stopped by the test")
		ctx, cancel := context.WithCancelCause(t.Context())
		r, w := io.Pipe()
		go func() {
			_, _ = r.Read(make([]byte, 1)) // it runs
			cancel(cause)
			_, _ = io.Copy(io.Discard, r)
		}()
		_, err := Exec(ctx, &interp.Process{Argv: []string{"/bin/sh", "-c", "echo; " + text}, Env: []string{"PATH=/usr/bin:/bin"}, Stdout: w, Grace: 20 * time.Millisecond})
		_ = w.Close()
		cancel(nil)
		if !errors.Is(err, cause) {
			t.Errorf("%s: got %v, want the cause", text, err)
		}
	}
}

// What nobody reads is not printed for ever.
func TestFailingWriterStopsTheProcess(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	_, err := Exec(t.Context(), &interp.Process{Argv: []string{"/bin/sh", "-c", "echo x; sleep 60"}, Env: []string{"PATH=/usr/bin:/bin"}, Stdout: failing{broken}})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want the writer's error", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// What is too long for the system is said to be, with what to do instead.
func TestTooLong(t *testing.T) {
	t.Parallel()
	_, err := Exec(t.Context(), &interp.Process{Argv: []string{"/bin/sh", "-c", ": " + strings.Repeat("x", 32<<20)}})
	if err == nil || !strings.Contains(err.Error(), "hand large data over on stdin") {
		t.Errorf("got %v, want advice", err)
	}
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // only read
	var out bytes.Buffer
	term := &terminal{in: r, out: &out}
	if _, err := w.WriteString("yes\r\nno\n"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"yes", "no"} {
		if got, err := term.ask(t.Context(), "?"); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	term.limit = time.Millisecond
	if _, err := term.ask(t.Context(), "? "); err == nil || err.Error() != "Timed out waiting for input (1ms)" {
		t.Errorf("got %v, want the time limit", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if out.String() != "??? " {
		t.Errorf("got %q on the terminal", out.String())
	}
}
