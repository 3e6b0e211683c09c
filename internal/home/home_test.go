package home

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("HOME_TEST_HOLD"); dir != "" {
		hold(dir)
	}
	os.Exit(m.Run())
}

// hold is the other process: it locks, says so and waits to be killed. It waits in
// a read, for Go ends a process in which nothing can happen any more, and keeps the
// lock reachable, for a file that is collected is closed.
func hold(dir string) {
	l, err := (Home{Dir: dir}).Lock(Holder{PID: os.Getpid(), What: "lobstah up", Since: time.Now()})
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString("locked\n")
	io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(l)
	os.Exit(0) // whoever would have killed it is gone
}

func TestFind(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	env := map[string]string{"HOME": root}
	h, err := Find(func(name string) string { return env[name] })
	if err != nil || h.Dir != filepath.Join(root, ".lobstah") || h.Ledger != filepath.Join(h.Dir, "ledger.db") {
		t.Errorf("by default: %+v, %v", h, err)
	}
	env["LOBSTAH_HOME"] = filepath.Join(root, "other")
	env["LOBSTAH_PEERS"] = filepath.Join(root, "p.json")
	env["LOBSTAH_IDENTITY"] = "" // counts as not set
	h, err = Find(func(name string) string { return env[name] })
	want := Home{
		Dir:      filepath.Join(root, "other"),
		Identity: filepath.Join(root, "other", "identity.json"),
		Peers:    filepath.Join(root, "p.json"),
		Allow:    filepath.Join(root, "other", "allow.json"),
		Invites:  filepath.Join(root, "other", "invites.json"),
		Ledger:   filepath.Join(root, "other", "ledger.db"),
		Config:   filepath.Join(root, "other", "config.yaml"),
	}
	if err != nil || h != want {
		t.Errorf("with variables: %+v, %v; want %+v", h, err, want)
	}
	if h, err := Find(func(string) string { return "" }); err == nil || !strings.Contains(err.Error(), "LOBSTAH_HOME") {
		t.Errorf("without any variable: %+v, %v", h, err)
	}
}

func TestLockNamesHolder(t *testing.T) {
	t.Parallel()
	h := Home{Dir: filepath.Join(t.TempDir(), "home")}
	if _, running, err := h.Holder(); running || err != nil {
		t.Fatalf("before: running %v, %v", running, err)
	}
	first, err := h.Lock(Holder{PID: 7, What: "lobstah up", Since: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.Lock(Holder{PID: 8, What: "lobstah worker start"})
	held, ok := errors.AsType[*HeldError](err)
	if !ok || held.Holder.PID != 7 || !strings.Contains(err.Error(), "lobstah up (process 7, since ") {
		t.Errorf("second lock: %v", err)
	}
	next := first.Holder()
	next.Router = "http://127.0.0.1:17475"
	if err := first.Update(next); err != nil {
		t.Fatal(err)
	}
	got, running, err := h.Holder()
	if !running || err != nil || got.Router != next.Router || got.What != "lobstah up" {
		t.Errorf("holder: %+v, %v, %v", got, running, err)
	}
	if err := first.Unlock(); err != nil {
		t.Fatal(err)
	}
	if _, running, err := h.Holder(); running || err != nil {
		t.Errorf("after: running %v, %v", running, err)
	}
	second, err := h.Lock(Holder{PID: 8})
	if err != nil {
		t.Fatalf("after the first: %v", err)
	}
	if err := second.Unlock(); err != nil {
		t.Error(err)
	}
}

// Whoever only looks, however long, keeps nobody from starting.
func TestLockWaitsForGlances(t *testing.T) {
	t.Parallel()
	h := Home{Dir: t.TempDir()}
	path := filepath.Join(h.Dir, lockFile)
	looking, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer looking.Close()
	if free, err := tryLock(looking, false); err != nil || !free {
		t.Fatalf("a shared lock: %v, %v", free, err)
	}
	if taken(path) {
		t.Error("a glance counts as a holder")
	}
	time.AfterFunc(2*lockPatience, func() { looking.Close() })
	l, err := h.Lock(Holder{PID: os.Getpid()})
	if err != nil {
		t.Fatalf("after the glance: %v", err)
	}
	if !taken(path) {
		t.Error("a holder counts as a glance")
	}
	if err := l.Unlock(); err != nil {
		t.Error(err)
	}
}

// Two homes may name one identity, which is one machine all the same.
func TestLockOfSharedIdentity(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	identity := filepath.Join(root, "keys", "id.json")
	first, err := Home{Dir: filepath.Join(root, "a"), Identity: identity}.Lock(Holder{PID: 7, What: "lobstah up"})
	if err != nil {
		t.Fatal(err)
	}
	second := Home{Dir: filepath.Join(root, "b"), Identity: identity}
	_, err = second.Lock(Holder{PID: 8})
	if held, ok := errors.AsType[*HeldError](err); !ok || held.Holder.PID != 7 || held.Path != identity {
		t.Errorf("second lock: %v; want one that is held for %s", err, identity)
	}
	if err := first.Unlock(); err != nil {
		t.Fatal(err)
	}
	l, err := second.Lock(Holder{PID: 8})
	if err != nil {
		t.Fatalf("after the first, the half-taken lock should be free: %v", err)
	}
	if err := l.Unlock(); err != nil {
		t.Error(err)
	}
}

// A process that is killed leaves its lock file; the next one takes it over.
func TestLockOfDeadProcess(t *testing.T) {
	t.Parallel()
	h := Home{Dir: t.TempDir()}
	other := exec.CommandContext(t.Context(), os.Args[0])
	other.Env = append(os.Environ(), "HOME_TEST_HOLD="+h.Dir)
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.StdinPipe(); err != nil { // open until it ends
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 16)); err != nil { // "locked"
		t.Fatal(err)
	}
	if _, err := h.Lock(Holder{}); err == nil {
		t.Fatal("locked what another process holds")
	}
	holder, _, err := h.Holder()
	if err != nil {
		t.Fatal(err)
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.AwaitEnd(impatient, holder); !errors.Is(err, context.Canceled) {
		t.Errorf("while it lives, AwaitEnd returned %v", err)
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := h.AwaitEnd(t.Context(), holder); err != nil {
		t.Errorf("AwaitEnd: %v", err)
	}
	_ = other.Wait() // says that it was killed
	if _, running, err := h.Holder(); running || err != nil {
		t.Errorf("holder after the kill: running %v, %v", running, err)
	}
	l, err := h.Lock(Holder{PID: os.Getpid()})
	if err != nil {
		t.Fatalf("after the kill: %v", err)
	}
	if err := l.Unlock(); err != nil {
		t.Error(err)
	}
}

func TestEditExcludes(t *testing.T) {
	t.Parallel()
	h := Home{Dir: t.TempDir()}
	var inside, total atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			err := h.Edit(t.Context(), func() error {
				if inside.Add(1) != 1 {
					t.Error("two changes at a time")
				}
				total.Add(1)
				inside.Add(-1)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if total.Load() != 8 {
		t.Errorf("%d changes; want 8", total.Load())
	}
	cancelled, cancel := context.WithCancel(t.Context())
	err := h.Edit(t.Context(), func() error {
		cancel()
		return h.Edit(cancelled, func() error { return nil })
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("an edit inside an edit: %v; want cancelled", err)
	}
}
