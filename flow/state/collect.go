package state

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// leftoverAge is when a temporary file or a lock moved aside can only be the remains of a process that died.
const leftoverAge = time.Hour

var leftover = regexp.MustCompile(`^\..*\.[0-9a-f]{12}\.tmp$|\.lock\.stale-[0-9]+$`)

// Collect removes expired pauses, markers and approval ids, and what crashed processes left behind. Keys of pipelines never expire.
// It returns how many entries it removed.
func (s *Store) Collect(ctx context.Context) (int, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, ignoreMissing(err)
	}
	var removed int
	var all error
	for _, e := range entries {
		if ctx.Err() != nil {
			return removed, errors.Join(all, context.Cause(ctx))
		}
		if !s.collectable(e) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
			all = errors.Join(all, err)
			continue
		}
		removed++
	}
	return removed, all
}

func (s *Store) collectable(e os.DirEntry) bool {
	name := e.Name()
	isLeftover := leftover.MatchString(name)
	if !isLeftover && !pauseFile.MatchString(name) && !approvalFile.MatchString(name) {
		return false
	}
	info, err := e.Info()
	if err != nil {
		return false
	}
	if isLeftover {
		return s.now().Sub(info.ModTime()) > leftoverAge
	}
	return s.expired(info)
}
