//go:build unix

package main

import (
	"io/fs"
	"os"
	"regexp"
	"testing"
)

// selected is a home without what belongs to the process that uses it.
type selected struct{ fs.FS }

func (s selected) ReadDir(name string) (list []fs.DirEntry, err error) {
	all, err := fs.ReadDir(s.FS, name)
	for _, e := range all {
		if e.Name() != "run" && e.Type().IsRegular() || e.Name() == "." {
			list = append(list, e)
		}
	}
	return list, err
}

// rewrite replaces the line of a file that begins with start.
func rewrite(t *testing.T, path, start, line string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := regexp.MustCompile("(?m)^"+regexp.QuoteMeta(start)+".*$").ReplaceAllLiteral(text, []byte(line))
	if err := os.WriteFile(path, changed, 0o600); err != nil {
		t.Fatal(err)
	}
}
