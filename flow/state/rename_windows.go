package state

import (
	"io/fs"
	"os"
)

// renameNew renames a directory to a name that must not exist yet; the system refuses one that does.
func renameNew(from, to string) error {
	err := os.Rename(from, to)
	if err != nil && exists(to) {
		return fs.ErrExist
	}
	return err
}
