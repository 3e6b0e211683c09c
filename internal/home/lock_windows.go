package home

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockOffset lies far behind the text of a lock file: locks here forbid others
// to read what they cover, and the text is for others.
const lockOffset = 1 << 30

// tryLock locks one byte, exclusively or shared, without waiting. The lock
// belongs to the handle and ends when that is closed, at the latest with the
// process.
func tryLock(f *os.File, exclusive bool) (locked bool, err error) {
	flags := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if exclusive {
		flags |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	at := &windows.Overlapped{Offset: lockOffset}
	err = windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, at)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, windows.ERROR_LOCK_VIOLATION), errors.Is(err, windows.ERROR_IO_PENDING):
		return false, nil
	}
	return false, os.NewSyscallError("LockFileEx", err)
}

// unlock does nothing: children do not get the handle, so closing it suffices.
func unlock(*os.File) {}
