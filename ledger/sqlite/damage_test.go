package sqlite_test

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"lobstah/key"
	"lobstah/ledger"
	"lobstah/ledger/ledgertest"
	"lobstah/ledger/sqlite"
	"lobstah/receipt"
)

// book makes a closed ledger with n entries, half of them imported.
func book(t *testing.T, n int) (path string, pair key.Pair) {
	t.Helper()
	path, pair = filepath.Join(t.TempDir(), "ledger.db"), key.Generate()
	l, err := sqlite.Open(t.Context(), path, pair)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for range n / 2 {
		text.Write(ledgertest.Receipt(t, pair, receipt.Anonymous, 1, 1, nil).Envelope())
		text.WriteByte('\n')
	}
	if sum, err := l.Import(t.Context(), &text, nil); err != nil || sum.Imported != n/2 {
		t.Fatal(sum, err)
	}
	appendAll(t, l, 64, sign(t, pair, n-n/2))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path, pair
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// execute changes the file behind the ledger's back.
func execute(t *testing.T, path, script string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), script); err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedFile opens what is no whole ledger: it is refused with a way out,
// and not a byte of it changes.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	path, pair := book(t, 600)
	good := read(t, path)
	other := filepath.Join(t.TempDir(), "other.db")
	execute(t, other, "CREATE TABLE notes (text); INSERT INTO notes VALUES ('mine')")
	for name, content := range map[string][]byte{
		"empty":            {},
		"text":             []byte(strings.Repeat("this is no database\n", 500)),
		"JSON Lines":       []byte(`{"receipt":{},"signature":""}` + "\n"),
		"truncated":        good[:len(good)/2/4096*4096],
		"cut in a page":    good[:len(good)-1000],
		"another database": read(t, other),
		"header":           slices.Concat(make([]byte, 100), good[100:]),
		"first page":       slices.Concat(good[:100], bytes.Repeat([]byte{0xAA}, 3996), good[4096:]),
		"all pages":        slices.Concat(good[:4096], bytes.Repeat([]byte{0x55}, len(good)-4096)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "ledger.db")
			write(t, path, content)
			l, err := sqlite.Open(t.Context(), path, pair)
			if err == nil {
				if err := l.Close(); err != nil {
					t.Log(err)
				}
			}
			if !errors.Is(err, ledger.ErrDamaged) || !strings.Contains(err.Error(), "ledger export") || !strings.Contains(err.Error(), path) {
				t.Errorf("Open: %v; want ErrDamaged, the path and what to do", err)
			}
			if beside, err := sqlite.OpenReadOnly(t.Context(), path); err == nil {
				if err := beside.Close(); err != nil {
					t.Log(err)
				}
			} else if !errors.Is(err, ledger.ErrDamaged) || !strings.Contains(err.Error(), "Nothing in it can be read") {
				t.Errorf("OpenReadOnly: %v; want ErrDamaged and what to do", err)
			}
			if !bytes.Equal(read(t, path), content) {
				t.Error("opening changed the damaged file")
			}
		})
	}
}

// TestDamagedPages destroys one page after another. Whatever it hits, the
// ledger either still tells the truth or says that it is damaged, and export
// saves the rest.
func TestDamagedPages(t *testing.T) {
	t.Parallel()
	path, pair := book(t, 150)
	good := read(t, path)
	noticed, pages, free := 0, len(good)/4096, freePages(good)
	step := 1
	if testing.Short() {
		step = 7
	}
	for page := 0; page < pages; page += step {
		path := filepath.Join(t.TempDir(), "ledger.db")
		bad := bytes.Clone(good)
		copy(bad[page*4096:], bytes.Repeat([]byte{0xA5}, 4096))
		write(t, path, bad)
		if damageNoticed(t, path, pair) {
			noticed++
		} else if !free[page+1] && !bytes.Equal(good[page*4096:(page+1)*4096], make([]byte, 4096)) {
			t.Errorf("nobody noticed that page %d is destroyed", page+1)
		}
	}
	t.Logf("%d of %d pages", noticed, pages/step)
}

// freePages are those of a database that hold nothing: the leaves of its free
// list (section 1.5 of SQLite's file format). How many there are depends on how
// the appends fell into groups.
func freePages(file []byte) map[int]bool {
	free := map[int]bool{}
	number := func(at int) int { return int(binary.BigEndian.Uint32(file[at:])) }
	for trunk := number(32); trunk > 0; {
		at := (trunk - 1) * 4096
		for i := range number(at + 4) {
			free[number(at+8+4*i)] = true
		}
		trunk = number(at)
	}
	return free
}

// damageNoticed opens, appends and verifies, and exports what is left.
func damageNoticed(t *testing.T, path string, pair key.Pair) bool {
	t.Helper()
	var opened, appended error
	l, opened := sqlite.Open(t.Context(), path, pair)
	sound := opened == nil
	if opened == nil {
		for range 3 {
			appended = l.Append(t.Context(), ledger.Worker, ledgertest.Receipt(t, pair, receipt.Anonymous, 1, 1, nil))
		}
		if report, err := l.Verify(t.Context()); appended != nil || err != nil || !report.OK() {
			sound = false
		}
		if err := l.Close(); err != nil && sound {
			t.Errorf("Close: %v", err)
		}
	}
	for _, err := range []error{opened, appended} {
		if err != nil && !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("want ErrDamaged, got %v", err)
		}
	}
	l, err := sqlite.OpenReadOnly(t.Context(), path)
	if err != nil {
		return !sound
	}
	defer func() {
		if err := l.Close(); err != nil && sound {
			t.Errorf("Close: %v", err)
		}
	}()
	var text bytes.Buffer
	out, err := l.Export(t.Context(), &text)
	if err != nil {
		return !sound
	}
	if lines := int64(bytes.Count(text.Bytes(), []byte("\n"))); lines != out.Written {
		t.Errorf("%d lines, said %d", lines, out.Written)
	}
	return !sound
}

// TestSalvage saves what a truncated ledger still has and imports it.
func TestSalvage(t *testing.T) {
	t.Parallel()
	path, pair := book(t, 700)
	good := read(t, path)
	write(t, path, good[:len(good)*2/3])
	l, err := sqlite.OpenReadOnly(t.Context(), path)
	if err != nil {
		t.Fatalf("OpenReadOnly: %v", err)
	}
	var text bytes.Buffer
	out, err := l.Export(t.Context(), &text)
	if err != nil || out.Written < 300 || out.Unreadable == 0 || out.Written+out.Unreadable != 700 {
		t.Errorf("Export = %+v, %v; want much of 700 entries", out, err)
	}
	if report, err := l.Verify(t.Context()); err != nil || report.OK() {
		t.Errorf("Verify: ok %t, %v", report.OK(), err)
	}
	if err := l.Close(); err != nil {
		t.Log(err)
	}
	fresh, err := sqlite.Open(t.Context(), path+".2", pair)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := fresh.Import(t.Context(), &text, nil)
	if err != nil || int64(sum.Imported) != out.Written {
		t.Errorf("Import = %+v, %v; want %d", sum, err, out.Written)
	}
	if err := fresh.Close(); err != nil {
		t.Error(err)
	}
}

// TestTampered changes a healthy database by SQL; Verify names what is wrong.
func TestTampered(t *testing.T) {
	t.Parallel()
	path, pair := book(t, 1500)
	good := read(t, path)
	for script, want := range map[string]string{
		"UPDATE envelope SET body = cast(replace(body, '\"inputTokens\":7', '\"inputTokens\":9') AS BLOB) WHERE seq = 1234": "entry 1234 (nonce",
		"UPDATE envelope SET body = cast(substr(body, 1, 300) || x'01' || substr(body, 302) AS BLOB) WHERE seq = 77":        "entry 77 (nonce",
		"DELETE FROM envelope WHERE seq = 5":                                                                         "entry 5 (nonce",
		"UPDATE envelope SET body = (SELECT body FROM envelope WHERE seq = 8) WHERE seq = 9":                         "entry 9 (nonce",
		"UPDATE entry SET nonce = x'00112233445566778899aabbccddeeff' WHERE seq = 3":                                 "entry 3 (nonce 0011",
		"UPDATE entry SET model = 'x' WHERE seq = 4":                                                                 "entry 4 (nonce",
		"UPDATE entry SET worker = requester WHERE seq = 6":                                                          "stored worker",
		"UPDATE entry SET completed = completed + 1 WHERE seq = 6":                                                   "stored time of completion",
		"UPDATE entry SET imported = 0 WHERE seq = 1":                                                                "account",
		"UPDATE entry SET side = 2 WHERE seq = 1000":                                                                 "not ours",
		"UPDATE entry SET counted = 0 WHERE seq = 1400":                                                              "entry 1400 (nonce",
		"UPDATE account SET earned = earned + 1 WHERE earned > 0":                                                    "account " + pair.ID().String(),
		"UPDATE account SET bound = 1":                                                                               "account",
		"DELETE FROM account WHERE name = 'anonymous'":                                                               "account anonymous is missing",
		"INSERT INTO account (name, spent) VALUES ('ghost', 5)":                                                      "account ghost",
		"UPDATE tile SET hashes = zeroblob(length(hashes)) WHERE level = 0 AND n = 1":                                "tile 1 of level 0",
		"DELETE FROM tile WHERE level = 1":                                                                           "tile 0 of level 1",
		"UPDATE book SET root = zeroblob(32)":                                                                        "the entries give the root",
		"UPDATE book SET size = 1499":                                                                                "the tree has 1499 entries",
		"DELETE FROM entry WHERE seq > 1400; DELETE FROM envelope WHERE seq > 1400; UPDATE book SET size = 1400":     "was signed over 1500 entries",
		"UPDATE checkpoint SET note = replace(note, char(10) || '1500' || char(10), char(10) || '1499' || char(10))": "bad checkpoint",
		"DELETE FROM entry WHERE seq = 700; DELETE FROM envelope WHERE seq = 700":                                    "it stands where entry 700 should",
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "ledger.db")
			write(t, path, good)
			execute(t, path, script)
			l, err := sqlite.OpenReadOnly(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			report, err := l.Verify(t.Context())
			if err != nil || report.OK() {
				t.Fatalf("Verify: ok %t, %v", report.OK(), err)
			}
			if !slices.ContainsFunc(report.Faults, func(f ledger.Fault) bool { return strings.Contains(f.String(), want) }) {
				t.Errorf("%s\nfaults %v\nwant one with %q", script, report.Faults, want)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAltered lists around an entry that is no longer genuine, and goes on
// appending: one bad entry must not stop a machine.
func TestAltered(t *testing.T) {
	t.Parallel()
	path, pair := book(t, 10)
	execute(t, path, `UPDATE envelope SET body = cast(replace(body, '"outputTokens":2', '"outputTokens":3') AS BLOB) WHERE seq = 8`)
	l, err := sqlite.Open(t.Context(), path, pair)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), ledger.Worker, ledgertest.Receipt(t, pair, receipt.Anonymous, 1, 1, nil)); err != nil {
		t.Errorf("Append: %v", err)
	}
	list, err := l.List(t.Context(), ledger.Filter{AfterSeq: 6, Ascending: true})
	var got []int64
	for _, e := range list {
		got = append(got, e.Seq)
	}
	if want := []int64{7, 9, 10, 11}; err != nil || !slices.Equal(got, want) {
		t.Errorf("List: entries %v, %v; want %v", got, err, want)
	}
	report, err := l.Verify(t.Context())
	if err != nil || report.OK() || report.Faults[0].Seq != 8 {
		t.Errorf("Verify: %v, %v; want entry 8", report.Faults, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestRefusedFiles(t *testing.T) {
	t.Parallel()
	path, pair := book(t, 10)
	t.Run("another identity", func(t *testing.T) {
		_, err := sqlite.Open(t.Context(), path, key.Generate())
		if !errors.Is(err, ledger.ErrNotOurs) || !strings.Contains(fmt.Sprint(err), pair.ID().String()) {
			t.Errorf("Open: %v, want ErrNotOurs and the owner", err)
		}
	})
	t.Run("a write-ahead log without its file", func(t *testing.T) {
		lost := filepath.Join(t.TempDir(), "ledger.db")
		write(t, lost+"-wal", []byte("something"))
		if _, err := sqlite.Open(t.Context(), lost, pair); !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("Open: %v, want ErrDamaged", err)
		}
	})
	t.Run("no file to read", func(t *testing.T) {
		if _, err := sqlite.OpenReadOnly(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("OpenReadOnly: %v, want ErrNotExist", err)
		}
	})
	t.Run("from the future", func(t *testing.T) {
		newer := filepath.Join(t.TempDir(), "ledger.db")
		write(t, newer, read(t, path))
		execute(t, newer, "PRAGMA user_version = 99")
		_, err := sqlite.Open(t.Context(), newer, pair)
		_, again := sqlite.OpenReadOnly(t.Context(), newer)
		for _, err := range []error{err, again} {
			if !errors.Is(err, ledger.ErrNewer) || !strings.Contains(err.Error(), "its version is 99") {
				t.Errorf("%v, want ErrNewer and the version", err)
			}
		}
	})
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	path, pair := book(t, 10)
	live, err := sqlite.Open(t.Context(), path, pair)
	if err != nil {
		t.Fatal(err)
	}
	beside, err := sqlite.OpenReadOnly(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if beside.Owner() != pair.ID() {
		t.Errorf("the owner is %s", beside.Owner())
	}
	s := ledgertest.Receipt(t, pair, receipt.Anonymous, 1, 1, nil)
	if err := beside.Append(t.Context(), ledger.Worker, s); !errors.Is(err, ledger.ErrReadOnly) {
		t.Errorf("Append: %v, want ErrReadOnly", err)
	}
	if err := live.Append(t.Context(), ledger.Worker, s); err != nil {
		t.Fatal(err)
	}
	got, err := beside.Recent(t.Context(), 1)
	if err != nil || len(got) != 1 || got[0].Signed.Nonce != s.Nonce {
		t.Errorf("what was appended beside is not seen: %v, %v", got, err)
	}
	if _, err := beside.Inclusion(t.Context(), 11); !errors.Is(err, ledger.ErrNotSigned) {
		t.Errorf("Inclusion: %v, want ErrNotSigned", err)
	}
	if p, err := beside.Inclusion(t.Context(), 10); err != nil {
		t.Errorf("Inclusion: %v", err)
	} else if _, err := p.Verify(pair.ID()); err != nil {
		t.Errorf("Verify: %v", err)
	}
	if err := errors.Join(live.Close(), beside.Close()); err != nil {
		t.Error(err)
	}
}

func TestFileMode(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such mode")
	}
	path, pair := book(t, 10)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := sqlite.Open(t.Context(), path, pair)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Append(t.Context(), ledger.Worker, ledgertest.Receipt(t, pair, receipt.Anonymous, 1, 1, nil)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", name, info, err)
		}
	}
}

// TestOddPaths opens files whose names mean something in a URI.
func TestOddPaths(t *testing.T) {
	t.Parallel()
	pair := key.Generate()
	for _, name := range []string{"a b.db", "100%.db", "who?.db", "#1.db", "ä+&=.db", "sub/dir/ledger.db"} {
		if runtime.GOOS == "windows" && strings.Contains(name, "?") {
			continue
		}
		path := filepath.Join(t.TempDir(), name)
		l, err := sqlite.Open(t.Context(), path, pair)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
