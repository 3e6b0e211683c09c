package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"lobstah/mesh/tool"
	"lobstah/mesh/tool/child"
)

// execDetails are the details of a finished command, by OpenClaw's names.
type execDetails struct {
	Status     string `json:"status"` // completed, timed_out
	ExitCode   int    `json:"exitCode"`
	ExitSignal string `json:"exitSignal,omitempty"`
	ExitReason string `json:"exitReason"` // exit, signal, timeout
	DurationMS int64  `json:"durationMs"`
	CWD        string `json:"cwd"`
}

var errTimeout = errors.New("the command ran out of time")

func (t *Tools) exec(ctx context.Context, call *tool.Call, progress tool.Progress) (*tool.Result, error) {
	var args tool.ExecArgs
	if err := tool.ReadArgs(call.Args, &args); err != nil {
		return nil, err
	}
	limit, err := timeLimit(args.Timeout, call.Grant.Timeout)
	if err != nil {
		return nil, err
	}
	dir, err := t.enter(call.Grant, args.Workdir)
	if err != nil {
		return nil, err
	}
	defer dir.close()
	cmd, err := t.command(call.Grant, args, dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errTimeout)
	defer cancel()
	out := tool.NewOutput(call.Grant.MaxOutput, progress)
	began := time.Now()
	exit, err := child.Run(ctx, cmd, out.Add)
	if err != nil && !errors.Is(err, errTimeout) {
		return nil, startError(err, cmd)
	}
	details := execDetails{Status: "completed", ExitCode: exit.Code, ExitSignal: exit.Signal, ExitReason: "exit", DurationMS: time.Since(began).Milliseconds(), CWD: dir.name}
	if exit.Signal != "" {
		details.ExitReason = "signal"
	}
	out.Finish()
	text, cut := out.Text()
	if err != nil {
		details.Status, details.ExitReason = "timed_out", "timeout"
		text += fmt.Sprintf("\n[the command and all that it started were ended after %s]\n", limit)
	}
	result, failure := tool.Text(text, details)
	if failure == nil {
		result.Cut, result.IsError = cut, err != nil
	}
	return result, failure
}

func timeLimit(seconds float64, most time.Duration) (time.Duration, error) {
	switch {
	case seconds == 0:
		return most, nil
	case !(seconds > 0) || seconds > most.Seconds():
		return 0, tool.Errorf(tool.CodeArguments, "timeout is %v; a command may run for at most %v seconds here", seconds, most.Seconds())
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// command makes the process: what the grant names, or else whatever was asked.
func (t *Tools) command(grant tool.Grant, args tool.ExecArgs, dir *folder) (*exec.Cmd, error) {
	argv := grant.Argv
	if grant.Shell {
		argv = args.Argv
		if args.Command != "" {
			argv = shell(args.Command, t.cfg.Env)
		}
	}
	if len(argv) == 0 {
		return nil, tool.Errorf(tool.CodeCommand, "no command is granted")
	}
	program, err := lookPath(argv[0], grant.Shell, dir.name)
	if err != nil {
		return nil, tool.Errorf(tool.CodeArguments, "run %q: %s", argv[0], err)
	}
	cmd := &exec.Cmd{Path: program, Args: argv, Dir: dir.path, Env: append(t.Environment(), "PWD="+dir.name)}
	if grant.Shell && args.Command != "" {
		asWritten(cmd, args.Command)
	}
	for name, value := range args.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			return nil, tool.Errorf(tool.CodeArguments, "%.100q is no name of a variable", name)
		}
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd, nil
}

// lookPath finds a program in this node's own PATH. A relative path is taken from
// the working folder, and only where any command is granted: a list of commands
// means programs that the owner knows, not files that a caller may have written.
func lookPath(name string, any bool, dir string) (string, error) {
	if strings.ContainsRune(name, filepath.Separator) || strings.Contains(name, "/") {
		switch {
		case filepath.IsAbs(name):
		case any:
			name = filepath.Join(dir, name)
		default:
			return "", errors.New("a program in a list of commands is a name or an absolute path")
		}
	}
	path, err := exec.LookPath(name)
	if ext := strings.ToLower(filepath.Ext(path)); !any && runtime.GOOS == "windows" && (ext == ".bat" || ext == ".cmd") {
		return "", errors.New("it is a batch file, whose arguments cmd.exe would interpret: that wants a grant of any command")
	}
	if e, ok := errors.AsType[*exec.Error](err); ok {
		return "", e.Err
	}
	return path, err
}

func startError(err error, cmd *exec.Cmd) error {
	if pathError, ok := errors.AsType[*os.PathError](err); ok {
		return tool.Errorf(tool.CodeFailed, "run %s: %s", cmd.Args[0], pathError.Err)
	}
	return err
}

// kept are the variables that commands see of this node's own: where programs and
// folders are, language and time. All others may hold secrets.
var kept = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP",
	"SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "USERPROFILE", "USERNAME", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "PROGRAMFILES", "NUMBER_OF_PROCESSORS",
}

// Environment is what commands see of this node's own.
func (t *Tools) Environment() []string {
	out := []string{"TERM=dumb"}
	for _, variable := range t.cfg.Env {
		name, _, _ := strings.Cut(variable, "=")
		upper := strings.ToUpper(name)
		if slices.Contains(kept, upper) || strings.HasPrefix(upper, "LC_") || slices.Contains(t.cfg.Pass, name) {
			out = append(out, variable)
		}
	}
	return out
}

// enter opens the folder that a command runs in.
func (t *Tools) enter(grant tool.Grant, workdir string) (*folder, error) {
	if workdir == "" && len(grant.Roots) == 0 {
		if err := os.MkdirAll(t.cfg.Work, 0o700); err != nil {
			return nil, fmt.Errorf("make the work folder: %w", err)
		}
		return openFolder(t.cfg.Work, ".")
	}
	if workdir == "" {
		workdir = "."
	}
	root, rel, err := t.locate(grant, workdir)
	if err != nil {
		return nil, err
	}
	return openFolder(root, rel)
}

// A folder is an open one, so that it stays the one that was judged.
type folder struct {
	name string // for people and PWD
	path string // for the new process
	file *os.File
}

func (f *folder) close() { _ = f.file.Close() } // it was only read

func openFolder(root, rel string) (*folder, error) {
	top, err := os.OpenRoot(root)
	if err != nil {
		return nil, fileError(root, err)
	}
	defer top.Close()
	file, err := top.Open(rel)
	if err != nil {
		return nil, fileError(rel, err)
	}
	name := filepath.Join(root, rel)
	if info, err := file.Stat(); err != nil || !info.IsDir() {
		return nil, errors.Join(tool.Errorf(tool.CodeArguments, "%s is no folder", rel), file.Close())
	}
	return &folder{name: name, path: pathOf(file, name), file: file}, nil
}
