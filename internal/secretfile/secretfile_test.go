package secretfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text string
		mode fs.FileMode
		want string // of the error
	}{
		"a line":       {" hush-hush\r\n", 0o600, ""},
		"only to read": {"hush-hush", 0o400, ""},
		"of others":    {"hush-hush\n", 0o640, "chmod 600"},
		"empty":        {"\n", 0o600, "want one line"},
		"two lines":    {"hush-hush\nhush-hush\n", 0o600, "want one line"},
		"binary":       {"hush-hush\x00", 0o600, "want one line"},
		"huge":         {strings.Repeat("hush-hush", 10000), 0o600, "want one line"},
	} {
		if runtime.GOOS == "windows" && test.mode == 0o640 {
			continue // modes mean nothing there
		}
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(test.text), test.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, test.mode); err != nil { // whatever the umask is
			t.Fatal(err)
		}
		got, err := Read(path)
		switch {
		case test.want == "" && (err != nil || got != "hush-hush"):
			t.Errorf("%s: %q, %v; want the secret", name, got, err)
		case test.want != "" && (err == nil || got != "" || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hush")):
			t.Errorf("%s: %q, %v; want an error with %q and not the secret", name, got, err, test.want)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := Read(t.TempDir()); err == nil {
		t.Error("read a folder")
	}
}
