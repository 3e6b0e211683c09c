package state

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	journalName  = "runs.jsonl"
	journalLimit = 16 << 20 // bytes; then the file becomes runs.1.jsonl, replacing the one before
	maxEvent     = 64 << 10
)

// Event is one line of the journal. Times are RFC 3339 in UTC. What a step read or wrote is never recorded, nor are the values of arguments, but for
// what an error quotes of them.
type Event struct {
	Version    int       `json:"v"`
	Time       time.Time `json:"time"`
	Run        string    `json:"run"`                  // the same for all events of a run, also after it was resumed
	Event      string    `json:"event"`                // run.start, run.resume, run.pause, run.end, step.start, step.end; part.end of branches, rounds and nested steps
	Target     string    `json:"target,omitempty"`     // the workflow file, or "pipeline"
	Hash       string    `json:"hash,omitempty"`       // SHA-256 of the workflow file
	Args       []string  `json:"args,omitempty"`       // names only
	Step       string    `json:"step,omitempty"`       // its id; of a part the way to it: block/branch, loop[3]/step, nested/step
	Kind       string    `json:"kind,omitempty"`       // of the step: shell, pipeline, approval, ...
	Status     string    `json:"status,omitempty"`     // of a step: ok, error, skipped; of a run: ok, error, cancelled, needs_approval, needs_input
	Millis     int64     `json:"ms,omitempty"`         // how long it took
	Error      string    `json:"error,omitempty"`      // masked
	ApprovalID string    `json:"approvalId,omitempty"` //
	Prompt     string    `json:"prompt,omitempty"`     // what a person was asked
	Decision   string    `json:"decision,omitempty"`   // yes, no, response, cancel
	By         string    `json:"by,omitempty"`         // who decided, as far as known
	CostUSD    float64   `json:"costUsd,omitempty"`    // spent so far
}

// Journal appends events to a file that is only ever appended to. Each event is one write, so several processes may share it. A nil
// *Journal drops events. It is safe for concurrent use.
type Journal struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Mask removes secrets from free text; nil leaves it as it is.
	Mask func(string) string

	dir string
	mu  sync.Mutex
	err error // guarded by mu: the first failure, after which nothing more is tried
}

// JournalDir is where the journal lives for an environment: LOBSTER_JOURNAL_DIR, or .lobster/journal in the home directory. The word "off"
// turns it off, and then the result is empty.
func JournalDir(getenv func(string) string) (string, error) {
	switch d := strings.TrimSpace(getenv("LOBSTER_JOURNAL_DIR")); d {
	case "":
		home, err := homeDir(getenv)
		if err != nil {
			return "", fmt.Errorf("find the journal: %w (set LOBSTER_JOURNAL_DIR)", err)
		}
		return filepath.Join(home, ".lobster", "journal"), nil
	case "off":
		return "", nil
	default:
		return d, nil
	}
}

// OpenJournal returns the journal in dir, or nil when dir is empty. Nothing is created before the first event.
func OpenJournal(dir string) *Journal {
	if dir == "" {
		return nil
	}
	return &Journal{dir: dir}
}

// Append writes an event, filling in version and time. A journal that cannot be written never fails a run; [Journal.Err] tells.
func (j *Journal) Append(e Event) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		j.err = j.write(e)
	}
}

// Err is the first failure to write.
func (j *Journal) Err() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

func (j *Journal) write(e Event) error {
	line, err := json.Marshal(j.complete(e))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(j.dir, journalName)
	if info, err := os.Stat(path); err == nil && info.Size() > journalLimit {
		if err := os.Rename(path, filepath.Join(j.dir, "runs.1.jsonl")); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

func (j *Journal) complete(e Event) Event {
	now := time.Now
	if j.Now != nil {
		now = j.Now
	}
	e.Version, e.Time = 1, now().UTC().Truncate(time.Millisecond)
	for _, text := range []*string{&e.Error, &e.Prompt, &e.By, &e.Target} {
		if j.Mask != nil {
			*text = j.Mask(*text)
		}
		*text = clip(*text, maxEvent/16)
	}
	return e
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// Events reads the journal from its oldest event. Lines that are no events, as a crash may leave them, are passed over.
func (j *Journal) Events() iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if j == nil {
			return
		}
		for _, name := range []string{"runs.1.jsonl", journalName} {
			if !readEvents(filepath.Join(j.dir, name), yield) {
				return
			}
		}
	}
}

func readEvents(path string, yield func(Event, error) bool) (goOn bool) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return yield(Event{}, err)
	}
	defer f.Close() //nolint:errcheck // only read
	r := bufio.NewReaderSize(f, maxEvent)
	for {
		line, err := r.ReadSlice('\n')
		if e, ok := parseEvent(line); ok && !yield(e, nil) {
			return false
		}
		switch {
		case errors.Is(err, io.EOF):
			return true
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return yield(Event{}, err)
		}
	}
}

func parseEvent(line []byte) (Event, bool) {
	var e Event
	err := json.Unmarshal(bytes.TrimSpace(line), &e)
	return e, err == nil && e.Version == 1
}
