package state

import (
	"errors"

	"golang.org/x/sys/unix"
)

// renameNew renames a directory to a name that must not exist yet.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system, or a kernel, that cannot
		return renameOntoEmpty(from, to)
	}
	return err
}
