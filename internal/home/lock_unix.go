//go:build !windows

package home

import (
	"errors"
	"os"
	"syscall"
)

// tryLock locks the whole file, exclusively or shared, without waiting. The
// lock belongs to the open file and ends when that is closed, at the latest
// with the process.
func tryLock(f *os.File, exclusive bool) (locked bool, err error) {
	how := syscall.LOCK_SH
	if exclusive {
		how = syscall.LOCK_EX
	}
	for {
		err = syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, os.NewSyscallError("flock", err)
		}
	}
}

// unlock gives a lock back before its file is closed: a child that this process
// begins just now holds the open file, too, until it runs a program of its own.
func unlock(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) // fails only for what is no open file, which has no lock
}
