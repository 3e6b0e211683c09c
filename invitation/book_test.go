package invitation

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lobstah/internal/livefile"
	"lobstah/key"
)

var made = time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)

func newBook(t *testing.T, terms Terms) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "invites.json")
	if terms.Uses == 0 {
		terms.Uses = 1
	}
	terms.Expires = made.Add(time.Hour)
	if _, err := Add(path, secret, terms, made); err != nil {
		t.Fatal(err)
	}
	return path
}

func code(err error) string {
	if e, ok := errors.AsType[*Refusal](err); ok {
		return e.Code
	}
	return ""
}

func TestRedeem(t *testing.T) {
	t.Parallel()
	path := newBook(t, Terms{Label: "Ben", Uses: 2})
	other, third := key.FromSeed([32]byte{1}).ID(), key.FromSeed([32]byte{2}).ID()
	for _, tt := range []struct {
		name   string
		secret Secret
		id     key.ID
		at     time.Duration
		want   string
		again  bool
	}{
		{"another secret", Secret{1}, joiner.ID(), 0, codeUnknown, false},
		{"first", secret, joiner.ID(), 0, "", false},
		{"again", secret, joiner.ID(), time.Minute, "", true},
		{"second", secret, other, time.Minute, "", false},
		{"one too many", secret, third, time.Minute, codeUsed, false},
		{"again when full", secret, other, time.Minute, "", true},
		{"expired", secret, third, time.Hour, codeExpired, false},
		{"again when expired", secret, joiner.ID(), time.Hour, codeExpired, true},
		{"still another secret", Secret{1}, third, time.Hour, codeUnknown, false},
	} {
		_, again, err := Redeem(path, tt.secret, Guest{ID: tt.id}, made.Add(tt.at))
		if code(err) != tt.want || (err != nil) != (tt.want != "") || again != tt.again {
			t.Errorf("%s: %v, again %v; want %q, %v", tt.name, err, again, tt.want, tt.again)
		}
	}
	list, err := Read(path)
	if err != nil || len(list) != 1 || len(list[0].Joined) != 2 || list[0].Label != "Ben" || list[0].State(made) != "used" {
		t.Errorf("Read: %+v, %v; want one record by which two came", list, err)
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	path := newBook(t, Terms{Uses: 3})
	if _, _, err := Redeem(path, secret, Guest{ID: joiner.ID()}, made); err != nil {
		t.Fatal(err)
	}
	if _, found, err := Revoke(path, "123456", made); found || err != nil {
		t.Errorf("found what is not there: %v", err)
	}
	ids, err := RevokeKey(path, joiner.ID(), made)
	if err != nil || len(ids) != 1 || ids[0] != secret.ID() {
		t.Fatalf("RevokeKey: %v, %v", ids, err)
	}
	for _, id := range []key.ID{joiner.ID(), inviter.ID()} {
		if _, _, err := Redeem(path, secret, Guest{ID: id}, made); code(err) != codeRevoked {
			t.Errorf("revoked, and then: %v", err)
		}
	}
	if ids, err := RevokeKey(path, joiner.ID(), made); err != nil || len(ids) != 0 {
		t.Errorf("revoked twice: %v, %v", ids, err)
	}
	if r, found, err := Revoke(path, secret.ID(), made); !found || err != nil || r.State(made) != "revoked" {
		t.Errorf("Revoke: %+v, %v, %v", r, found, err)
	}
}

// The file holds neither the secret nor anything that opens the door, is the
// owner's alone, and forgets what ended long ago.
func TestFile(t *testing.T) {
	t.Parallel()
	path := newBook(t, Terms{})
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), hex.EncodeToString(secret[:])) {
		t.Errorf("the secret is in the file: %s", data)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	later := made.Add(forgetAfter + 2*time.Hour)
	if _, err := Add(path, Secret{9}, Terms{Uses: 1, Expires: later.Add(time.Hour)}, later); err != nil {
		t.Fatal(err)
	}
	if list, err := List(path, later); err != nil || len(list) != 1 || list[0].ID != (Secret{9}).ID() || list[0].State != "open" {
		t.Errorf("%+v, %v; want the new one alone, open", list, err)
	}
	if list, err := List(filepath.Join(t.TempDir(), "none"), later); err != nil || list == nil || len(list) != 0 {
		t.Errorf("without a file: %#v, %v; want an empty list", list, err)
	}
	for _, uses := range []int{0, MaxUses + 1} {
		if _, err := Add(path, NewSecret(), Terms{Uses: uses, Expires: later}, later); err == nil {
			t.Errorf("%d uses were accepted", uses)
		}
	}
}

// What is promised is checked where a person names it, and whole seconds are kept.
func TestTermsLasting(t *testing.T) {
	t.Parallel()
	now := made.Add(700 * time.Millisecond)
	for _, tt := range []struct {
		terms Terms
		ttl   time.Duration
		want  string
	}{
		{Terms{Uses: 1}, time.Minute, ""},
		{Terms{Uses: MaxUses, Guest: true, Models: []string{"m"}}, MaxTTL, ""},
		{Terms{Uses: 1}, 59 * time.Second, "lasts 1m to 720h, not 59s"},
		{Terms{Uses: 1}, MaxTTL + 1, "lasts 1m to 720h"},
		{Terms{}, time.Hour, "1 to 100 machines, not 0"},
		{Terms{Uses: MaxUses + 1}, time.Hour, "not 101"},
		{Terms{Uses: 1, Models: []string{"m"}}, time.Hour, "a guest only"},
	} {
		got, err := tt.terms.Lasting(tt.ttl, now)
		switch {
		case tt.want == "" && (err != nil || !got.Expires.Equal(made.Add(tt.ttl))):
			t.Errorf("%+v for %s: %+v, %v; want the end %s", tt.terms, tt.ttl, got, err, made.Add(tt.ttl))
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%+v for %s: %v; want %q", tt.terms, tt.ttl, err, tt.want)
		}
	}
}

func TestDamagedBook(t *testing.T) {
	t.Parallel()
	path := newBook(t, Terms{})
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"another version": strings.Replace(string(good), `"version": 1`, `"version": 2`, 1),
		"another hash":    strings.Replace(string(good), `"hash": "`+string(good)[strings.Index(string(good), `"hash": "`)+9:][:1], `"hash": "x`, 1),
		"another id":      strings.Replace(string(good), secret.ID(), "000000000000", 1),
		"unknown member":  strings.Replace(string(good), `"uses"`, `"usse"`, 1),
		"cut off":         string(good[:len(good)/2]),
		"text after it":   string(good) + "x",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := Redeem(path, secret, Guest{ID: joiner.ID()}, made)
		if damaged, ok := errors.AsType[*livefile.DamagedError](err); !ok || damaged.Path != path {
			t.Errorf("%s: %v; want a DamagedError", name, err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != text {
			t.Errorf("%s: a damaged file was overwritten, %v", name, err)
		}
	}
}

func FuzzBook(f *testing.F) {
	f.Add([]byte(`{"version":1,"invitations":[]}`))
	f.Add([]byte(`{"version":1,"invitations":[{"id":"000000000000","uses":1,"expires":"2026-11-22T07:00:00Z","hash":"` + strings.Repeat("0", 64) + `","made":"2026-11-22T07:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseBook(data)
		if err != nil {
			return
		}
		for _, r := range list {
			if err := r.check(); err != nil {
				t.Errorf("%q: accepted %+v: %v", data, r, err)
			}
		}
	})
}
