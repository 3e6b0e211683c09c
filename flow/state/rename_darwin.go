package state

import (
	"errors"

	"golang.org/x/sys/unix"
)

// renameNew renames a directory to a name that must not exist yet.
func renameNew(from, to string) error {
	err := unix.RenameatxNp(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCL)
	if errors.Is(err, unix.ENOTSUP) { // a file system that cannot
		return renameOntoEmpty(from, to)
	}
	return err
}
