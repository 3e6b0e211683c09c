package tracker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"lobstah/grid/announce"
	"lobstah/grid/tracker"
	"lobstah/grid/tracker/trackertest"
	"lobstah/key"
)

func TestMemory(t *testing.T) {
	trackertest.Run(t, func(*testing.T) tracker.Store { return tracker.NewMemory(nil) })
}

func TestFile(t *testing.T) {
	trackertest.Run(t, func(t *testing.T) tracker.Store {
		return openFile(t, filepath.Join(t.TempDir(), "snapshot"))
	})
}

func openFile(t *testing.T, path string) *tracker.File {
	t.Helper()
	f, err := tracker.OpenFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// run runs a tracker until the test ends, and waits until it lists what its
// store has.
func run(t *testing.T, store tracker.Store) *tracker.Tracker {
	t.Helper()
	return runAs(t, tracker.Config{Store: store})
}

func runAs(t *testing.T, config tracker.Config) *tracker.Tracker {
	t.Helper()
	config.Logger = slog.New(slog.DiscardHandler)
	tr := tracker.New(config)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	<-tr.Ready()
	return tr
}

func get(t *testing.T, tr *tracker.Tracker, path string) string {
	t.Helper()
	w := httptest.NewRecorder()
	tr.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Body.String()
}

func send(t *testing.T, tr *tracker.Tracker, path string, body []byte, want int) {
	t.Helper()
	w := httptest.NewRecorder()
	tr.ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(string(body))))
	if w.Code != want {
		t.Fatalf("%s: %d %s; want %d", path, w.Code, w.Body, want)
	}
}

func envelope(t *testing.T, pair key.Pair, label string, at time.Time) []byte {
	t.Helper()
	s, err := announce.Sign(pair, announce.Offer{
		ID: pair.ID(), URL: "http://192.0.2.1:17474", Label: label, Models: []string{"m"}, TTL: 10 * time.Minute, AnnouncedAt: at,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.Envelope()
}

// A restart keeps what was listed, and what was withdrawn stays so.
func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tracker", "snapshot")
	here, gone := key.Generate(), key.Generate()
	now := time.Now()
	left := envelope(t, gone, "gone", now.Add(-time.Second))

	file := openFile(t, path)
	before := run(t, file)
	send(t, before, "/announce", envelope(t, here, "<here>", now), 200)
	send(t, before, "/announce", left, 200)
	send(t, before, "/unannounce", announce.Withdraw(gone, now).JSON(), 200)
	if err := file.Save(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the snapshot: %v, %v; want mode 0600", info, err)
	}

	after := run(t, openFile(t, path))
	if got, want := get(t, after, "/peers"), get(t, before, "/peers"); got != want || !strings.Contains(got, `"<here>"`) {
		t.Errorf("after the restart\n got %s\nwant %s", got, want)
	}
	send(t, after, "/announce", left, 400)
}

// What was withdrawn is remembered over a restart, whether it was listed here or
// not, and of no more keys than the tracker has room for.
func TestWithdrawalsOutliveARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot")
	now := time.Now()
	const room = 3
	pairs := make([]key.Pair, room+2)
	for i := range pairs {
		pairs[i] = key.Generate()
	}
	old := func(n int) []byte { return envelope(t, pairs[n], "old", now.Add(-time.Second)) }

	file := openFile(t, path)
	before := runAs(t, tracker.Config{Store: file, MaxPeers: room, MaxShare: room})
	send(t, before, "/announce", old(0), 200)
	for _, pair := range pairs {
		send(t, before, "/unannounce", announce.Withdraw(pair, now).JSON(), 200)
	}
	if err := file.Save(); err != nil {
		t.Fatal(err)
	}
	snapshot, err := os.ReadFile(path)
	if lines := strings.Count(string(snapshot), "\n"); err != nil || lines != 1+room {
		t.Errorf("the snapshot has %d lines, %v; want its head and %d keys:\n%s", lines, err, room, snapshot)
	}

	after := runAs(t, tracker.Config{Store: openFile(t, path), MaxPeers: room, MaxShare: room})
	for n := range room {
		send(t, after, "/announce", old(n), 400)
	}
	for n := room; n < len(pairs); n++ {
		send(t, after, "/announce", old(n), 503) // there is no room for these
	}
	for n := range room {
		send(t, after, "/announce", envelope(t, pairs[n], "back", now.Add(time.Second)), 200)
	}
}

// Two trackers that share a store list the same.
func TestSharedStore(t *testing.T) {
	store := tracker.NewMemory(nil)
	one, two := run(t, store), run(t, store)
	server := httptest.NewServer(two)
	t.Cleanup(server.Close)
	events := follow(t, server, "/peers/stream", "")
	if e := events.next(t); e.name != "ready" {
		t.Fatalf("first event %+v; want ready", e)
	}
	pair := key.Generate()
	now := time.Now()
	send(t, one, "/announce", envelope(t, pair, "shared", now), 200)
	if e := events.next(t); e.name != "peer" || !strings.Contains(e.data, "shared") {
		t.Errorf("the other tracker tells %+v", e)
	}
	send(t, two, "/unannounce", announce.Withdraw(pair, now.Add(time.Second)).JSON(), 200)
	if e := events.next(t); e.name != "gone" {
		t.Errorf("the other tracker tells %+v", e)
	}
}

func TestDamagedSnapshot(t *testing.T) {
	id := key.Generate().ID()
	for name, test := range map[string]struct {
		text string
		line int
	}{
		"empty":        {"", 1},
		"no JSON":      {"hello\n", 1},
		"newer":        {`{"lobstahTracker":2}` + "\n", 1},
		"cut":          {`{"lobstahTracker":1}` + "\n" + `{"pubkey":"lob1`, 2},
		"no key":       {`{"lobstahTracker":1}` + "\n" + `{"at":1}` + "\n", 2},
		"endless line": {`{"lobstahTracker":1}` + "\n" + fmt.Sprintf(`{"pubkey":%q,"envelope":"%s`, id, strings.Repeat("x", 1<<20)), 2},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "snapshot")
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := tracker.OpenFile(path, nil)
			damaged, ok := errors.AsType[*tracker.DamagedError](err)
			if !ok || damaged.Line != test.line || damaged.Path != path {
				t.Errorf("OpenFile: %v; want line %d", err, test.line)
			}
			if kept, err := os.ReadFile(path); err != nil || string(kept) != test.text {
				t.Errorf("the file was changed: %v", err)
			}
		})
	}
}

// A record that somebody changed in the file is not listed.
func TestForgedSnapshot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot")
	pair := key.Generate()
	now := time.Now()
	forged := strings.Replace(string(envelope(t, pair, "honest", now)), "honest", "forged", 1)
	text := fmt.Sprintf("{\"lobstahTracker\":1}\n{\"pubkey\":%q,\"at\":%d,\"envelope\":%s}\n", pair.ID(), now.UnixMilli(), forged)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := get(t, run(t, openFile(t, path)), "/peers"); got != `{"version":1,"count":0,"peers":[]}` {
		t.Errorf("listed: %s", got)
	}
}
