package lobstah_test

import (
	"go/ast"
	"go/parser"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The documents that say which test holds a claim.
var claims = []string{"SECURITY.md", "docs/clawmatrix.md"}

// Every test and script that a document names exists where it says, so that no
// claim outlives its proof.
func TestNamedTestsExist(t *testing.T) {
	tests := testFunctions(t)
	testName := regexp.MustCompile("`(?:([a-z0-9]+)\\.)?((?:Test|Fuzz)[A-Z][A-Za-z0-9_]*)`")
	scripts := regexp.MustCompile("scripts? ((?:`[a-z]+`(?:, | and )?)+)")
	for _, file := range claims {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testName.FindAllStringSubmatch(string(text), -1) {
			if pkg, name := m[1], m[2]; !tests[name][pkg] {
				t.Errorf("%s names the test %s, which does not exist there", file, strings.Trim(m[0], "`"))
			}
		}
		for _, m := range scripts.FindAllStringSubmatch(string(text), -1) {
			for name := range strings.SplitSeq(strings.ReplaceAll(m[1], " and ", ", "), ", ") {
				name = strings.Trim(name, "`")
				if found, _ := filepath.Glob("cmd/*/testdata/*/" + name + ".txtar"); name != "" && len(found) == 0 {
					t.Errorf("%s names the script %s, which does not exist", file, name)
				}
			}
		}
	}
}

// testFunctions are the tests of the repository: for each name the last words of
// the packages that have it, and the empty word.
func testFunctions(t *testing.T) map[string]map[string]bool {
	t.Helper()
	found := map[string]map[string]bool{}
	for folder, files := range parsed(t, true, parser.SkipObjectResolution) {
		for _, file := range files {
			for _, d := range file.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok || f.Recv != nil {
					continue
				}
				if found[f.Name.Name] == nil {
					found[f.Name.Name] = map[string]bool{"": true}
				}
				found[f.Name.Name][path.Base(folder)] = true
			}
		}
	}
	return found
}
