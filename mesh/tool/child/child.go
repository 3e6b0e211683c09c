// Package child runs a program together with everything that it starts, so that
// all of it ends as one.
//
// [Run] runs a command to its end and passes on what it writes; [Start] starts one
// that stays, whose [Group] is killed as a whole, and [Stop] ends it.
//
// On Unix the program gets a process group of its own, on Windows a job object.
// What leaves them is out of reach: a process that calls setsid, and on Windows
// what the program starts in the instant before it is put into its job. The
// packages under mesh/tool and mesh/agent import it; it knows none of them. Run
// waits for every goroutine that it starts.
package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// settle is how long output may stay open after everything was killed, held by a
// process that got away.
const settle = 2 * time.Second

// An Exit is how a program ended.
type Exit struct {
	Code   int    // -1 when a signal ended it
	Signal string // its name, or empty
}

// Run starts the command, calls output with what it writes (stream is "stdout"
// or "stderr"; one call at a time; data is valid until it returns), and waits
// until it has ended. What it left running then is killed. When ctx ends first
// everything is killed and the error is the cause of ctx.
func Run(ctx context.Context, cmd *exec.Cmd, output func(stream string, data []byte)) (Exit, error) {
	if err := context.Cause(ctx); err != nil {
		return Exit{}, err
	}
	pipes, err := connect(cmd)
	if err != nil {
		return Exit{}, err
	}
	group, err := Start(cmd)
	pipes.closeWriters()
	if err != nil {
		pipes.closeReaders()
		return Exit{}, err
	}
	var parts sync.WaitGroup
	parts.Go(func() { pipes.copy(output) })
	exited := make(chan struct{})
	parts.Go(func() {
		defer close(exited)
		waitExit(cmd.Process)
	})
	select {
	case <-exited:
	case <-ctx.Done():
	}
	group.Kill()
	<-exited
	timer := time.AfterFunc(settle, pipes.abandon)
	parts.Wait()
	timer.Stop()
	pipes.closeReaders()
	exit, err := exitOf(cmd.Wait())
	group.Release()
	if ctx.Err() != nil {
		return exit, context.Cause(ctx)
	}
	return exit, err
}

// Start starts the command as the first of a new group.
func Start(cmd *exec.Cmd) (*Group, error) {
	prepare(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	g, err := newGroup(cmd.Process)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("hold what the program starts: %w", err), cmd.Process.Kill(), ignoreExit(cmd.Wait()))
	}
	return g, nil
}

// Stop ends a started command: it has grace to end by itself, which the caller has
// asked for by closing its input, say; then all of it is killed. How it ended is
// of no interest to Stop.
func Stop(cmd *exec.Cmd, group *Group, grace time.Duration) {
	timer := time.AfterFunc(grace, group.Kill)
	waitExit(cmd.Process)
	timer.Stop()
	group.Kill()
	_ = cmd.Wait()
	group.Release()
}

func ignoreExit(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil
	}
	return err
}

func exitOf(err error) (Exit, error) {
	failed, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return Exit{}, err
	}
	return Exit{Code: failed.ExitCode(), Signal: signalOf(failed.ProcessState)}, nil
}

// pipes are the two ends of a program's output.
type pipes struct {
	names   [2]string
	readers [2]*os.File
	writers [2]*os.File
}

func connect(cmd *exec.Cmd) (*pipes, error) {
	p := &pipes{names: [2]string{"stdout", "stderr"}}
	for i := range p.readers {
		var err error
		if p.readers[i], p.writers[i], err = os.Pipe(); err != nil {
			p.closeWriters()
			p.closeReaders()
			return nil, fmt.Errorf("make a pipe: %w", err)
		}
	}
	cmd.Stdout, cmd.Stderr = p.writers[0], p.writers[1]
	return p, nil
}

func (p *pipes) copy(output func(string, []byte)) {
	var mu sync.Mutex
	var parts sync.WaitGroup
	for i, r := range p.readers {
		parts.Go(func() {
			buf := make([]byte, 32<<10)
			for {
				n, err := r.Read(buf)
				if n > 0 {
					mu.Lock()
					output(p.names[i], buf[:n])
					mu.Unlock()
				}
				if err != nil { // its end, or abandoned
					return
				}
			}
		})
	}
	parts.Wait()
}

// abandon ends the reading of output that somebody still holds open.
func (p *pipes) abandon() {
	for _, r := range p.readers {
		if r.SetReadDeadline(time.Now()) != nil {
			_ = r.Close() // this system's pipes have no deadlines
		}
	}
}

func (p *pipes) closeWriters() { closeAll(p.writers) }
func (p *pipes) closeReaders() { closeAll(p.readers) }

func closeAll(files [2]*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close() // a pipe has nothing to flush; closed before is as good
		}
	}
}
