package state

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"inbox.cursor": "inbox.cursor.json", "A/B": "a_b.json", "a  b": "a_b.json", "..": "...json", "github.pr:o/r#1": "github.pr_o_r_1.json",
		"__x__": "x.json", "ü": "", "///": "", "": "",
	}
	for key, want := range tests {
		got, err := fileName(key)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("fileName(%q) = %q, %v, want %q", key, got, err, want)
		}
	}
}

func TestUserKeysCannotReachPauses(t *testing.T) {
	t.Parallel()
	s := Open(t.TempDir())
	p, err := s.SavePause(t.Context(), Pipeline, []byte(`{}`), true)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		p.Key, strings.ToUpper(p.Key), "approval_" + p.ApprovalID, "/" + p.Key, "pipeline resume " + p.Key[len("pipeline_resume_"):],
		"workflow-resume_x", "Workflow__Resume_x",
	} {
		if err := s.Set(t.Context(), key, []byte(`1`)); err == nil || !strings.Contains(err.Error(), "reserved") {
			t.Errorf("Set(%q) = %v, want a refusal", key, err)
		}
		if _, _, err := s.Get(t.Context(), key); err == nil {
			t.Errorf("Get(%q) read a pause", key)
		}
	}
	if err := s.Set(t.Context(), "approval_notes", []byte(`1`)); err != nil {
		t.Errorf("an honest key was refused: %v", err)
	}
	if err := s.Set(t.Context(), "forged", []byte(`{"pipeline":[]}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.LoadPause(t.Context(), "forged"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a token could name a pipeline's key: %v", err)
	}
}

func TestGetSet(t *testing.T) {
	t.Parallel()
	s := Open(filepath.Join(t.TempDir(), "deep", "state"))
	if _, ok, err := s.Get(t.Context(), "k"); ok || err != nil {
		t.Fatalf("Get of nothing = %v, %v", ok, err)
	}
	if err := s.Set(t.Context(), "k", []byte("{}\n")); err != nil {
		t.Fatal(err)
	}
	got, ok, err := s.Get(t.Context(), "K")
	if err != nil || !ok || string(got) != "{}\n" {
		t.Fatalf("Get = %q, %v, %v", got, ok, err)
	}
	assertListing(t, s, "k.json")
	info, err := os.Stat(filepath.Join(s.Path(), "k.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
}

func TestExistingModeIsKept(t *testing.T) {
	t.Parallel()
	s := Open(t.TempDir())
	path := filepath.Join(s.Path(), "k.json")
	if err := errors.Join(os.WriteFile(path, []byte("1"), 0o600), os.Chmod(path, 0o640)); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	if err := s.Set(t.Context(), "k", []byte("2")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v, want 0640", info.Mode(), err)
	}
}

func TestUpdateIsExclusive(t *testing.T) {
	t.Parallel()
	s := Open(t.TempDir())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			err := s.Update(t.Context(), "n", func(before []byte) ([]byte, error) {
				var n int
				if before != nil {
					if err := json.Unmarshal(before, &n); err != nil {
						return nil, err
					}
				}
				return fmt.Appendf(nil, "%d", n+1), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, _, _ := s.Get(t.Context(), "n"); string(got) != "20" {
		t.Errorf("20 increments gave %s", got)
	}
}

func TestUpdateKeepsOldOnError(t *testing.T) {
	t.Parallel()
	s := Open(t.TempDir())
	if err := s.Set(t.Context(), "k", []byte("old")); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	if err := s.Update(t.Context(), "k", func([]byte) ([]byte, error) { return []byte("new"), boom }); !errors.Is(err, boom) {
		t.Errorf("Update = %v, want boom", err)
	}
	if got, _, _ := s.Get(t.Context(), "k"); string(got) != "old" {
		t.Errorf("a failed update wrote %q", got)
	}
	assertListing(t, s, "k.json")
}

func TestPauseLife(t *testing.T) {
	t.Parallel()
	s := Open(t.TempDir())
	p, err := s.SavePause(t.Context(), Workflow, []byte(`{"a":1}`), true)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := DecodeToken(p.Token)
	if err != nil || tok != (Token{Workflow, p.Key}) {
		t.Fatalf("DecodeToken = %v, %v", tok, err)
	}
	key, err := s.ApprovalKey(`"` + p.ApprovalID[:4] + "-" + p.ApprovalID[4:] + `"`)
	if err != nil || key != p.Key {
		t.Fatalf("ApprovalKey = %q, %v, want %q", key, err, p.Key)
	}
	waiting, err := s.Waiting(t.Context())
	if err != nil || len(waiting) != 1 || waiting[0].ApprovalID != p.ApprovalID || string(waiting[0].Document) != `{"a":1}` {
		t.Fatalf("Waiting = %+v, %v", waiting, err)
	}
	if err := s.Claim(t.Context(), p.Key); err != nil {
		t.Fatal(err)
	}
	if err := s.Claim(t.Context(), p.Key); !errors.Is(err, ErrNotFound) {
		t.Errorf("second Claim = %v, want ErrNotFound", err)
	}
	if err := s.Cancel(t.Context(), p.Key); !errors.Is(err, ErrNotFound) {
		t.Errorf("Cancel of a used pause = %v, want ErrNotFound", err)
	}
	if _, err := s.ApprovalKey(p.ApprovalID); err == nil {
		t.Error("the approval id outlived its pause")
	}
	assertListing(t, s, p.Key+".json")
	if err := s.Discard(t.Context(), p.Key); err != nil {
		t.Fatal(err)
	}
	assertListing(t, s)
}

func TestClaimHasOneWinner(t *testing.T) {
	t.Parallel()
	s := Open(t.TempDir())
	p, err := s.SavePause(t.Context(), Pipeline, []byte(`{}`), true)
	if err != nil {
		t.Fatal(err)
	}
	won := make(chan struct{}, 20)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			switch err := Open(s.Path()).Claim(t.Context(), p.Key); {
			case err == nil:
				won <- struct{}{}
			case !errors.Is(err, ErrNotFound):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Errorf("%d processes claimed one pause", len(won))
	}
}

func TestCancelledPauseLeavesNothing(t *testing.T) {
	t.Parallel()
	s := Open(t.TempDir())
	ctx, cancel := context.WithCancelCause(t.Context())
	s.Now = func() time.Time { cancel(errors.New("stop")); return time.Now() }
	if _, err := s.SavePause(ctx, Pipeline, []byte(`{}`), true); err == nil || !strings.Contains(err.Error(), "stop") {
		t.Errorf("SavePause = %v, want the cause", err)
	}
	assertListing(t, s)
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	s := Open(t.TempDir())
	old, err := s.SavePause(t.Context(), Workflow, []byte(`{}`), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Set(t.Context(), "kept", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.Path(), ".k.json.0123456789ab.tmp"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Now = func() time.Time { return time.Now().Add(DefaultTTL + time.Hour) }
	if _, err := s.LoadPause(t.Context(), old.Key); !errors.Is(err, ErrNotFound) {
		t.Errorf("an expired pause loaded: %v", err)
	}
	if err := s.Claim(t.Context(), old.Key); !errors.Is(err, ErrNotFound) {
		t.Errorf("an expired pause was claimed: %v", err)
	}
	if _, err := s.ApprovalKey(old.ApprovalID); err == nil {
		t.Error("an expired approval id still leads somewhere")
	}
	if n, err := s.Collect(t.Context()); n != 3 || err != nil {
		t.Errorf("Collect = %d, %v, want 3", n, err)
	}
	assertListing(t, s, "kept.json")
	s.TTL = -1
	fresh, err := s.SavePause(t.Context(), Workflow, []byte(`{}`), false)
	if err != nil {
		t.Fatal(err)
	}
	s.Now = func() time.Time { return time.Now().Add(100 * DefaultTTL) }
	if _, err := s.LoadPause(t.Context(), fresh.Key); err != nil {
		t.Errorf("TTL -1 expired a pause: %v", err)
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	t.Parallel()
	s := Open(t.TempDir())
	asUser(t, s.Path())
	if err := s.Set(t.Context(), "k", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.Path(), 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(s.Path(), 0o700) })
	if got, ok, err := s.Get(t.Context(), "k"); string(got) != "1" || !ok || err != nil {
		t.Errorf("Get = %q, %v, %v", got, ok, err)
	}
	if err := s.Set(t.Context(), "k", []byte("2")); err == nil {
		t.Error("Set succeeded on a read-only directory")
	}
}

func TestDeadLockIsReclaimed(t *testing.T) {
	t.Parallel()
	s := Open(t.TempDir())
	lock := filepath.Join(s.Path(), "k.json.lock")
	owners := map[string]string{"dead process": "2147483646:1:00", "reused id": fmt.Sprintf("%d:1:00", os.Getpid())}
	for name, owner := range owners {
		if name == "reused id" && startOf(os.Getpid()) == "" {
			continue // the system does not tell when a process started
		}
		if err := os.Mkdir(lock, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(lock, "owner"), []byte(owner), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Set(t.Context(), "k", []byte("1")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		assertListing(t, s, "k.json")
	}
}

func TestLiveLockIsRespected(t *testing.T) {
	t.Parallel()
	s := Open(t.TempDir())
	release, err := s.acquire(t.Context(), filepath.Join(s.Path(), "k.json.lock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Set(ctx, "k", []byte("1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Set under a held lock = %v, want a deadline error", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(t.Context(), "k", []byte("1")); err != nil {
		t.Error(err)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	tests := []struct{ doc, want string }{
		{`null`, "Invalid token"},
		{`"hello"`, "Invalid token"},
		{`{"protocolVersion":2,"v":1,"kind":"pipeline-resume","stateKey":"x"}`, "Unsupported protocol version"},
		{`{"protocolVersion":1,"v":2,"kind":"pipeline-resume","stateKey":"x"}`, "Unsupported token version"},
		{`{"protocolVersion":1,"v":1,"kind":"pipeline-resume"}`, "Invalid token"},
		{`{"protocolVersion":1,"v":1,"kind":"workflow-file"}`, "Invalid workflow token"},
		{`{"protocolVersion":1,"v":1,"kind":"workflow-file","filePath":"/x","resumeAtIndex":1,"steps":{},"args":{}}`, "Invalid workflow token: state inside"},
		{`{"protocolVersion":1,"v":1,"kind":"other","stateKey":"x"}`, "Invalid token"},
	}
	for _, tt := range tests {
		_, err := DecodeToken(encode64(tt.doc))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("DecodeToken(%s) = %v, want %s", tt.doc, err, tt.want)
		}
	}
	if _, err := DecodeToken("abc"); err == nil || err.Error() != "Invalid token" {
		t.Errorf("DecodeToken(abc) = %v", err)
	}
}

func FuzzDecodeToken(f *testing.F) {
	f.Add("abc")
	f.Add(Token{Pipeline, "pipeline_resume_00000000-0000-4000-8000-000000000000"}.Encode())
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := DecodeToken(text)
		if err == nil && IsPauseKey(tok.Key) {
			if again, err := DecodeToken(tok.Encode()); err != nil || again != tok {
				t.Errorf("token %+v became %+v, %v", tok, again, err)
			}
		}
	})
}

func TestWriteAllRollsBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old, fresh, blocked := filepath.Join(dir, "a", "old"), filepath.Join(dir, "b", "fresh"), filepath.Join(dir, "a", "old", "child")
	if err := WriteAll(Write{old, []byte("1")}); err != nil {
		t.Fatal(err)
	}
	if err := WriteAll(Write{old, []byte("2")}, Write{fresh, []byte("2")}, Write{blocked, []byte("2")}); err == nil {
		t.Fatal("writing below a file succeeded")
	}
	if got, err := os.ReadFile(old); string(got) != "1" || err != nil {
		t.Errorf("old file holds %q, %v", got, err)
	}
	if _, err := os.Stat(fresh); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("new file stayed: %v", err)
	}
}

func TestCacheRefusesPaths(t *testing.T) {
	t.Parallel()
	c := OpenCache(t.TempDir())
	for _, pair := range [][2]string{{"..", "k"}, {"llm.invoke", "../k"}, {"", "k"}, {"a/b", "k"}} {
		if path, err := c.File(pair[0], pair[1]); err == nil {
			t.Errorf("File(%q, %q) = %s", pair[0], pair[1], path)
		}
	}
}

func TestJournal(t *testing.T) {
	t.Parallel()
	j := OpenJournal(filepath.Join(t.TempDir(), "journal"))
	j.Now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6789012, time.UTC) }
	j.Mask = func(s string) string { return strings.ReplaceAll(s, "hunter2", "[PASSWORD]") }
	j.Append(Event{Run: "r1", Event: "run.start", Target: "flow.lobster"})
	j.Append(Event{Run: "r1", Event: "step.end", Step: "a", Status: "error", Error: "bad hunter2 " + strings.Repeat("ü", 1<<20)})
	if err := j.Err(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(j.dir, journalName)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(raw, []byte("hunter2")) {
		t.Error("the journal holds a secret")
	}
	junk := append([]byte("{half a line\n\n"+strings.Repeat("x", 2*maxEvent)+"\n"), raw...)
	if err := os.WriteFile(path, append(junk, `{"v":1,"run":"cut`...), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []Event
	for e, err := range j.Events() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	if len(got) != 2 || got[0].Event != "run.start" || got[1].Step != "a" || !strings.HasPrefix(got[1].Error, "bad [PASSWORD] ü") {
		t.Errorf("events %+v", got)
	}
}

func TestJournalRotates(t *testing.T) {
	t.Parallel()
	j := OpenJournal(t.TempDir())
	path := filepath.Join(j.dir, journalName)
	if err := os.WriteFile(path, []byte(`{"v":1,"run":"old"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, journalLimit+1); err != nil {
		t.Fatal(err)
	}
	j.Append(Event{Run: "new"})
	var runs []string
	for e, err := range j.Events() {
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, e.Run)
	}
	if fmt.Sprint(runs) != "[old new]" {
		t.Errorf("runs %v, want [old new]", runs)
	}
}

func TestNilJournal(t *testing.T) {
	t.Parallel()
	j := OpenJournal("")
	j.Append(Event{})
	for range j.Events() {
		t.Error("a nil journal has events")
	}
	if j.Err() != nil {
		t.Error(j.Err())
	}
}

func assertListing(t *testing.T, s *Store, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("directory holds %v, want %v", got, want)
	}
}

func encode64(doc string) string { return base64.RawURLEncoding.EncodeToString([]byte(doc)) }

func TestOnePauseSucceedsAnother(t *testing.T) {
	t.Parallel()
	s := Open(t.TempDir())
	first, err := s.SavePause(t.Context(), Pipeline, []byte(`{}`), true)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	won := make(chan Pause, 8)
	for range 8 {
		wg.Go(func() {
			switch p, err := s.SaveNext(t.Context(), Pipeline, []byte(`{}`), true, first.Key, false); {
			case err == nil:
				won <- p
			case !errors.Is(err, ErrNotFound):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	waiting, err := s.Waiting(t.Context())
	if len(won) != 1 || err != nil || len(waiting) != 1 {
		t.Fatalf("%d successors, %d runs wait, %v", len(won), len(waiting), err)
	}
	next := <-won
	if err := s.Confirm(t.Context(), next.Key, []string{first.Key}); err != nil {
		t.Errorf("the successor is refused: %v", err)
	}
	// A process that was killed between storing its pause and taking the first one's place left this behind.
	stale, err := s.SavePause(t.Context(), Pipeline, []byte(`{}`), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Confirm(t.Context(), stale.Key, []string{first.Key}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a second successor is confirmed: %v", err)
	}
	if _, err := s.LoadPause(t.Context(), stale.Key); !errors.Is(err, ErrNotFound) {
		t.Errorf("a refused successor stays: %v", err)
	}
}

func TestConfirmCompletesWhatAKillInterrupted(t *testing.T) {
	t.Parallel()
	s := Open(t.TempDir())
	var keys []string
	for range 2 {
		p, err := s.SavePause(t.Context(), Workflow, []byte(`{}`), true)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, p.Key)
	}
	if err := s.Confirm(t.Context(), keys[1], keys[:1]); err != nil {
		t.Fatal(err)
	}
	if err := s.Claim(t.Context(), keys[0]); !errors.Is(err, ErrNotFound) {
		t.Errorf("the replaced pause is still usable: %v", err)
	}
	if err := s.Confirm(t.Context(), keys[1], []string{"a pipeline's key"}); err != nil {
		t.Errorf("a document that names something else: %v", err)
	}
}

func TestTwoKeysOfOneFileAreParted(t *testing.T) {
	t.Parallel()
	store := Open(filepath.Join(t.TempDir(), "state"))
	ctx := t.Context()
	if err := store.Set(ctx, "Inbox/A", []byte("1\n")); err != nil {
		t.Fatal(err)
	}
	if err := store.Set(ctx, "inbox a", []byte("2\n")); err == nil || !strings.Contains(err.Error(), `"Inbox/A"`) {
		t.Errorf("a second key of the same file: got %v, want a refusal that names the first", err)
	}
	if _, err := store.FilePath("inbox_a"); err == nil {
		t.Error("FilePath handed out another key's file")
	}
	if doc, _, err := store.Get(ctx, "Inbox/A"); err != nil || string(doc) != "1\n" {
		t.Errorf("the first key holds %q, %v", doc, err)
	}
	if err := store.Set(ctx, "Inbox/A", []byte("3\n")); err != nil {
		t.Errorf("the owner may write again: %v", err)
	}
	if err := os.Remove(filepath.Join(store.Path(), "inbox_a.json")); err != nil {
		t.Fatal(err)
	}
	if err := store.Set(ctx, "inbox_a", []byte("4\n")); err != nil {
		t.Errorf("a file that is gone belongs to nobody: %v", err)
	}
	entries, err := os.ReadDir(store.Path())
	if err != nil || len(entries) != 1 {
		t.Errorf("the state directory holds %v, %v, want the document alone", entries, err)
	}
}

func TestAFileOfTheOriginalIsAdopted(t *testing.T) {
	t.Parallel()
	store := Open(filepath.Join(t.TempDir(), "state"))
	if err := store.Create(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(store.Path(), "a_b.json"), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := store.Set(t.Context(), "A/B", []byte("2\n")); err != nil {
		t.Errorf("nobody's file: %v", err)
	}
	if err := store.Set(t.Context(), "a_b", []byte("3\n")); err == nil {
		t.Error("it belongs to A/B now")
	}
}

func TestWrongApprovalIDsLockIDsForAWhile(t *testing.T) {
	t.Parallel()
	now := time.Now()
	store := Open(filepath.Join(t.TempDir(), "state"))
	store.Now, store.LongIDs = func() time.Time { return now }, true
	p, err := store.SavePause(t.Context(), Workflow, []byte("{}\n"), true)
	if err != nil || len(p.ApprovalID) != 16 {
		t.Fatalf("a long id: got %q, %v", p.ApprovalID, err)
	}
	for range maxGuesses {
		if _, err := store.ApprovalKey("00000000"); !strings.Contains(err.Error(), "not found or expired") {
			t.Fatalf("a wrong id: got %v", err)
		}
	}
	if _, err := store.ApprovalKey(p.ApprovalID); err == nil {
		t.Error("ids still work after too many wrong ones")
	} else if _, ok := errors.AsType[GuessError](err); !ok {
		t.Errorf("got %v, want a GuessError", err)
	}
	now = now.Add(guessWindow + time.Minute)
	if key, err := store.ApprovalKey(p.ApprovalID); err != nil || key != p.Key {
		t.Errorf("after a while: got %q, %v, want %q", key, err, p.Key)
	}
}

// A yes and a no at the same time: one of them counts, and the other is told that it does not.
func TestAPauseIsUsedUpOrGivenUp(t *testing.T) {
	t.Parallel()
	s := Open(t.TempDir())
	for range 20 {
		p, err := s.SavePause(t.Context(), Workflow, []byte("{}"), true)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var won atomic.Int32
		for _, answer := range []func(context.Context, string) error{s.Claim, s.Cancel, s.Claim, s.Cancel} {
			wg.Go(func() {
				switch err := answer(t.Context(), p.Key); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, ErrNotFound):
					t.Error(err)
				}
			})
		}
		if wg.Wait(); won.Load() != 1 {
			t.Fatalf("%d answers counted, want 1", won.Load())
		}
	}
}
