package state

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// writeAtomic replaces path by doc: readers see the old or the new content, also after a crash. A new file is private; an existing
// one keeps its mode.
func writeAtomic(path string, doc []byte) (err error) {
	tmp, err := tempBeside(path)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(tmp)))
		}
	}()
	if err := writeSynced(tmp, doc, modeOf(path)); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// createExclusive writes doc to path unless path exists, in which case the error is fs.ErrExist. It links a finished file into place, so
// nobody ever reads half of it.
func createExclusive(path string, doc []byte) (err error) {
	tmp, err := tempBeside(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ignoreMissing(os.Remove(tmp))) }()
	if err := writeSynced(tmp, doc, 0o600); err != nil {
		return err
	}
	if err := os.Link(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func tempBeside(path string) (string, error) {
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+hex.EncodeToString(b[:])+".tmp"), nil
}

func writeSynced(path string, doc []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(doc)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.Chmod(mode) // the process's mask may have taken bits that the old file had
	}
	return errors.Join(err, f.Close())
}

func modeOf(path string) fs.FileMode {
	if info, err := os.Stat(path); err == nil {
		return info.Mode().Perm()
	}
	return 0o600
}

// readFile reads a whole document, refusing what is larger than MaxDocument.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	doc, err := io.ReadAll(io.LimitReader(f, MaxDocument+1))
	if err == nil && len(doc) > MaxDocument {
		err = fmt.Errorf("%s is larger than %d bytes", filepath.Base(path), MaxDocument)
	}
	return doc, errors.Join(err, f.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func isReadOnly(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}
