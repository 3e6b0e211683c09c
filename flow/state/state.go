// Package state keeps what the workflow shell must remember between two processes: values that pipelines store under a key, runs
// that wait for a person, the short ids by which a person names them, answers of models, and the journal of past runs.
//
// Start from [Dir] and [Open]. A [Store] has three kinds of calls: Get, Set and Update for a pipeline's own keys; SavePause, LoadPause,
// Claim, Cancel and Discard for runs that wait; ApprovalKey and Waiting for ids. [DecodeToken] and [Token.Encode] are the text that a
// caller hands back to resume. [Cache] keeps model answers beside the working directory, [Journal] appends what happened.
//
// Documents are bytes of JSON here; the packages that write them know their shape. The layout on disk is the one of the program we
// replace, so each can resume what the other paused:
//
//	<dir>/<key>.json                     a document, pretty JSON with a final newline, mode 0600
//	<dir>/<key>.json.lock/owner          a lock, "<pid>:<process start>:<nonce>"
//	<dir>/approval_<8 or 16 hex>.json    {"stateKey":...,"createdAt":...}
//	<dir>/(pipeline|workflow)_resume_<uuid>.json
//	<dir>.guard/                         what only we know: guard.go
//
// Keys and tokens are hostile: pipelines choose keys, strangers may hold tokens. A pipeline's key can never name a pause or an approval
// id, and a token can never name a pipeline's key. Writes are atomic (temporary file, fsync, rename, fsync of the directory). A Store is
// safe for concurrent use, also by several processes; it starts no goroutine. Imported by the packages of flow and by cmd/lobster.
package state

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// DefaultTTL is how long an unanswered pause, a used one's marker or a forgotten approval id is kept.
const DefaultTTL = 30 * 24 * time.Hour

// MaxDocument bounds every file that is read back, in bytes.
const MaxDocument = 256 << 20

// ErrNotFound says that a pause is missing, was already used, or expired.
var ErrNotFound = errors.New("resume state not found")

// Store is one state directory. The zero value of the optional fields is ready to use.
type Store struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Random is the source of ids; nil means crypto/rand.
	Random io.Reader
	// TTL is the age, by modification time, at which pauses, markers and approval ids are dead. Zero means DefaultTTL, below zero never.
	TTL time.Duration
	// LongIDs makes approval ids of 64 bits, which nobody guesses, instead of 32, which a person can read out.
	LongIDs bool

	dir string
}

// Open returns the store in dir. Nothing is created before something is stored or looked up.
func Open(dir string) *Store { return &Store{dir: dir} }

// Dir is where state lives for an environment: LOBSTER_STATE_DIR unless blank, else .lobster/state in the home directory.
func Dir(getenv func(string) string) (string, error) {
	if d := strings.TrimSpace(getenv("LOBSTER_STATE_DIR")); d != "" {
		return d, nil
	}
	home, err := homeDir(getenv)
	if err != nil {
		return "", fmt.Errorf("find the state directory: %w (set LOBSTER_STATE_DIR)", err)
	}
	return filepath.Join(home, ".lobster", "state"), nil
}

// TTLFrom reads LOBSTER_STATE_TTL: a Go duration such as 72h, or "never". Empty means DefaultTTL.
func TTLFrom(getenv func(string) string) (time.Duration, error) {
	switch v := strings.TrimSpace(getenv("LOBSTER_STATE_TTL")); v {
	case "":
		return DefaultTTL, nil
	case "never", "0":
		return -1, nil
	default:
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			return 0, fmt.Errorf("LOBSTER_STATE_TTL must be a duration such as 72h, or never (got %q)", v)
		}
		return d, nil
	}
}

func homeDir(getenv func(string) string) (string, error) {
	for _, name := range []string{"HOME", "USERPROFILE"} {
		if h := getenv(name); h != "" {
			return h, nil
		}
	}
	return os.UserHomeDir()
}

// Path is the directory of the store.
func (s *Store) Path() string { return s.dir }

// Get returns the document stored under a pipeline's key, and false when there is none.
func (s *Store) Get(_ context.Context, key string) ([]byte, bool, error) {
	path, err := s.userPath(key)
	if err != nil {
		return nil, false, err
	}
	if err := s.ensureDir(); err != nil && !isReadOnly(err) {
		return nil, false, err
	}
	doc, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	return doc, err == nil, err
}

// Set stores doc under a pipeline's key.
func (s *Store) Set(ctx context.Context, key string, doc []byte) error {
	return s.Update(ctx, key, func([]byte) ([]byte, error) { return doc, nil })
}

// Update replaces the document under a pipeline's key by what change makes of the present one (nil when there is none), with no
// other process in between. An error of change leaves everything as it was.
func (s *Store) Update(ctx context.Context, key string, change func(before []byte) ([]byte, error)) error {
	path, err := s.userPath(key)
	if err != nil {
		return err
	}
	return s.locked(ctx, path, func() error {
		if err := s.own(path, key); err != nil {
			return err
		}
		before, err := readFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		after, err := change(before)
		if err != nil {
			return err
		}
		return writeAtomic(path, after)
	})
}

// FilePath is the file of a pipeline's key, for callers that write it as part of a [WriteAll].
func (s *Store) FilePath(key string) (string, error) {
	path, err := s.userPath(key)
	if err != nil {
		return "", err
	}
	return path, s.own(path, key)
}

var (
	unsafeRun = regexp.MustCompile(`[^a-z0-9._-]+`)
	blankRun  = regexp.MustCompile(`_+`)
	reserved  = regexp.MustCompile(`^(?:(?:pipeline|workflow)[_-]resume_.*|approval_[0-9a-f]{8}(?:[0-9a-f]{8})?)\.json$`)
)

// fileName is the name that a key has on disk. Different keys may share one; that is the layout we keep, and [Store.own] parts them.
func fileName(key string) (string, error) {
	safe := unsafeRun.ReplaceAllString(strings.ToLower(key), "_")
	safe = strings.Trim(blankRun.ReplaceAllString(safe, "_"), "_")
	if safe == "" {
		return "", errors.New("state key is empty/invalid")
	}
	return safe + ".json", nil
}

// userPath is the file of a pipeline's key. What belongs to pauses and approvals is out of reach: a pipeline that could write there
// could approve itself.
func (s *Store) userPath(key string) (string, error) {
	name, err := fileName(key)
	if err != nil {
		return "", err
	}
	if reserved.MatchString(name) {
		return "", fmt.Errorf("state key %q is reserved for paused runs; choose another name", key)
	}
	if len(name) > 240 {
		return "", fmt.Errorf("state key is too long: %d bytes, at most 240", len(name))
	}
	return filepath.Join(s.dir, name), nil
}

// Create makes the directory, which otherwise happens when it is first needed.
func (s *Store) Create() error { return s.ensureDir() }

func (s *Store) ensureDir() error { return os.MkdirAll(s.dir, 0o700) }

func (s *Store) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

func (s *Store) random(n int) ([]byte, error) {
	b := make([]byte, n)
	src := s.Random
	if src == nil {
		src = rand.Reader
	}
	if _, err := io.ReadFull(src, b); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	return b, nil
}

// stamp is a time as the documents spell it: UTC with milliseconds.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
