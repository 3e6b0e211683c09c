package llamaserver

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

// child is one process. Its goroutine ends with it; stop waits for that.
type child struct {
	cmd   *exec.Cmd
	began time.Time
	log   *startLog
	done  chan struct{} // closed when the process is gone
	err   error         // how it ended; set before done closes
}

// startChild starts program. Its goroutine keeps one thread for itself, since
// Linux ends the child with the thread that started it.
func startChild(program string, args []string, key string) (*child, error) {
	c := &child{cmd: exec.Command(program, args...), began: time.Now(), log: new(startLog), done: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), "LLAMA_API_KEY="+key)
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	c.cmd.WaitDelay = time.Second
	prepare(c.cmd)
	started := make(chan error)
	go func() {
		defer close(c.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		<-c.done
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	return c, nil
}

func (c *child) age() time.Duration { return time.Since(c.began) }

func (c *child) alive() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// stop asks the process to end, ends it after the grace, and waits until it is
// gone. Errors of both mean that it is.
func (c *child) stop(grace time.Duration) {
	if !c.alive() {
		return
	}
	_ = terminate(c.cmd)
	select {
	case <-c.done:
		return
	case <-time.After(grace):
	}
	_ = kill(c.cmd)
	<-c.done
}

// failure says how the process ended, with what it printed while it started.
func (c *child) failure() error {
	if c.alive() {
		return nil
	}
	reason := "status 0"
	if c.err != nil {
		reason = c.err.Error()
	}
	if printed := c.log.String(); printed != "" {
		return fmt.Errorf("llama-server ended (%s); it printed:\n%s", reason, printed)
	}
	return fmt.Errorf("llama-server ended (%s)", reason)
}

const (
	maxLog  = 4 << 10 // bytes that are kept
	maxLine = 12      // lines that are shown
)

// startLog keeps the end of what a process prints until it is closed, and then
// forgets it. It is safe for concurrent use.
type startLog struct {
	mu     sync.Mutex
	text   []byte
	closed bool
}

func (l *startLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.text = append(l.text, p[max(0, len(p)-maxLog):]...)
		l.text = append(l.text[:0], l.text[max(0, len(l.text)-maxLog):]...)
	}
	return len(p), nil
}

func (l *startLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed, l.text = true, nil
}

// String returns the last lines.
func (l *startLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(l.text)), "\n")
	return strings.Join(lines[max(0, len(lines)-maxLine):], "\n")
}
