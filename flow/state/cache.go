package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Cache is a directory of model answers: <dir>/<command>/<key>.json. A missing or unreadable answer is a miss.
type Cache struct{ dir string }

// CacheDir is where answers are kept for an environment: LOBSTER_CACHE_DIR unless blank, else .lobster-cache under workdir.
func CacheDir(getenv func(string) string, workdir string) string {
	if d := strings.TrimSpace(getenv("LOBSTER_CACHE_DIR")); d != "" {
		if filepath.IsAbs(d) {
			return d
		}
		return filepath.Join(workdir, d)
	}
	return filepath.Join(workdir, ".lobster-cache")
}

// OpenCache returns the cache in dir. Nothing is created before something is stored.
func OpenCache(dir string) Cache { return Cache{dir} }

var plainName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// File is the file of an answer. Command and key must be plain names.
func (c Cache) File(command, key string) (string, error) {
	if !plainName.MatchString(command) || !plainName.MatchString(key) {
		return "", errors.New("cache keys are plain names")
	}
	return filepath.Join(c.dir, command, key+".json"), nil
}

// Get returns a stored answer, and false when there is none or it cannot be read.
func (c Cache) Get(command, key string) ([]byte, bool) {
	path, err := c.File(command, key)
	if err != nil {
		return nil, false
	}
	doc, err := readFile(path)
	return doc, err == nil
}

// Write is one file of a [WriteAll].
type Write struct {
	Path string
	Doc  []byte
}

// WriteAll replaces all files or none: when one fails, those before it get their old content back (or vanish, if they were new). Directories
// are made as needed. A crash in between can leave a part.
func WriteAll(writes ...Write) error {
	var undo []func() error
	for _, w := range writes {
		back, err := replaceFile(w)
		if err != nil {
			for _, u := range undo {
				err = errors.Join(err, u())
			}
			return err
		}
		undo = append(undo, back)
	}
	return nil
}

func replaceFile(w Write) (undo func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(w.Path), 0o700); err != nil {
		return nil, err
	}
	before, err := readFile(w.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	isNew := err != nil
	return func() error {
		if isNew {
			return ignoreMissing(os.Remove(w.Path))
		}
		return writeAtomic(w.Path, before)
	}, writeAtomic(w.Path, w.Doc)
}
