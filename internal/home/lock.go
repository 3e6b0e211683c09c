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
	"time"
)

const (
	lockFile = "lock"
	editFile = "edit.lock"

	maxHolderBytes = 64 << 10
	editPatience   = 10 * time.Second
	editPoll       = 20 * time.Millisecond
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

// A HeldError says that another process uses the home. Holder is zero when the
// lock is held and its file does not say by whom.
type HeldError struct {
	Dir    string
	Holder Holder
}

func (e *HeldError) Error() string {
	if e.Holder.PID == 0 {
		return fmt.Sprintf("another process uses %s", e.Dir)
	}
	return fmt.Sprintf("%s (process %d, since %s) uses %s", e.Holder.What, e.Holder.PID,
		e.Holder.Since.Local().Format("2006-01-02 15:04:05"), e.Dir)
}

// A Lock is a held home. It is owned by one goroutine.
type Lock struct {
	file   *os.File
	holder Holder
}

// Lock takes the home for this process, making the folder when it is missing.
// When another process has it, the error is a [*HeldError].
func (h Home) Lock(holder Holder) (*Lock, error) {
	if err := h.Make(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(h.Dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the home folder: %w", err)
	}
	locked, err := tryLock(f, true)
	if err == nil && !locked {
		err = &HeldError{h.Dir, readHolder(f)}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l := &Lock{f, holder}
	if err := l.Update(holder); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// Update changes what the lock says about its holder.
func (l *Lock) Update(holder Holder) error {
	data, err := json.Marshal(holder)
	if err == nil {
		err = l.file.Truncate(0)
	}
	if err == nil {
		_, err = l.file.WriteAt(append(data, '\n'), 0)
	}
	if err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	l.holder = holder
	return nil
}

// Holder returns what the lock says.
func (l *Lock) Holder() Holder { return l.holder }

// Unlock gives the home back. The file stays: removing it would let two
// processes lock two files of one name.
func (l *Lock) Unlock() error {
	return errors.Join(l.file.Truncate(0), l.file.Close())
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
	// askers do not disturb each other; a process that starts meanwhile could
	// meet this one, so it is given back at once.
	free, err := tryLock(f, false)
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
	ctx, cancel := context.WithTimeout(ctx, editPatience)
	defer cancel()
	for {
		locked, err := tryLock(f, true)
		if err != nil {
			return fmt.Errorf("lock the home folder for a change: %w", err)
		}
		if locked {
			return change()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("another process has been changing %s for %s: %w", h.Dir, editPatience, ctx.Err())
		case <-time.After(editPoll):
		}
	}
}
