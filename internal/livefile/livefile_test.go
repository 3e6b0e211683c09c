package livefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/internal/durable"
)

func parseList(data []byte) ([]int, error) {
	if data == nil {
		return nil, nil
	}
	var list []int
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, JSON(data, err)
	}
	return list, nil
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := durable.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestReadNamesLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f.json")
	for text, want := range map[string]string{
		"[1,\n2,\n}":               "line 3: invalid character '}'",
		"[1,\n\"x\"]":              "line 2: a string cannot stand here",
		"":                         "line 1: unexpected end of JSON input",
		strings.Repeat(" ", 5<<20): "larger than 4194304 bytes",
	} {
		write(t, path, text)
		_, err := Read(path, parseList)
		damaged, ok := errors.AsType[*DamagedError](err)
		if !ok || damaged.Path != path || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v; want %q", text, err, want)
		}
	}
	if list, err := Read(path+".none", parseList); list != nil || err != nil {
		t.Errorf("a missing file: %v, %v", list, err)
	}
}

func TestFileFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, follows) // however long the disk takes, no time passes
}

func follows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.json")
	var log bytes.Buffer
	f, err := Open(path, slog.New(slog.NewTextHandler(&log, nil)), parseList)
	if err != nil {
		t.Fatal(err)
	}
	look := func(want int) {
		t.Helper()
		time.Sleep(Interval) // virtual
		if got := f.Get(); len(got) != want {
			t.Errorf("%d numbers; want %d", len(got), want)
		}
	}
	look(0)
	write(t, path, "[1]")
	time.Sleep(Interval - 1)
	if got := f.Get(); len(got) != 0 {
		t.Errorf("looked again within a second: %v", got)
	}
	look(1)
	write(t, path, "[1,2]")
	look(2)
	write(t, path, "[1,")
	look(2)
	look(2)
	if n := strings.Count(log.String(), "the file is damaged"); n != 1 {
		t.Errorf("said %d times that it is damaged; want once:\n%s", n, log.String())
	}
	if list, err := f.Reload(); len(list) != 2 || err == nil {
		t.Errorf("Reload of a damaged file: %v, %v", list, err)
	}
	write(t, path, "[1,2,3]")
	look(3)
	if !strings.Contains(log.String(), "sound again") {
		t.Errorf("log:\n%s", log.String())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look(0)
}

func TestOpenRefusesDamage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f.json")
	write(t, path, "{")
	if _, err := Open(path, slog.New(slog.DiscardHandler), parseList); err == nil {
		t.Error("opened a damaged file")
	}
}

func TestGetConcurrently(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f.json")
	f, err := Open(path, slog.New(slog.DiscardHandler), parseList)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "[1]")
	f.next.Store(0)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { f.Get() })
	}
	wg.Wait()
	if got := f.Get(); len(got) != 1 {
		t.Errorf("got %v; want one number", got)
	}
}
