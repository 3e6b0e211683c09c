package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"lobstah/flow/interp"
)

// settle is how long after the last kill the output of a process may stay open before it is abandoned.
const settle = 2 * time.Second

// Exec runs the process to its end. The error is the cause of ctx when that ended first, fs.ErrNotExist if the program or the
// directory is missing, or what p.Stdout or p.Stderr failed with; an exit code other than 0 is none.
func Exec(ctx context.Context, p *interp.Process) (interp.Exit, error) {
	path, err := lookPath(p)
	if err != nil {
		return interp.Exit{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := &exec.Cmd{Path: path, Args: p.Argv, Dir: p.Dir, Env: p.Env, Stdout: stopper(p.Stdout, cancel), Stderr: stopper(p.Stderr, cancel)}
	setGroup(cmd)
	feed, err := feeder(cmd, p.Stdin, cancel)
	if err != nil {
		return interp.Exit{}, err
	}
	if err := cmd.Start(); errors.Is(err, syscall.E2BIG) {
		return interp.Exit{}, fmt.Errorf("%w: the text of a command, or a variable such as LOBSTER_ARGS_JSON, is longer than the system allows; hand large data over on stdin or in a file", err)
	} else if err != nil {
		return interp.Exit{}, err
	}
	go feed()
	done := make(chan struct{})
	var failure error // of Wait; set before done is closed
	go func() {
		defer close(done)
		failure = cmd.Wait()
	}()
	select {
	case <-done:
		return exitOf(failure)
	case <-ctx.Done():
		end(cmd.Process.Pid, p.Grace, done)
		return interp.Exit{}, context.Cause(ctx)
	}
}

// end asks a process group to stop, kills it after the grace, and waits until it is gone. A process that left the group and keeps
// the output open is abandoned.
func end(pid int, grace time.Duration, done <-chan struct{}) {
	if grace > 0 {
		terminateGroup(pid)
		within(grace, done)
	}
	killGroup(pid)
	within(settle, done)
}

func within(d time.Duration, done <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

// feeder returns what copies in to the process. It ends when in does, or at its next byte after the process has ended: a process
// does not wait for input that it will never read.
func feeder(cmd *exec.Cmd, in io.Reader, cancel context.CancelCauseFunc) (func(), error) {
	if in == nil {
		return func() {}, nil
	}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return func() {
		_, err := io.Copy(pipe, in)
		closeErr := pipe.Close()
		if err := errors.Join(err, closeErr); err != nil && !unread(err) {
			cancel(err)
		}
	}, nil
}

// unread reports whether an error says only that the process did not read all its input.
func unread(err error) bool {
	return errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, syscall.EPIPE)
}

func exitOf(err error) (interp.Exit, error) {
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		if code := failed.ExitCode(); code >= 0 {
			return interp.Exit{Code: code}, nil
		}
		return interp.Exit{Code: -1, Signal: true}, nil
	}
	return interp.Exit{}, err
}

// stopWriter cancels the process when the writer below fails, because nobody reads the rest.
type stopWriter struct {
	w      io.Writer
	cancel context.CancelCauseFunc
	once   sync.Once
}

func stopper(w io.Writer, cancel context.CancelCauseFunc) io.Writer {
	if w == nil {
		return nil
	}
	return &stopWriter{w: w, cancel: cancel}
}

func (s *stopWriter) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	if err != nil {
		s.once.Do(func() { s.cancel(err) })
	}
	return n, err
}
