package audit

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

func read(t *testing.T, path string) (calls []string) {
	t.Helper()
	for e, err := range Read(path) {
		if err != nil {
			t.Fatal(err)
		}
		calls = append(calls, e.Call)
	}
	return calls
}

func TestAppendAndRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deep", "audit.jsonl")
	if got := read(t, path); got != nil {
		t.Errorf("a log that is not there has %v", got)
	}
	for _, call := range []string{"a", "b"} { // opened again, it is continued
		log, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := log.Append(Entry{Call: call, Phase: Began, Args: "two\nlines"}); err != nil {
			t.Fatal(err)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		if err := log.Append(Entry{}); err == nil {
			t.Error("a closed log took an entry")
		}
	}
	if got := read(t, path); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("read %v", got)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	log, err := open(path, 1000)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var parts sync.WaitGroup
	for i := range 100 {
		parts.Go(func() {
			if err := log.Append(Entry{Call: fmt.Sprintf("%03d", i), Reason: strings.Repeat("x", 2000)}); err != nil {
				t.Error(err)
			}
		})
	}
	parts.Wait()
	if got := len(read(t, path)); got != Keep+1 {
		t.Errorf("%d entries are left of files with one each, want %d", got, Keep+1)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != Keep+1 {
		t.Errorf("%d files, want %d (%v)", len(files), Keep+1, err)
	}
}

// What a crash left half-written is said, and hides nothing that follows.
func TestDamagedLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, []byte("{\"call\":\"a\"}\n{\"call\":\n{\"call\":\"c\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var calls, faults []string
	for e, err := range Read(path) {
		if err != nil {
			faults = append(faults, err.Error())
			continue
		}
		calls = append(calls, e.Call)
	}
	if !slices.Equal(calls, []string{"a", "c"}) || len(faults) != 1 || !strings.Contains(faults[0], "line 2") {
		t.Errorf("read %v and %v", calls, faults)
	}
}

func TestPreviewHidesSecrets(t *testing.T) {
	t.Parallel()
	const secret = "hunter2hunter2hunter2"
	for _, args := range []string{
		`{"password":"` + secret + `"}`,
		`{"headers":{"Authorization":"Bearer ` + secret + `"}}`,
		`{"env":{"GITHUB_TOKEN":"` + secret + `"}}`,
		`{"command":"curl -H 'Authorization: Bearer ` + secret + `' https://a"}`,
		`{"command":"API_KEY=` + secret + ` run"}`,
		`{"command":"login --password ` + secret + `"}`,
		`{"argv":["login","--password","` + secret + `"]}`,
		`{"url":"https://me:` + secret + `@example.com/"}`,
		`{"command":"echo sk-` + secret + `"}`,
		`{"content":"-----BEGIN PRIVATE KEY-----\n` + secret + `"}`,
		`{"deep":[[[{"apiKey":"` + secret + `"}]]]}`,
		`not JSON, token=` + secret,
	} {
		if got := Preview([]byte(args)); strings.Contains(got, "hunter2") || !strings.Contains(got, redacted) {
			t.Errorf("Preview(%s) = %s", args, got)
		}
	}
	if got := Preview([]byte(`{"command":"git status","n":12345678901234567890}`)); got != `{"command":"git status","n":12345678901234567890}` {
		t.Errorf("what is no secret became %s", got)
	}
	if got := Preview([]byte(`{"content":"` + strings.Repeat("é", 10_000) + `"}`)); len(got) > 300 {
		t.Errorf("a long text has %d bytes in the preview", len(got))
	}
}

func FuzzPreview(f *testing.F) {
	f.Add([]byte(`{"a":["--token",{"b":"c"}]}`))
	f.Add([]byte("{\"a\":\"\xff\"}"))
	f.Fuzz(func(t *testing.T, args []byte) {
		got := Preview(args)
		if len(got) > maxPreview+8 {
			t.Errorf("%d bytes", len(got))
		}
		if _, err := json.Marshal(got); err != nil {
			t.Error(err)
		}
	})
}
