package interp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
)

// KillGrace is the time between asking a process to stop and killing it.
const KillGrace = 250 * time.Millisecond

// Process is a process to run.
type Process struct {
	Argv   []string // looked up in the PATH of Env unless it has a slash
	Dir    string   // "" is the process's own
	Env    []string // NAME=value, the whole environment
	Stdin  io.Reader
	Stdout io.Writer // an error of Write stops the process
	Stderr io.Writer
	// Grace is how long the process and its children have between SIGTERM and SIGKILL when ctx ends; 0 kills at once.
	Grace time.Duration
}

// Exit is how a process ended.
type Exit struct {
	Code   int
	Signal bool // killed by a signal; Code means nothing
}

// OK reports success.
func (e Exit) OK() bool { return e.Code == 0 && !e.Signal }

// String is the exit code, or null for a process that a signal killed.
func (e Exit) String() string {
	if e.Signal {
		return "null"
	}
	return strconv.Itoa(e.Code)
}

// ErrNoHandler is the error of everything for which the Env has no handler.
var ErrNoHandler = errors.New("not available in this environment")

// Start runs a process with e's variables and directory, unless p names its own.
func (e *Env) Start(ctx context.Context, p *Process) (Exit, error) {
	if e.Exec == nil {
		return Exit{}, fmt.Errorf("run %s: %w", p.Argv[0], ErrNoHandler)
	}
	if i := slices.IndexFunc(p.Argv, func(word string) bool { return strings.Contains(word, "\x00") }); i >= 0 {
		return Exit{}, fmt.Errorf("run %s: word %d holds a NUL character, which no program can be given; hand such data over on stdin", p.Argv[0], i+1)
	}
	if p.Env == nil {
		p.Env = e.Environ()
	}
	if i := slices.IndexFunc(p.Env, func(v string) bool { return strings.Contains(v, "\x00") }); i >= 0 {
		name, _, _ := strings.Cut(p.Env[i], "=")
		return Exit{}, fmt.Errorf("run %s: the variable %q holds a NUL character, which no program can be given; hand such data over on stdin", p.Argv[0], name)
	}
	if p.Dir == "" {
		p.Dir = e.Dir
	}
	return e.Exec(ctx, p)
}

// IsNotFound reports whether a process could not start because its program or directory does not exist.
func IsNotFound(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// Shell returns the words that run a line of shell text: LOBSTER_SHELL, else /bin/sh (on Windows %ComSpec%). The shell is no login shell,
// so it reads no profile, unless LOBSTER_LOGIN_SHELL is 1 or true.
func (e *Env) Shell(text string) []string {
	shell := strings.TrimSpace(e.Vars["LOBSTER_SHELL"])
	if shell == "" {
		shell = defaultShell(e.Vars)
	}
	name := strings.ToLower(shell)
	switch {
	case hasBase(name, "cmd", "cmd.exe"):
		return []string{shell, "/d", "/s", "/c", text}
	case hasBase(name, "powershell", "powershell.exe", "pwsh", "pwsh.exe"):
		return []string{shell, "-NoProfile", "-Command", text}
	}
	if login := e.Vars["LOBSTER_LOGIN_SHELL"]; login == "1" || login == "true" {
		return []string{shell, "-lc", text}
	}
	return []string{shell, "-c", text}
}

func hasBase(path string, bases ...string) bool {
	base := path[strings.LastIndexAny(path, `/\`)+1:]
	return slices.Contains(bases, base)
}
