package home

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	lockFile = "lock"
	editFile = "edit.lock"

	maxHolderBytes = 64 << 10
	lockPoll       = 20 * time.Millisecond
	lockPatience   = 200 * time.Millisecond // outlasts the glance of [Home.Holder], mostly
	glances        = 50                     // of that length are waited for
	editPatience   = 10 * time.Second
	endPoll        = 50 * time.Millisecond
)

// A Holder is the process that uses a home.
type Holder struct {
	PID    int       `json:"pid"`
	What   string    `json:"what"` // such as "lobstah up"
	Since  time.Time `json:"since"`
	Socket string    `json:"socket,omitempty"` // where it takes commands
	Router string    `json:"router,omitempty"` // base URL of its router
	Worker string    `json:"worker,omitempty"` // base URL of its worker
}

// A HeldError says that another process uses the home, or the identity. Holder
// is zero when the lock is held and its file does not say by whom.
type HeldError struct {
	Path   string
	Holder Holder
}

func (e *HeldError) Error() string {
	if e.Holder.PID == 0 {
		return fmt.Sprintf("another process uses %s", e.Path)
	}
	return fmt.Sprintf("%s (process %d, since %s) uses %s", e.Holder.What, e.Holder.PID,
		e.Holder.Since.Local().Format("2006-01-02 15:04:05"), e.Path)
}

// A Lock is a held home. It is safe for concurrent use.
type Lock struct {
	mu     sync.Mutex
	files  []*os.File // guarded by mu
	holder Holder     // guarded by mu
}

// Lock takes the home for this process, making the folder when it is missing,
// and the identity, when that lies elsewhere: two homes may share one. When
// another process has either, the error is a [*HeldError].
func (h Home) Lock(holder Holder) (*Lock, error) {
	if err := h.Make(); err != nil {
		return nil, err
	}
	l := &Lock{}
	paths := []string{filepath.Join(h.Dir, lockFile)}
	if h.Identity != "" && filepath.Dir(h.Identity) != h.Dir {
		paths = append(paths, h.Identity+".lock")
	}
	for _, path := range paths {
		f, err := take(path)
		if err != nil {
			return nil, errors.Join(err, l.Unlock())
		}
		l.files = append(l.files, f)
	}
	if err := l.Update(holder); err != nil {
		return nil, errors.Join(err, l.Unlock())
	}
	return l, nil
}

// take opens and locks one file.
func take(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	for range glances {
		err = waitLock(context.Background(), f, lockPatience)
		if !errors.Is(err, context.DeadlineExceeded) || taken(path) {
			break
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = &HeldError{strings.TrimSuffix(strings.TrimSuffix(path, ".lock"), string(filepath.Separator)+lockFile), readHolder(f)}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// taken reports whether somebody holds a lock file for good, and not only looks
// at it: on a machine that is busy a glance can last. What cannot be looked at
// counts as taken.
func taken(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return true
	}
	defer f.Close()
	free, err := tryLock(f, false)
	if free {
		unlock(f)
	}
	return err != nil || !free
}

// Update changes what the lock says about its holder.
func (l *Lock) Update(holder Holder) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	data, err := json.Marshal(holder)
	if err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	for _, f := range l.files {
		err := f.Truncate(0)
		if err == nil {
			_, err = f.WriteAt(append(data, '\n'), 0)
		}
		if err != nil {
			return fmt.Errorf("write the lock file: %w", err)
		}
	}
	l.holder = holder
	return nil
}

// Holder returns what the lock says.
func (l *Lock) Holder() Holder {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holder
}

// Unlock gives the home back. The file stays: removing it would let two
// processes lock two files of one name.
func (l *Lock) Unlock() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, f := range l.files {
		errs = append(errs, f.Truncate(0))
		unlock(f)
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// AwaitEnd waits until a process that used the home does not any more.
func (h Home) AwaitEnd(ctx context.Context, old Holder) error {
	tick := time.NewTicker(endPoll)
	defer tick.Stop()
	for {
		now, running, err := h.Holder()
		if err != nil || !running || now.PID != old.PID {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Holder tells which process uses the home now; running is false when none
// does.
func (h Home) Holder() (holder Holder, running bool, err error) {
	f, err := os.Open(filepath.Join(h.Dir, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Holder{}, false, nil
	}
	if err != nil {
		return Holder{}, false, fmt.Errorf("look for a running process: %w", err)
	}
	defer f.Close()
	// A shared lock cannot be had while a holder has its exclusive one. Two
	// askers do not disturb each other, and a process that starts meanwhile
	// tries for longer than this one takes.
	free, err := tryLock(f, false)
	if free {
		unlock(f)
	}
	if err != nil || free {
		return Holder{}, false, err
	}
	return readHolder(f), true, nil
}

// readHolder reads a lock file. What it cannot read is nobody: the lock itself
// is what counts.
func readHolder(f *os.File) (holder Holder) {
	data, err := io.ReadAll(io.NewSectionReader(f, 0, maxHolderBytes))
	if err != nil || json.Unmarshal(data, &holder) != nil {
		return Holder{}
	}
	return holder
}

// Edit runs change while no other process is inside an Edit of the same home.
// It waits up to 10 seconds for them.
func (h Home) Edit(ctx context.Context, change func() error) (err error) {
	if err := h.Make(); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(h.Dir, editFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock the home folder for a change: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := waitLock(ctx, f, editPatience); err != nil {
		return fmt.Errorf("lock %s for a change: %w", h.Dir, err)
	}
	defer unlock(f)
	return change()
}

// waitLock locks f, trying for as long as patience allows.
func waitLock(ctx context.Context, f *os.File, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		locked, err := tryLock(f, true)
		if err != nil || locked {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPoll):
		}
	}
}
