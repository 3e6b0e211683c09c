package state

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	lockPoll     = 10 * time.Millisecond
	lockPatience = 30 * time.Second // an owner file that cannot be read makes a lock stale after this
)

// locked runs do while this process holds the lock of path, creating the directory when it is missing.
func (s *Store) locked(ctx context.Context, path string, do func() error) (err error) {
	if err := s.ensureDir(); err != nil {
		return err
	}
	release, err := s.acquire(ctx, path+".lock")
	if err != nil {
		return fmt.Errorf("lock %s: %w", filepath.Base(path), err)
	}
	defer func() { err = errors.Join(err, release()) }()
	return do()
}

// acquire makes the lock directory, waiting for its holder and taking over what a dead one left.
func (s *Store) acquire(ctx context.Context, dir string) (release func() error, err error) {
	nonce, err := s.random(8)
	if err != nil {
		return nil, err
	}
	owner := fmt.Sprintf("%d:%s:%s", os.Getpid(), startOf(os.Getpid()), hex.EncodeToString(nonce))
	for {
		release, err := takeLock(dir, owner)
		if err == nil || !errors.Is(err, fs.ErrExist) {
			return release, err
		}
		if err := reclaimStale(dir, s.now()); err != nil {
			return nil, err
		}
		if err := wait(ctx, lockPoll); err != nil {
			return nil, err
		}
	}
}

// takeLock makes the lock directory with its owner's name in it, both at once: a process that dies in between must not leave a lock that
// nobody can tell the owner of, for which all others would wait until their patience ends.
func takeLock(dir, owner string) (func() error, error) {
	if exists(dir) {
		return nil, fs.ErrExist
	}
	prepared := beside(dir, owner)
	if err := os.Mkdir(prepared, 0o700); err != nil {
		return nil, err
	}
	err := os.WriteFile(filepath.Join(prepared, "owner"), []byte(owner), 0o600)
	if err == nil {
		err = renameNew(prepared, dir)
	}
	if err != nil {
		return nil, errors.Join(err, ignoreMissing(os.RemoveAll(prepared)))
	}
	return func() error { return releaseLock(dir, owner) }, nil
}

// beside is where a lock is that is not yet, or no longer, one. The name has the form of temporary files, so that leftovers are collected.
func beside(dir, owner string) string {
	nonce := owner[strings.LastIndexByte(owner, ':')+1:]
	return filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+"."+nonce[:min(12, len(nonce))]+".tmp")
}

// releaseLock removes the lock only while it is still ours. It goes out of the way at once, with its owner in it.
func releaseLock(dir, owner string) error {
	held, err := os.ReadFile(filepath.Join(dir, "owner"))
	if err != nil || string(held) != owner {
		return ignoreMissing(err)
	}
	gone := beside(dir, owner)
	if err := os.Rename(dir, gone); err != nil {
		return ignoreMissing(err)
	}
	return os.RemoveAll(gone)
}

// reclaimStale removes a lock whose holder is gone. It moves the directory aside first and looks again, so that a lock which another
// process took over in the meantime is put back.
func reclaimStale(dir string, now time.Time) error {
	owner, stale := staleOwner(dir, now)
	if !stale {
		return nil
	}
	aside := dir + ".stale-" + strconv.Itoa(os.Getpid())
	if err := os.Rename(dir, aside); err != nil {
		return ignoreMissing(err)
	}
	moved, _ := os.ReadFile(filepath.Join(aside, "owner")) // absent counts as the empty owner that was seen
	if string(moved) != owner {
		return ignoreMissing(os.Rename(aside, dir))
	}
	return os.RemoveAll(aside)
}

func staleOwner(dir string, now time.Time) (owner string, stale bool) {
	raw, err := os.ReadFile(filepath.Join(dir, "owner"))
	pid, start, ok := parseOwner(string(raw))
	if err != nil || !ok {
		info, err := os.Stat(dir)
		return string(raw), err == nil && now.Sub(info.ModTime()) > lockPatience
	}
	if !alive(pid) {
		return string(raw), true
	}
	current := startOf(pid)
	return string(raw), current != "" && isDigits(start) && current != start
}

func parseOwner(text string) (pid int, start string, ok bool) {
	parts := strings.SplitN(strings.TrimSpace(text), ":", 3)
	if len(parts) != 3 {
		return 0, "", false
	}
	pid, err := strconv.Atoi(parts[0])
	return pid, parts[1], err == nil && pid > 0
}

// startOf is when a process started, in the kernel's ticks since boot, or empty where the system does not tell. It distinguishes a
// process from a later one that was given the same id.
func startOf(pid int) string {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	_, rest, ok := strings.Cut(string(raw[max(0, strings.LastIndexByte(string(raw), ')')):]), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return ""
	}
	return fields[19]
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
