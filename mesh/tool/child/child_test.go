//go:build unix

package child

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// run runs a line of shell and returns what it wrote.
func run(ctx context.Context, line string, on func(string)) (string, Exit, error) {
	var out strings.Builder
	exit, err := Run(ctx, exec.Command("/bin/sh", "-c", line), func(stream string, data []byte) {
		fmt.Fprintf(&out, "%s:%s", stream, data)
		on(string(data))
	})
	return out.String(), exit, err
}

func ignore(string) {}

func TestRun(t *testing.T) {
	t.Parallel()
	out, exit, err := run(t.Context(), "echo a; exit 3", ignore)
	if out != "stdout:a\n" || exit != (Exit{Code: 3}) || err != nil {
		t.Errorf("got %q, %v, %v", out, exit, err)
	}
	out, exit, err = run(t.Context(), "echo a >&2; kill -TERM $$", ignore)
	if out != "stderr:a\n" || exit != (Exit{Code: -1, Signal: "terminated"}) || err != nil {
		t.Errorf("got %q, %v, %v", out, exit, err)
	}
	if _, err := Run(t.Context(), exec.Command("/nonexistent"), func(string, []byte) {}); err == nil {
		t.Error("a program that is not there ran")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := run(ctx, "echo never", ignore); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
}

// gone waits until a process is no more than a zombie.
func gone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for alive(pid) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d is alive", pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func alive(pid int) bool {
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && !strings.HasPrefix(strings.TrimSpace(string(out)), "Z") && syscall.Kill(pid, 0) == nil
}

// A grandchild in the background, which ignores what can be ignored, ends too.
func TestCancelKillsTheWholeGroup(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	why := errors.New("the caller left")
	var pid atomic.Int64
	_, _, err := run(ctx, `trap "" TERM HUP INT; (trap "" TERM HUP INT; while :; do sleep 100; done) & echo $!; wait`, func(text string) {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			t.Error(err)
		}
		pid.Store(int64(n))
		cancel(why)
	})
	if !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	gone(t, int(pid.Load()))
}

// What a command leaves in the background does not outlive it, and does not
// keep the call waiting.
func TestNothingOutlivesTheCommand(t *testing.T) {
	t.Parallel()
	var pid int
	_, exit, err := run(t.Context(), "sleep 1000 & echo $!", func(text string) { pid, _ = strconv.Atoi(strings.TrimSpace(text)) })
	if err != nil || exit.Code != 0 || pid == 0 {
		t.Fatalf("pid %d, %v, %v", pid, exit, err)
	}
	gone(t, pid)
}

// Somebody outside of the group who holds the output is not waited for.
func TestOutputHeldByAnother(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip("no setsid here")
	}
	var pid int
	_, _, err := run(t.Context(), `setsid sleep 1000 & echo $!; while [ "$(ps -o pgid= -p $! | tr -d ' ')" != "$!" ]; do :; done`, func(text string) { pid, _ = strconv.Atoi(strings.TrimSpace(text)) })
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the process that left the group: %v", err)
	}
}
