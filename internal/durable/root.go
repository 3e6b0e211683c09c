package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteIn is [WriteFile] for a file beneath a root, so that no symbolic link leads
// out of it. The folder has to be there.
func WriteIn(root *os.Root, name string, data []byte, perm fs.FileMode) (err error) {
	dir, err := root.OpenRoot(filepath.Dir(name)) // stays the same folder whatever is renamed meanwhile
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer dir.Close()
	base := filepath.Base(name)
	temp := ".tmp-" + rand.Text()
	// With 0600 first, so a secret is never visible before the change of mode.
	file, err := dir.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	fillErr := fill(file, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}, perm)
	if fillErr == nil {
		fillErr = dir.Rename(temp, base)
	}
	if fillErr != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, fillErr), dir.Remove(temp))
	}
	return syncRoot(dir)
}
