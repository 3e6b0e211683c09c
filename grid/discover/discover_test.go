package discover

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lobstah/grid"
	"lobstah/internal/livefile"
	"lobstah/key"
)

func id(n byte) key.ID { return key.FromSeed([32]byte{n}).ID() }

func TestAddReplaceRemove(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "home", "peers.json")
	add := func(p grid.Peer, want bool) {
		t.Helper()
		if replaced, err := Add(path, p); err != nil || replaced != want {
			t.Fatalf("Add(%v) = %v, %v; want %v", p, replaced, err, want)
		}
	}
	add(grid.Peer{ID: id(1), URL: "https://a:1", Label: "one & <only>"}, false)
	add(grid.Peer{ID: id(2), URL: "http://b:2", Insecure: true}, false)
	add(grid.Peer{ID: id(1), URL: "https://c:3"}, true)
	list, err := Read(path)
	if err != nil || len(list) != 2 {
		t.Fatalf("Read: %v, %v", list, err)
	}
	// The replaced entry moves to the end, as in the original.
	if list[0].ID != id(2) || !list[0].Insecure || list[1].URL != "https://c:3" || list[1].Label != "" {
		t.Errorf("list: %+v", list)
	}
	if list[0].Origin != grid.FromUser {
		t.Errorf("origin %q; want %q", list[0].Origin, grid.FromUser)
	}
	if p, found, err := Remove(path, id(2)); err != nil || !found || p.URL != "http://b:2" {
		t.Errorf("Remove: %v, %v, %v", p, found, err)
	}
	if _, found, err := Remove(path, id(2)); err != nil || found {
		t.Errorf("Remove again: %v, %v", found, err)
	}
	data, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(data), "[\n  {\n    \"pubkey\": \"lob1") || !strings.HasSuffix(string(data), "\n]\n") {
		t.Errorf("file: %s, %v", data, err)
	}
}

// Programs of the future, and people, may have written more than we know.
func TestUnknownMembersSurvive(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "peers.json")
	text := `[{"note":{"b":[1,2]},"pubkey":"` + id(1).String() + `","url":"http://a:1","label":"old","zeal":9007199254740993},
		{"pubkey":"` + id(2).String() + `","url":"http://b:1","x":1}]`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Add(path, grid.Peer{ID: id(1), URL: "https://new:1"}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]json.RawMessage
	if err := json.Unmarshal(data, &got); err != nil || len(got) != 2 {
		t.Fatalf("%v in\n%s", err, data)
	}
	if string(got[0]["x"]) != "1" || string(got[1]["zeal"]) != "9007199254740993" || got[1]["note"] == nil {
		t.Errorf("members were lost:\n%s", data)
	}
	if got[1]["label"] != nil || string(got[1]["url"]) != `"https://new:1"` {
		t.Errorf("the new entry is not what was added:\n%s", data)
	}
}

func TestDamagedFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "peers.json")
	good := `{"pubkey":"` + id(1).String() + `","url":"http://a:1"}`
	for text, want := range map[string]string{
		"":                         "line 1",
		"{}":                       "line 1: want an array",
		"[\n" + good + ",\n{}\n]":  "line 3: a peer needs the members pubkey and url",
		"[\n" + good + ",\n7]":     "line 3: a peer is an object",
		"[\n" + good + "\n":        "line 3",
		"[\n" + good + "\n] trail": "line 3: text after the array",
		"[" + good + ",\n\n{]":     "line 3",
		"[\n{\"pubkey\":\"lob1x\",\"url\":\"http://a\"}]":                                      "line 2: pubkey",
		"[\n{\"pubkey\":\"" + id(1).String() + "\",\"url\":\"ftp://a\"}]":                      "line 2: url: \"ftp://a\": want http, https or mesh",
		"[\n{\"pubkey\":\"" + id(1).String() + "\",\n\"url\":5}]":                              "line 3",
		"[\n{\"pubkey\":\"" + id(1).String() + "\",\"url\":\"http://a\",\"label\":\"a\\nb\"}]": "line 2: label",
		"[\n{\"pubkey\":\"" + strings.ToUpper(id(1).String()) + "\",\"url\":\"http://a:1\"}]":  "line 2: pubkey",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Read(path)
		damaged, ok := errors.AsType[*livefile.DamagedError](err)
		if !ok || damaged.Path != path || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
		if _, err := Add(path, grid.Peer{ID: id(3), URL: "http://c:1"}); err == nil {
			t.Errorf("%q: was written over", text)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != text {
			t.Errorf("%q became %q, %v", text, after, err)
		}
	}
}

func TestLastEntryOfAKeyCounts(t *testing.T) {
	t.Parallel()
	entry := func(url string) string { return `{"pubkey":"` + id(1).String() + `","url":"` + url + `"}` }
	list, err := parse([]byte("[" + entry("http://a:1") + "," + entry("http://b:1") + "]"))
	if err != nil || len(list) != 1 || list[0].peer.URL != "http://b:1" {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"192.168.1.5:17474":       "https://192.168.1.5:17474",
		"192.168.1.5":             "https://192.168.1.5:17474",
		"box.local":               "https://box.local:17474",
		"[::1]:5":                 "https://[::1]:5",
		"::1":                     "https://[::1]:17474",
		"[fd00::2]":               "https://[fd00::2]:17474",
		"HTTP://h:1/":             "http://h:1",
		"https://h/sub/":          "https://h/sub",
		" http://h:80 ":           "http://h:80",
		"":                        "",
		"h:0":                     "",
		"h:65536":                 "",
		"h:http":                  "",
		"a b:1":                   "",
		"h/path":                  "",
		"user@h:1":                "",
		"http://":                 "",
		"http://u:p@h":            "",
		"http://h?x=1":            "",
		"http://h/#f":             "",
		"http://h:0":              "",
		"ftp://h":                 "",
		"mesh://lob1/":            "mesh://lob1",
		"mesh://office-01":        "mesh://office-01",
		"mesh://h:1":              "",
		"mesh://h/path":           "",
		"mesh://":                 "",
		strings.Repeat("h", 3000): "",
	} {
		got, err := ParseURL(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ParseURL(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestFileIsLive(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "peers.json")
	f, err := Open(path, slog.New(slog.DiscardHandler))
	if err != nil || len(f.Peers()) != 0 {
		t.Fatalf("Open: %v, %v", f.Peers(), err)
	}
	if _, err := Add(path, grid.Peer{ID: id(1), URL: "http://a:1"}); err != nil {
		t.Fatal(err)
	}
	if list, err := f.Reload(); err != nil || len(list) != 1 {
		t.Errorf("Reload: %v, %v", list, err)
	}
	if list := f.Peers(); len(list) != 1 || list[0].ID != id(1) {
		t.Errorf("Peers: %v", list)
	}
	if err := os.WriteFile(path, []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := f.Reload(); err == nil || len(list) != 1 {
		t.Errorf("Reload of a damaged file: %v, %v", list, err)
	}
	if _, err := Open(path, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("opened a damaged file")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`[{"pubkey":"` + id(1).String() + `","url":"http://a:1","label":"l","x":{}}]`))
	f.Add([]byte(`[{},[],7,"`))
	f.Add([]byte("\ufeff[]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parse(data)
		if err != nil {
			return
		}
		for _, e := range list {
			raw, err := merge(e.raw, e.peer)
			if err != nil {
				t.Fatal(err)
			}
			again, err := parseEntry(raw)
			if err != nil || again.peer != e.peer {
				t.Fatalf("%s became %s (%v)", e.raw, raw, err)
			}
		}
	})
}
