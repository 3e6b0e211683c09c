// Package livefile holds the parsed content of a small file that people and
// commands change while a program runs.
//
// [Open] reads it once and refuses a damaged one; after that [File.Get] always
// has the last good content, looks at the file again at most once a second, and
// says in the log, once, when what it finds is damaged. [Read] is for programs
// that look once. A missing file has the content of no bytes.
//
// Anything may import it; it imports the standard library. Files are written
// by people, so they are capped and parsed by whoever knows their form; the
// faults that are found carry a line ([DamagedError]). Safe for concurrent use,
// no goroutines.
package livefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// MaxBytes caps a file.
	MaxBytes = 4 << 20
	// Interval is how old the content may be.
	Interval = time.Second
)

// A DamagedError says that a file cannot be read as what it should be. It is
// left as it is.
type DamagedError struct {
	Path string
	Line int // 1-based; 0 when the fault has no line
	Err  error
}

func (e *DamagedError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s, line %d: %v", e.Path, e.Line, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Path, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// At is an error of a parse function that knows where the fault begins.
func At(data []byte, offset int64, err error) error {
	return &DamagedError{Line: 1 + bytes.Count(data[:min(int(offset), len(data))], []byte("\n")), Err: err}
}

// JSON is At for an error of encoding/json.
func JSON(data []byte, err error) error {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return At(data, e.Offset, err)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		err := fmt.Errorf("a %s cannot stand here", e.Value)
		if e.Field != "" {
			err = fmt.Errorf("%s: %w", e.Field, err)
		}
		return At(data, e.Offset, err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return At(data, int64(len(data)), errors.New("the file ends too early"))
	}
	return err
}

// Read parses the file as it is now. The error is a [*DamagedError] when parse
// refuses it.
func Read[T any](path string, parse func([]byte) (T, error)) (T, error) {
	var none T
	data, err := load(path)
	if err != nil {
		return none, err
	}
	value, err := parse(data)
	if err != nil {
		return none, damaged(path, err)
	}
	return value, nil
}

func damaged(path string, err error) error {
	if e, ok := errors.AsType[*DamagedError](err); ok {
		return &DamagedError{path, e.Line, e.Err}
	}
	return &DamagedError{Path: path, Err: err}
}

func load(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err == nil && len(data) > MaxBytes {
		err = &DamagedError{Path: path, Err: fmt.Errorf("larger than %d bytes", MaxBytes)}
	}
	return data, err
}

// A File is the live content of one file.
type File[T any] struct {
	path  string
	parse func([]byte) (T, error)
	log   *slog.Logger

	value atomic.Pointer[T]
	next  atomic.Int64 // when to look again, Unix nanoseconds

	mu    sync.Mutex // guards what follows
	seen  fs.FileInfo
	fault string // what was last logged
}

// Open reads the file, which has to be sound now.
func Open[T any](path string, log *slog.Logger, parse func([]byte) (T, error)) (*File[T], error) {
	f := &File[T]{path: path, parse: parse, log: log}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f, f.read()
}

// Get returns the last good content, which the caller must not change. It waits
// for nobody: while one caller looks at the file the others get what is known.
func (f *File[T]) Get() T {
	if time.Now().UnixNano() >= f.next.Load() && f.mu.TryLock() {
		f.refresh()
		f.mu.Unlock()
	}
	return *f.value.Load()
}

// Reload reads the file now and tells what is wrong with it, if anything is.
func (f *File[T]) Reload() (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.read()
	f.complain(err)
	return *f.value.Load(), err
}

// refresh reads the file when it changed. f.mu is held.
func (f *File[T]) refresh() {
	f.next.Store(time.Now().Add(Interval).UnixNano())
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = nil, nil
	}
	if err == nil && f.fault == "" && same(info, f.seen) {
		return
	}
	if err == nil {
		err = f.read()
	}
	f.complain(err)
}

// complain logs a fault once, and its end. f.mu is held.
func (f *File[T]) complain(err error) {
	fault := ""
	if err != nil {
		fault = err.Error()
	}
	switch {
	case fault == f.fault:
	case fault == "":
		f.log.Info("the file is sound again", "file", f.path)
	default:
		f.log.Error("the file is damaged; what was read before stays in force", "file", f.path, "error", fault)
	}
	f.fault = fault
}

// read takes the file in as it is now. f.mu is held. What is seen is looked at
// first, so that a change in between is found the next time.
func (f *File[T]) read() error {
	info, err := os.Stat(f.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	value, err := Read(f.path, f.parse)
	f.next.Store(time.Now().Add(Interval).UnixNano())
	if err != nil {
		return err
	}
	f.value.Store(&value)
	f.seen = info
	return nil
}

// same reports whether a file is unchanged, as far as its entry tells: files
// that are replaced as a whole change their identity too.
func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
