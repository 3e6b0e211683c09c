package tracker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"lobstah/grid/announce"
	"lobstah/internal/durable"
	"lobstah/key"
)

// A File is a [Memory] with a snapshot, so that a restart empties nothing.
//
// The snapshot is text: a line {"lobstahTracker":1} for its version, then one
// line {"pubkey","at","envelope"} for each record. It is replaced as a whole,
// never written in place. Envelopes are signed, so a line that was changed is
// found out when it is listed.
type File struct {
	*Memory
	path  string
	saved uint64 // Memory.changes when it was saved last
}

const (
	snapshotVersion = 1
	maxLine         = announce.MaxBytes + 1<<10
)

// A DamagedError says that a snapshot cannot be read. The file is left as it
// is.
type DamagedError struct {
	Path string
	Line int // 1-based
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("snapshot %s, line %d: %v", e.Path, e.Line, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

type snapshotHead struct {
	Version int `json:"lobstahTracker"`
}

type snapshotLine struct {
	ID       key.ID          `json:"pubkey"`
	At       int64           `json:"at"`
	Envelope json.RawMessage `json:"envelope,omitempty"`
}

// OpenFile reads the snapshot at path, if there is one. now may be nil for
// [time.Now]. Call [File.Save] to write it.
func OpenFile(path string, now func() time.Time) (*File, error) {
	f := &File{Memory: NewMemory(now), path: path}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the snapshot: %w", err)
	}
	defer file.Close()
	if line, err := f.load(file); err != nil {
		return nil, &DamagedError{path, line, err}
	}
	f.saved = f.changes
	return f, nil
}

// load puts the lines of a snapshot into the memory; it returns the line that
// failed.
func (f *File) load(r io.Reader) (int, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		if err := f.loadLine(n, lines.Bytes()); err != nil {
			return n, err
		}
	}
	if n == 0 && lines.Err() == nil {
		return 1, errors.New("it is empty")
	}
	return n + 1, lines.Err()
}

func (f *File) loadLine(n int, text []byte) error {
	if n == 1 {
		var head snapshotHead
		if err := json.Unmarshal(text, &head); err != nil {
			return err
		}
		if head.Version != snapshotVersion {
			return fmt.Errorf("version %d is unknown to this program, which reads %d", head.Version, snapshotVersion)
		}
		return nil
	}
	var line snapshotLine
	if err := json.Unmarshal(text, &line); err != nil {
		return err
	}
	if line.ID.IsZero() {
		return errors.New("it names no key")
	}
	r := Record{line.ID, line.At, string(line.Envelope)}
	if f.now().After(r.Until()) {
		return nil // it stands against nothing any longer
	}
	_, err := f.Put(context.Background(), r)
	return err
}

// Save writes the snapshot, if something changed since the last time. One call
// at a time.
func (f *File) Save() error {
	f.mu.Lock()
	changes, list := f.changes, f.list()
	f.mu.Unlock()
	if changes == f.saved {
		return nil
	}
	err := durable.Write(f.path, 0o600, func(w io.Writer) error { return writeSnapshot(w, list) })
	if err != nil {
		return fmt.Errorf("save the snapshot: %w", err)
	}
	f.saved = changes
	return nil
}

func writeSnapshot(w io.Writer, list []Record) error {
	out := bufio.NewWriterSize(w, 64<<10)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	if err := lines.Encode(snapshotHead{snapshotVersion}); err != nil {
		return err
	}
	for _, r := range list {
		if err := lines.Encode(snapshotLine{r.ID, r.At, json.RawMessage(r.Envelope)}); err != nil {
			return err
		}
	}
	return out.Flush()
}
