package tool

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Locate finds the root that a path lies in, and the path within it. It looks
// at names only; symbolic links are judged where the file is opened, beneath an
// os.Root.
func (g Grant) Locate(path string) (root, rel string, err error) {
	if len(g.Roots) == 0 {
		return "", "", refuse(CodePath, "the owner can name folders in toolProxy paths", "no folder is granted to you here")
	}
	if path == "" || strings.ContainsRune(path, 0) {
		return "", "", refuse(CodeArguments, "", "%q is no path", path)
	}
	if !filepath.IsAbs(path) {
		if !filepath.IsLocal(path) {
			return "", "", outside(path)
		}
		return g.Roots[0], filepath.Clean(path), nil
	}
	for _, root := range g.Roots {
		if rel, err := filepath.Rel(root, path); err == nil && filepath.IsLocal(rel) {
			return root, rel, nil
		}
	}
	return "", "", outside(path)
}

func outside(path string) *Error {
	return refuse(CodePath, "the owner can name more folders in toolProxy paths", "%.300q lies outside of the folders that are granted to you here", path)
}

// expand makes the folders of a configuration absolute.
func expand(paths []string, home string) []string {
	var out []string
	for _, p := range paths {
		if rest, ok := strings.CutPrefix(p, "~"); ok {
			p = filepath.Join(home, rest)
		}
		out = append(out, filepath.Clean(p))
	}
	return out
}

// KeepOut refuses folders from which a caller could take this node's own files:
// its home, its configuration and others that hold a key or a secret.
// The work folder within the home may be granted.
func (p *Policy) KeepOut(own ...string) error {
	granted := slices.Clone(p.cfg.Paths)
	for _, name := range slices.Sorted(maps.Keys(p.rules)) {
		granted = append(granted, p.cfg.Callers[name].Paths...)
	}
	for i, path := range expand(granted, p.place.Home) {
		for _, mine := range own {
			if path == filepath.Clean(p.place.Work) {
				continue
			}
			path, mine := resolved(path), resolved(mine)
			if within(path, mine) || within(mine, path) && !within(resolved(p.place.Work), path) {
				return fmt.Errorf("toolProxy: %s holds files of this node itself (%s), with a key, a token or the secret of the mesh: name the folders beside them", granted[i], mine)
			}
		}
	}
	return nil
}

// resolved is a path without symbolic links, as far as it exists.
func resolved(path string) string {
	whole, err := filepath.EvalSymlinks(path)
	if err == nil {
		return whole
	}
	if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
		return filepath.Join(resolved(parent), filepath.Base(path))
	}
	return filepath.Clean(path)
}
