package lobstah_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

type arrow struct {
	from string
	to   []string
	why  string
}

// arrows says which of our packages a package may import; everything else is
// forbidden. A name ending in /... covers the folders below, and a package may
// always import below itself. The first rule that covers a package counts.
var arrows = []arrow{
	{"cmd/...", []string{"..."}, "commands compose everything"},
	{"bench/...", []string{"..."}, "measurements drive whole programs"},
	{"internal/...", []string{"internal/..."}, "internal packages wrap one library each and know no product"},
	{"key", []string{"internal/..."}, "the identity is the bottom of everything"},
	{"invitation", []string{"key", "internal/..."}, "an invitation names a key and knows no network"},
	{"openai", []string{"internal/..."}, "wire types know no product"},
	{"receipt", []string{"key", "internal/canonical"}, "a statement depends on who signs it and on its canonical text"},
	{"ledger/...", []string{"ledger/...", "receipt", "key", "internal/..."}, "the ledger keeps receipts and knows no network"},
	{"grid", []string{"key", "receipt"}, "the vocabulary of the grid"},
	{"grid/announce", []string{"grid", "key", "internal/..."}, "the signed statements of discovery are vocabulary, as receipts are"},
	{"grid/tracker/trackertest", []string{"grid/tracker", "key"}, "the suite of a tracker's stores knows the tracker alone"},
	{"grid/tracker/...", []string{"grid", "grid/announce", "key", "openai", "internal/..."}, partsMeetInCmd},
	{"grid/engine/...", []string{"openai", "grid", "grid/engine/...", "internal/..."}, "engines know neither worker nor router"},
	{"grid/channel", []string{"grid", "key", "receipt", "openai", "internal/..."}, partsMeetInCmd},
	{"grid/worker/...", []string{"grid", "grid/engine", "key", "receipt", "openai", "internal/..."}, partsMeetInCmd},
	{"grid/router/...", []string{"grid", "key", "receipt", "openai", "internal/..."}, partsMeetInCmd},
	{"grid/discover/...", []string{"grid", "grid/announce", "grid/discover", "key", "receipt", "openai", "internal/..."}, "places of announcements know what a place is"},
	{"grid/invite", []string{"invitation", "key", "receipt", "openai", "internal/..."}, partsMeetInCmd},
	{"grid/...", []string{"grid", "grid/announce", "key", "receipt", "openai", "internal/..."}, partsMeetInCmd},
	{"mesh/...", []string{"mesh/...", "invitation", "key", "internal/..."}, "the mesh does not know the grid"},
	{"flow/...", []string{"flow/...", "internal/..."}, "the shell is useful without grid and mesh"},
}

const partsMeetInCmd = "the grid's parts meet only in cmd/, through interfaces that they declare"

const module = "lobstah/"

// sources parses the imports and comments of every package's product code or
// tests, by folder.
func sources(t *testing.T, tests bool) map[string][]*ast.File {
	t.Helper()
	return parsed(t, tests, parser.ParseComments|parser.ImportsOnly)
}

func parsed(t *testing.T, tests bool, mode parser.Mode) map[string][]*ast.File {
	t.Helper()
	packages := map[string][]*ast.File{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if d.IsDir() {
			if skip := d.Name(); name != "." && (skip == "testdata" || skip == "node_modules" || strings.HasPrefix(skip, ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") != tests {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, mode)
		if err != nil {
			return err
		}
		packages[path.Dir(name)] = append(packages[path.Dir(name)], file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

func covers(pattern, pkg string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "..."); ok {
		return strings.HasPrefix(pkg+"/", prefix)
	}
	return pattern == pkg
}

func TestArrows(t *testing.T) {
	for pkg, files := range sources(t, false) {
		rule := slices.IndexFunc(arrows, func(a arrow) bool { return covers(a.from, pkg) })
		if rule < 0 {
			t.Errorf("no rule says what package %s may import", pkg)
			continue
		}
		for _, file := range files {
			for _, spec := range file.Imports {
				target, _ := strconv.Unquote(spec.Path.Value)
				target, ours := strings.CutPrefix(target, module)
				allowed := func(pattern string) bool { return covers(pattern, target) }
				if ours && !covers(pkg+"/...", target) && !slices.ContainsFunc(arrows[rule].to, allowed) {
					t.Errorf("package %s imports %s; it must not: %s", pkg, target, arrows[rule].why)
				}
			}
		}
	}
}

// Every package has one package comment, long enough to say what it is.
func TestPackageComments(t *testing.T) {
	for pkg, files := range sources(t, false) {
		var comments []string
		for _, file := range files {
			if file.Doc != nil && strings.TrimSpace(file.Doc.Text()) != "" {
				comments = append(comments, file.Doc.Text())
			}
		}
		if len(comments) != 1 {
			t.Errorf("package %s has %d package comments; want one", pkg, len(comments))
		} else if len(comments[0]) < 80 {
			t.Errorf("package %s says only %q of itself", pkg, comments[0])
		}
	}
}

// Folders without a clear job attract everything.
func TestPackageNames(t *testing.T) {
	vague := []string{"util", "utils", "common", "helper", "helpers", "manager", "misc", "base", "core", "types", "shared"}
	for pkg := range sources(t, false) {
		if slices.Contains(vague, path.Base(pkg)) {
			t.Errorf("package %s: name it after the thing it is", pkg)
		}
	}
}
