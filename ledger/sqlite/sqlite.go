// Package sqlite keeps a ledger in one SQLite file, readable by its owner only.
//
// Start from [Open], or [OpenReadOnly] beside a program that has it open.
// A [Ledger] has one goroutine, the writer, that gathers what waits to be
// appended into one transaction and one sync (group commit); it ends in Close,
// which waits for it. Reads go past it over connections of their own (WAL), so
// neither waits for the other.
//
// Only cmd imports it; everybody else sees the methods through an interface.
// An acknowledged append survives kill -9 and loss of power (synchronous=FULL).
// A damaged file is never written to: see [ledger.ErrDamaged]. Several
// processes may write to one file, in turn.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lobstah/key"
	"lobstah/ledger"

	_ "modernc.org/sqlite" // the driver, SQLite in Go
)

// A Ledger is a [ledger.Ledger] in a file.
type Ledger struct {
	path  string
	owner key.ID
	read  *sql.DB
	named *sql.Stmt // accountNamed, which every request asks for; nil when reading only
	write *writer   // nil when it was opened for reading only

	damage  atomic.Pointer[error] // set once, when the file proves damaged
	closing sync.Once
	closed  error
}

var _ ledger.Ledger = (*Ledger)(nil)

const (
	busyTimeout = 10 * time.Second
	readers     = 4    // connections for reading
	pageBytes   = 4096 // SQLite's default, which is never changed
)

// Open opens the ledger of pair at path for reading and writing, and makes it
// when there is none. The caller closes it.
func Open(ctx context.Context, path string, pair key.Pair) (*Ledger, error) {
	l := &Ledger{path: path, owner: pair.ID()}
	if err := l.prepare(ctx); err != nil {
		return nil, l.explain("open", err)
	}
	l.read = openDB(path, readers, "mode=rw", "query_only(1)", "cache_size(-1024)")
	// The writer's first step would change another program's file.
	_, err := schemaVersion(ctx, l.read)
	if err == nil {
		l.write, err = startWriter(ctx, l, pair)
	}
	if err != nil {
		return nil, errors.Join(l.explain("open", err), l.read.Close())
	}
	if l.named, err = l.read.PrepareContext(ctx, accountNamed); err != nil {
		return nil, errors.Join(l.explain("open", err), l.Close())
	}
	return l, nil
}

// prepare makes the file if need be and keeps others from reading it.
func (l *Ledger) prepare(ctx context.Context) error {
	info, err := os.Stat(l.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return create(ctx, l.path, l.owner)
	case err != nil:
		return err
	case info.Size() == 0:
		return fmt.Errorf("%w: the file is empty, which no ledger ever is", ledger.ErrDamaged)
	case info.Size()%pageBytes != 0 && !exists(l.path+"-wal"):
		return fmt.Errorf("%w: its size is not a whole number of pages, so it was cut off or is something else", ledger.ErrDamaged)
	case info.Mode().Perm()&0o077 != 0:
		return os.Chmod(l.path, 0o600)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// OpenReadOnly opens an existing ledger for reading, also while a program has
// it open for writing. Of a damaged one it gives what can be read: Export
// skips the rest and Verify names it. The error wraps [fs.ErrNotExist] when
// there is no file.
func OpenReadOnly(ctx context.Context, path string) (*Ledger, error) {
	l := &Ledger{path: path}
	if _, err := os.Stat(path); err != nil {
		return nil, l.explain("open", err)
	}
	l.read = openDB(path, readers, "mode=ro")
	err := l.identify(ctx)
	if isDamage(err) {
		return l.reopenDamaged(ctx, err)
	}
	if err != nil {
		return nil, errors.Join(l.explain("open", err), l.read.Close())
	}
	return l, nil
}

// reopenDamaged opens what SQLite refuses at first, such as a truncated file;
// it then takes the schema as it is. Nothing is written, since the mode
// forbids it.
func (l *Ledger) reopenDamaged(ctx context.Context, damage error) (*Ledger, error) {
	if err := l.read.Close(); err != nil {
		return nil, l.explain("open", errors.Join(damage, err))
	}
	l.read = openDB(l.path, readers, "mode=ro", "writable_schema(1)")
	if err := l.identify(ctx); err != nil {
		return nil, errors.Join(l.wreck("open", err, "Nothing in it can be read: move"), l.read.Close())
	}
	l.damage.Store(new(l.explain("read", damage)))
	return l, nil
}

func (l *Ledger) identify(ctx context.Context) (err error) {
	version, err := schemaVersion(ctx, l.read)
	if err != nil {
		return err
	}
	if version < len(migrations) {
		return fmt.Errorf("its version is %d and must become %d: start the program that writes to it once", version, len(migrations))
	}
	l.owner, err = readOwner(ctx, l.read)
	return err
}

// openDB prepares connections; none is made yet. The first option is a URI
// parameter, the others are pragmas.
func openDB(path string, connections int, mode string, pragmas ...string) *sql.DB {
	query := url.Values{"_pragma": append([]string{fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())}, pragmas...)}
	db, err := sql.Open("sqlite", fileURI(path)+"?"+mode+"&"+query.Encode())
	if err != nil {
		panic(err) // only for an unknown driver
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db
}

// fileURI names a file whatever characters its path has.
func fileURI(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") { // C:/…
		path = "/" + path
	}
	return "file://" + (&url.URL{Path: path}).EscapedPath()
}

// Owner is the identity whose book it is.
func (l *Ledger) Owner() key.ID { return l.owner }

// Close signs a last checkpoint, waits for the writer and closes the file.
func (l *Ledger) Close() error {
	l.closing.Do(func() {
		var err error
		if l.write != nil {
			err = l.write.close()
		}
		if l.named != nil {
			err = errors.Join(err, l.named.Close())
		}
		l.closed = l.explain("close", errors.Join(err, l.read.Close()))
	})
	return l.closed
}
