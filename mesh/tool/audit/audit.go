// Package audit keeps what was done on this machine in the name of other nodes:
// one JSON line when a call begins, one when it ends, one for each refusal.
//
// [Open] a [Log] and [Log.Append] an [Entry] to it; [Read] yields the entries of a
// log and its rotated files, the oldest first. [Preview] and [Digest] say what the
// arguments of a call were without keeping secrets that look like such.
//
// mesh/tool and commands import it. The file is only ever appended to, has mode
// 0600, and is renamed when it has grown; the oldest is removed. A Log is safe
// for concurrent use and starts no goroutine. Arguments are hostile: they are
// shortened, and JSON keeps them on one line.
package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"time"

	"lobstah/key"
)

// The phases of a call.
const (
	Began   = "began"
	Ended   = "ended"
	Refused = "refused" // never began
	// Repeated: asked for again under its idempotency key, and not run again.
	Repeated = "repeated"
)

// An Entry is one line. Began entries have no outcome.
type Entry struct {
	Time       time.Time `json:"time"`
	Phase      string    `json:"phase"`
	Call       string    `json:"call"` // joins began and ended
	Caller     key.ID    `json:"caller"`
	CallerName string    `json:"callerName,omitempty"`
	Verified   bool      `json:"verified"`
	Executor   key.ID    `json:"executor"`
	Tool       string    `json:"tool"`
	ArgsSHA256 string    `json:"argsSha256,omitempty"` // of the arguments' bytes
	Args       string    `json:"args,omitempty"`       // a preview, see [Preview]
	Key        string    `json:"idempotencyKey,omitempty"`
	Outcome    string    `json:"outcome,omitempty"` // ok, failed, or the code of an error
	Reason     string    `json:"reason,omitempty"`
	ExitCode   *int      `json:"exitCode,omitempty"`
	DurationMS int64     `json:"durationMs,omitempty"`
	Unlogged   int       `json:"unlogged,omitempty"` // refusals of the caller before this entry that were too many to keep
}

// Limits of a log.
const (
	MaxBytes  = 16 << 20 // of a file, then it is rotated
	Keep      = 8        // rotated files
	maxLine   = 64 << 10
	maxReason = 500
)

// A Log is an open audit log.
type Log struct {
	path string
	max  int64

	mu   sync.Mutex
	file *os.File // guarded by mu
	size int64    // guarded by mu
}

// Open opens the log at path, or makes it with mode 0600.
func Open(path string) (*Log, error) { return open(path, MaxBytes) }

func open(path string, limit int64) (*Log, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the audit log: %w", err)
	}
	l := &Log{path: path, max: limit}
	return l, l.reopen()
}

func (l *Log) reopen() error {
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	err = file.Chmod(0o600)
	info, statErr := file.Stat()
	if err := errors.Join(err, statErr); err != nil {
		return errors.Join(fmt.Errorf("open the audit log: %w", err), file.Close())
	}
	l.file, l.size = file, info.Size()
	return nil
}

// Append writes an entry before it returns; what has begun is on record even if
// this process dies in the middle of it.
func (l *Log) Append(e Entry) error {
	e.Reason = clip(e.Reason, maxReason)
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	line = append(line, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return fmt.Errorf("write the audit log: %w", fs.ErrClosed)
	}
	if l.size > 0 && l.size+int64(len(line)) > l.max {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}

// rotate renames the files, the newest becoming number 1, and begins a new one.
func (l *Log) rotate() error {
	err := l.file.Close()
	l.file = nil
	for n := Keep; n > 0 && err == nil; n-- {
		err = os.Rename(rotated(l.path, n-1), rotated(l.path, n))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return errors.Join(err, l.reopen()) // into the old file when it could not be renamed
}

// rotated names a file of the log; number 0 is the current one.
func rotated(path string, n int) string {
	if n == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, n)
}

// Close closes the file. Entries after it are errors.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// Read yields the entries of the log at path, the oldest first. A line that
// cannot be read, such as the last one after a crash, is an error that names it,
// and the next lines follow. A log that does not exist is empty.
func Read(path string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for n := Keep; n >= 0; n-- {
			if !readFile(rotated(path, n), yield) {
				return
			}
		}
	}
}

func readFile(path string, yield func(Entry, error) bool) bool {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return yield(Entry{}, fmt.Errorf("read the audit log: %w", err))
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		var e Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			err = fmt.Errorf("line %d of %s: %w", n, path, err)
			if !yield(Entry{}, err) {
				return false
			}
			continue
		}
		if !yield(e, nil) {
			return false
		}
	}
	if err := lines.Err(); err != nil {
		return yield(Entry{}, fmt.Errorf("after line %d of %s: %w", n, path, err))
	}
	return true
}
