package allow

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/grid"
	"lobstah/internal/livefile"
	"lobstah/key"
)

func id(n byte) key.ID { return key.FromSeed([32]byte{n}).ID() }

func TestList(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "allow.json")
	l, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	allowed := func(n byte) bool { _, ok := l.Allowed(id(n)); return ok }
	if allowed(1) {
		t.Fatal("an absent list allows somebody")
	}
	since := time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	mapped := netip.MustParseAddr("::ffff:192.168.1.7")
	for _, c := range []struct {
		e        Entry
		replaced bool
	}{
		{Entry{ID: id(1), Label: "Ann & Bob", Since: since}, false},
		{Entry{ID: id(2)}, false},
		{Entry{ID: id(1), Label: "Ann"}, true},
		{Entry{ID: id(1), Address: mapped}, false},
		{Entry{ID: id(1), Address: mapped.Unmap(), Label: "again"}, true},
		{Entry{ID: id(3), Address: mapped.Unmap()}, false},
	} {
		if replaced, err := Add(path, c.e); err != nil || replaced != c.replaced {
			t.Errorf("Add(%v) = %v, %v; want %v", c.e, replaced, err, c.replaced)
		}
	}
	if list, err := l.Reload(); err != nil || len(list) != 4 || list[0].Name() != "Ann" || list[1].Name() != id(2).Short() {
		t.Errorf("Reload: %v, %v", list, err)
	}
	if !allowed(1) || !allowed(2) || allowed(3) {
		t.Error("the list is not what was added; a legacy key is not allowed by itself")
	}
	for _, addr := range []netip.Addr{mapped, mapped.Unmap()} {
		if !l.Legacy(addr, id(1)) || !l.Legacy(addr, id(3)) || l.Legacy(addr, id(2)) {
			t.Errorf("at %v the keys are not those that were added", addr)
		}
	}
	if l.Legacy(netip.MustParseAddr("192.168.1.8"), id(1)) {
		t.Error("another address counts as legacy")
	}
	if label, _ := l.Allowed(id(1)); label != "Ann" {
		t.Errorf("label %q; want Ann", label)
	}
	removed, err := Remove(path, func(e Entry) bool { return e.ID == id(1) })
	if err != nil || len(removed) != 2 {
		t.Errorf("Remove: %v, %v", removed, err)
	}
	if list, err := Read(path); err != nil || len(list) != 2 {
		t.Errorf("Read: %v, %v", list, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if _, err := Add(path, Entry{}); err == nil {
		t.Error("added nobody")
	}
	if _, err := Add(path, Entry{ID: id(1), Label: "a\nb"}); err == nil {
		t.Error("added a label of two lines")
	}
}

func TestDamagedFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "allow.json")
	pub := `"pubkey":"` + id(1).String() + `"`
	for text, want := range map[string]string{
		"":                                     "line 1",
		"[]":                                   "line 1",
		"{\"version\":2}":                      "version 2 is unknown",
		"{\n\"version\":1,\n\"kesy\":[]}":      `line 3: json: unknown field "kesy"`,
		"{\n\"version\":1,\n\"keys\":[{" + pub: "line 3",
		"{\"version\":1,\"keys\":[{}]}":        "keys, entry 1: an entry needs",
		"{\"version\":1,\"legacy\":[{" + pub + "}]}":                   "legacy, entry 1: it needs the member address",
		"{\"version\":1,\"keys\":[{" + pub + ",\"address\":\"::1\"}]}": "an address belongs to legacy",
		"{\"version\":1,\n\"keys\":[{\"pubkey\":\"lob1\"}]}":           "is not a public key",
		"{\"version\":1}\nx": "line 2: text after the list",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Add(path, Entry{ID: id(2)})
		damaged, ok := errors.AsType[*livefile.DamagedError](err)
		if !ok || damaged.Path != path || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != text {
			t.Errorf("%q became %q, %v", text, after, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"keys":[{"pubkey":"` + id(1).String() + `"}],"legacy":[{"address":"::1","pubkey":"` + id(2).String() + `"}]}`))
	f.Add([]byte(`{"version":1,"keys":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parse(data)
		if err != nil {
			return
		}
		for _, e := range list.entries() {
			if err := e.check(); err != nil {
				t.Errorf("%q: accepted %v: %v", data, e, err)
			}
		}
	})
}

func TestGuests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "allow.json")
		until := time.Now().Add(time.Hour)
		for _, e := range []Entry{
			{ID: id(1), Guest: true, Models: []string{"a:1b", "b"}, Expires: until},
			{ID: id(2), Guest: true},
			{ID: id(3)},
		} {
			if _, err := Add(path, e); err != nil {
				t.Fatal(err)
			}
		}
		l, err := Open(path, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		check := func(n byte, model string, want bool) {
			t.Helper()
			if got := l.MayUse(id(n), grid.Model{ID: model}); got != want {
				t.Errorf("key %d may use %s: %v; want %v", n, model, got, want)
			}
		}
		check(1, "a:1b", true)
		check(1, "b:latest", true)
		check(1, "c", false)
		check(2, "c", true)
		check(3, "c", true)
		check(4, "c", false)
		time.Sleep(time.Hour) // virtual
		check(1, "a:1b", false)
		if _, ok := l.Allowed(id(1)); ok {
			t.Error("an expired guest is allowed")
		}
		if _, ok := l.Allowed(id(2)); !ok {
			t.Error("a guest without an end is not allowed")
		}
	})
	if _, err := Add(filepath.Join(t.TempDir(), "allow.json"), Entry{ID: id(1), Address: netip.MustParseAddr("192.0.2.1"), Guest: true}); err == nil {
		t.Error("added a guest by address")
	}
}
