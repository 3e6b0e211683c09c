package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lobstah/internal/livefile"
)

var known = []string{"router.port", "router.keys", "worker.port", "engine", "log.level"}

func TestRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	text := `# settings
router:
  port: 1_7475
  keys:
    - a
    - "b: c"
worker:
engine: [auto, 'http://127.0.0.1:9000']
log: {level: debug}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path, known)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Value{
		"router.port": {Texts: []string{"1_7475"}, Line: 3},
		"router.keys": {Texts: []string{"a", "b: c"}, List: true, Line: 5},
		"engine":      {Texts: []string{"auto", "http://127.0.0.1:9000"}, List: true, Line: 8},
		"log.level":   {Texts: []string{"debug"}, Line: 9},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got, err := Read(path+".none", known); len(got) != 0 || err != nil {
		t.Errorf("a missing file: %v, %v", got, err)
	}
}

func TestReadFaults(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	for text, want := range map[string]string{
		"router:\n  prot: 1\n":                  `line 2: there is no setting "router.prot"`,
		"router: 5\n":                           "line 1: router: want settings under it",
		"router:\n  port:\n    deep: 1\n":       "line 3: router.port: want a plain value",
		"router:\n  port: 1\n  port: 2\n":       "line 3",
		"- a\n":                                 "line 1: want settings",
		"hello\n":                               "line 1: want settings",
		"engine:\n- {a: b}\n":                   "line 2: engine: want a list of plain values",
		"engine: [a\nlog:\n":                    "line ",
		"engine: *x\n":                          "line 1: engine: want a plain value",
		"engine: a\n---\nengine: b\n":           "line 3: a second document",
		"router:\n\tport: 1\n":                  "line 2",
		"? [a]\n: b\n":                          "line 2",
		strings.Repeat("a:\n ", 1) + "b: \"c\n": "line ",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Read(path, known)
		damaged, ok := errors.AsType[*livefile.DamagedError](err)
		if !ok || damaged.Path != path || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
	unknown, ok := errors.AsType[*UnknownError](func() error {
		_, err := parse([]byte("rooter:\n  port: 1"), known)
		return err
	}())
	if !ok || unknown.Name != "rooter" {
		t.Errorf("unknown: %v", unknown)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("router:\n  port: 1\nengine: [a, b]\n"))
	f.Add([]byte("a: &x [*x]\n<<: {b: c}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		values, err := parse(data, known)
		if err == nil && len(values) > len(known) {
			t.Errorf("%q gave %v", data, values)
		}
	})
}
