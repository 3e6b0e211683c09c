package lobstah_test

import (
	"go/parser"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages reads every document that belongs to the project, by name.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if skip := d.Name(); d.IsDir() && name != "." && (skip == "testdata" || skip == "node_modules" || strings.HasPrefix(skip, ".")) {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".md" {
			return nil
		}
		text, err := os.ReadFile(name)
		found[filepath.ToSlash(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var (
	linkTarget = regexp.MustCompile(`\]\(([^)\s#]*)(?:#([^)\s]*))?\)`)
	heading    = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	noAnchor   = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// anchors are the places of a page that links may name.
func anchors(page string) map[string]bool {
	list := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(page, -1) {
		list[strings.ReplaceAll(noAnchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(h[1])), ""), " ", "-")] = true
	}
	return list
}

func TestLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	for name, text := range all {
		for _, link := range linkTarget.FindAllStringSubmatch(text, -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			target := name
			if link[1] != "" {
				target = path.Join(path.Dir(name), link[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", name, link[1])
			} else if page, ours := all[target]; ours && link[2] != "" && !anchors(page)[link[2]] {
				t.Errorf("%s links to %s#%s, and no heading is called so", name, link[1], link[2])
			}
		}
	}
}

var goFile = regexp.MustCompile(`(?:^|[\s(])([a-z][a-z0-9_]*\.go)\b`)

// Comments lead readers to other files of the package, and files get new names.
func TestCommentsNameFilesThatExist(t *testing.T) {
	for folder, files := range parsed(t, false, parser.ParseComments) {
		for _, file := range files {
			for _, comment := range file.Comments {
				for _, named := range goFile.FindAllStringSubmatch(comment.Text(), -1) {
					if _, err := os.Stat(filepath.Join(folder, named[1])); err != nil {
						t.Errorf("a comment in %s names %s, which is not there", folder, named[1])
					}
				}
			}
		}
	}
}
