package tool

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"lobstah/internal/durable"
	"lobstah/key"
)

// Limits of what is remembered under idempotency keys.
const (
	rememberFor     = 24 * time.Hour
	maxKeysOfCaller = 1000
	maxKeys         = 10_000
	maxOutcome      = 64 << 10 // bytes of output of one outcome
	maxOutcomes     = 64 << 20 // bytes of all outcomes
	maxJournal      = 96 << 20 // bytes of the file, then it is written anew
)

// An Outcome is how a call ended: with a result or with an error.
type Outcome struct {
	Result *Result `json:"result,omitempty"`
	Error  *Error  `json:"error,omitempty"`
}

// A Memory keeps which calls were made under an idempotency key, and how they
// ended, for 24 hours. That a call begins is on disk before it does: after a
// crash the same key gets "outcome unknown" and never a second execution.
//
// Make one with [OpenMemory]. It is safe for concurrent use.
type Memory struct {
	path string
	now  func() time.Time

	mu    sync.Mutex
	calls map[callKey]*kept // guarded by mu, as what follows
	bytes int
	file  *os.File // nil when nothing is kept on disk
	size  int64
}

type callKey struct {
	caller key.ID
	key    string
}

// kept is what is known of one key; Outcome is nil while its call runs.
type kept struct {
	digest  string
	at      time.Time
	outcome *Outcome
	bytes   int
}

// memoryLine is one line of the file. The last line for a key counts.
type memoryLine struct {
	Caller  key.ID    `json:"caller"`
	Key     string    `json:"key"`
	Digest  string    `json:"digest"`
	At      time.Time `json:"at"`
	Forget  bool      `json:"forget,omitempty"`
	Outcome *Outcome  `json:"outcome,omitempty"`
}

// OpenMemory reads the file at path, or keeps nothing on disk when path is empty.
func OpenMemory(path string) (*Memory, error) {
	m := &Memory{path: path, now: time.Now, calls: map[callKey]*kept{}}
	if path == "" {
		return m, nil
	}
	if err := m.read(); err != nil {
		return nil, fmt.Errorf("read what calls were made: %w", err)
	}
	if err := m.rewrite(); err != nil {
		return nil, fmt.Errorf("keep what calls are made: %w", err)
	}
	return m, nil
}

func (m *Memory) read() error {
	data, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range bytes.Lines(data) {
		var l memoryLine
		if err := json.Unmarshal(line, &l); err != nil {
			if !bytes.HasSuffix(line, []byte("\n")) {
				break // a crash in the middle of the last write; what it began was not begun
			}
			return fmt.Errorf("%s: %w", m.path, err)
		}
		m.apply(l)
	}
	for _, k := range m.calls {
		if k.outcome == nil {
			k.outcome = &Outcome{Error: refuse(CodeOutcome, "look at what it did, then call under a new key", "this call began before the node restarted, and how it ended is not known")}
		}
	}
	m.expire()
	return nil
}

func (m *Memory) apply(l memoryLine) {
	id := callKey{l.Caller, l.Key}
	if old := m.calls[id]; old != nil {
		m.bytes -= old.bytes
		delete(m.calls, id)
	}
	if l.Forget {
		return
	}
	k := &kept{digest: l.Digest, at: l.At, outcome: l.Outcome}
	if l.Outcome != nil && l.Outcome.Result != nil {
		k.bytes = len(l.Outcome.Result.String())
	}
	m.calls[id] = k
	m.bytes += k.bytes
}

// expire forgets what is old, and the results of the oldest when all together
// are too large.
func (m *Memory) expire() {
	limit := m.now().Add(-rememberFor)
	for id, k := range m.calls {
		if k.outcome != nil && k.at.Before(limit) {
			m.bytes -= k.bytes
			delete(m.calls, id)
		}
	}
	if m.bytes <= maxOutcomes {
		return
	}
	oldest := slices.SortedFunc(func(yield func(*kept) bool) {
		for _, k := range m.calls {
			if !yield(k) {
				return
			}
		}
	}, func(a, b *kept) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	for _, k := range oldest {
		if m.bytes <= maxOutcomes/2 {
			return
		}
		if k.bytes > 0 {
			m.bytes -= k.bytes
			k.bytes, k.outcome = 0, &Outcome{Error: refuse(CodeOutcome, "", "this call has ended; its result is no longer kept")}
		}
	}
}

// begin records that a call begins, or returns what is known when it has begun
// before. That is one that has ended: the server joins those that run.
func (m *Memory) begin(id callKey, digest string) (*kept, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.calls[id]; k != nil && m.now().Sub(k.at) <= rememberFor {
		return new(*k), nil
	}
	if m.full(id.caller) {
		m.expire()
	}
	if m.full(id.caller) {
		return nil, refuse(CodeBusy, "they are kept for 24 hours; call without a key", "too many idempotency keys are in use")
	}
	return nil, m.keep(memoryLine{Caller: id.caller, Key: id.key, Digest: digest, At: m.now()})
}

func (m *Memory) full(caller key.ID) bool {
	return len(m.calls) >= maxKeys || m.ofCaller(caller) >= maxKeysOfCaller
}

func (m *Memory) ofCaller(caller key.ID) int {
	n := 0
	for id := range m.calls {
		if id.caller == caller {
			n++
		}
	}
	return n
}

// end records how a call ended.
func (m *Memory) end(id callKey, digest string, outcome *Outcome) error {
	if r := outcome.Result; r != nil {
		short := *r
		short.Content = slices.Clone(r.Content)
		if r.Cut != nil {
			short.Cut = new(*r.Cut)
		}
		short.capTo(maxOutcome)
		outcome = &Outcome{Result: &short}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.keep(memoryLine{Caller: id.caller, Key: id.key, Digest: digest, At: m.now(), Outcome: outcome})
	if m.bytes > maxOutcomes || m.size > maxJournal {
		m.expire()
		err = errors.Join(err, m.rewrite())
	}
	return err
}

// forget is for a call that was refused after all and has done nothing.
func (m *Memory) forget(id callKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keep(memoryLine{Caller: id.caller, Key: id.key, At: m.now(), Forget: true})
}

// keep writes a line and applies it.
func (m *Memory) keep(l memoryLine) error {
	if m.path != "" {
		if m.file == nil {
			return fmt.Errorf("keep what calls are made: %w", fs.ErrClosed)
		}
		line, err := json.Marshal(l)
		if err != nil {
			return err
		}
		n, err := m.file.Write(append(line, '\n'))
		m.size += int64(n)
		if err = errors.Join(err, m.file.Sync()); err != nil {
			return fmt.Errorf("keep what calls are made: %w", err)
		}
	}
	m.apply(l)
	return nil
}

// rewrite replaces the file by what is known now, and continues it.
func (m *Memory) rewrite() error {
	if m.path == "" {
		return nil
	}
	if m.file != nil { // an open file cannot be replaced on Windows
		if err := m.file.Close(); err != nil {
			return err
		}
		m.file = nil
	}
	err := durable.Write(m.path, 0o600, func(w io.Writer) error {
		buf := bufio.NewWriter(w)
		enc := json.NewEncoder(buf)
		for id, k := range m.calls {
			if err := enc.Encode(memoryLine{Caller: id.caller, Key: id.key, Digest: k.digest, At: k.at, Outcome: k.outcome}); err != nil {
				return err
			}
		}
		return buf.Flush()
	})
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Clean(m.path), os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	m.file, m.size = file, info.Size()
	return nil
}

// Close closes the file.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file == nil {
		return nil
	}
	err := m.file.Close()
	m.file = nil
	return err
}
