package tool

import (
	"path/filepath"
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
