// Package durable writes small files so that a crash at any moment leaves
// either the old content or the new one, never a mixture, and so that a secret
// is readable by nobody else at any moment.
//
// Call [WriteFile], or [Write] for what is too large to hold twice. Any package may import it; it imports only the standard
// library.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile replaces path by data with the given permission bits: a temporary
// file beside it is written, synced, renamed over path, and the directory is
// synced. Missing parents are made with mode 0700.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return Write(path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Write is [WriteFile] for content that is written piece by piece. When content
// fails, path stays as it was.
func Write(path string, perm fs.FileMode, content func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of %s: %w", path, err)
	}
	// CreateTemp opens with 0600, so a secret is never visible before Chmod.
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(tmp.Name()))
		}
	}()
	if err := fill(tmp, content, perm); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func fill(f *os.File, content func(io.Writer) error, perm fs.FileMode) error {
	err := content(f)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
