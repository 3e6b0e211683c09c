package state

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// consumedType marks a pause that was used. The marker stays in the pause's place so that a second resume finds it taken.
const consumedType = "lobster.consumed-resume-state.v1"

// Pause is a run that waits: the key of its document, the token to hand out and, for approvals, the short id (empty when the
// directory could not hold one).
type Pause struct {
	Key        string
	Token      string
	ApprovalID string
}

// NewKey makes a fresh pause key. The caller may need it inside the document before [Store.SavePause].
func (s *Store) NewKey(kind Kind) (string, error) {
	b, err := s.random(16)
	if err != nil {
		return "", err
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	prefix := "pipeline_resume_"
	if kind == Workflow {
		prefix = "workflow_resume_"
	}
	h := hex.EncodeToString(b)
	return prefix + h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}

// SavePause stores a paused run and, for an approval, a short id that leads to it. When ctx is cancelled in between, nothing stays.
// It also collects what expired, so that a directory does not grow without end.
func (s *Store) SavePause(ctx context.Context, kind Kind, doc []byte, approval bool) (Pause, error) {
	key, err := s.NewKey(kind)
	if err != nil {
		return Pause{}, err
	}
	path := s.pausePath(key)
	if err := s.locked(ctx, path, func() error { return writeAtomic(path, doc) }); err != nil {
		return Pause{}, fmt.Errorf("save the paused run: %w", err)
	}
	p := Pause{Key: key, Token: Token{kind, key}.Encode()}
	if approval {
		p.ApprovalID = s.createApproval(key)
	}
	if cause := context.Cause(ctx); cause != nil {
		return Pause{}, errors.Join(cause, s.Discard(context.WithoutCancel(ctx), key))
	}
	_, _ = s.Collect(ctx) // what cannot be removed now is tried again at the next pause; this one is stored
	return p, nil
}

// LoadPause returns the document of a pause that can still be used, else ErrNotFound.
func (s *Store) LoadPause(_ context.Context, key string) ([]byte, error) {
	_ = s.ensureDir() // callers of the original find the directory afterwards; one that cannot be made holds no pause
	if !IsPauseKey(key) {
		return nil, ErrNotFound
	}
	return s.readLive(s.pausePath(key))
}

// Claim uses a pause up: of all processes that try, at most one succeeds, and the others get ErrNotFound. From then on the run may do
// what was approved; whether it gets that far or not, nobody else will.
func (s *Store) Claim(ctx context.Context, key string) error {
	return s.consume(ctx, key, "")
}

// consume puts a marker in a pause's place, which names the pause that follows it, if any.
func (s *Store) consume(ctx context.Context, key, successor string) error {
	if !IsPauseKey(key) {
		return ErrNotFound
	}
	path := s.pausePath(key)
	err := s.locked(ctx, path, func() error {
		if _, err := s.readLive(path); err != nil {
			return err
		}
		marker, err := s.marker(successor)
		if err != nil {
			return err
		}
		return writeAtomic(path, marker)
	})
	if err != nil {
		return err
	}
	return s.dropApprovals(key)
}

func (s *Store) marker(successor string) ([]byte, error) {
	claim, err := s.random(16)
	if err != nil {
		return nil, err
	}
	next := ""
	if successor != "" {
		next = ",\n  \"replacedBy\": \"" + successor + "\""
	}
	return []byte("{\n  \"type\": \"" + consumedType + "\",\n  \"consumedAt\": \"" + stamp(s.now()) +
		"\",\n  \"claimId\": \"" + hex.EncodeToString(claim) + "\"" + next + "\n}\n"), nil
}

// Discard removes a pause or its marker, and the ids that lead to it. What is missing is no error, and what is no pause is left alone.
func (s *Store) Discard(ctx context.Context, key string) error {
	if !IsPauseKey(key) {
		return nil
	}
	path := s.pausePath(key)
	if _, err := os.Lstat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err := s.locked(ctx, path, func() error { return ignoreMissing(os.Remove(path)) })
	return errors.Join(err, s.dropApprovals(key))
}

// Cancel removes a pause that waits, whatever its document looks like, and returns ErrNotFound when there is none, also when another process
// is the first to use it up: then the run goes on.
func (s *Store) Cancel(ctx context.Context, key string) error {
	if _, err := s.LoadPause(ctx, key); err != nil {
		return err
	}
	path := s.pausePath(key)
	err := s.locked(ctx, path, func() error {
		if _, err := s.readLive(path); err != nil {
			return err
		}
		return os.Remove(path)
	})
	if err != nil {
		return err
	}
	return s.dropApprovals(key)
}

func (s *Store) pausePath(key string) string { return filepath.Join(s.dir, key+".json") }

// readLive reads a pause's document unless it is missing, used up or expired.
func (s *Store) readLive(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && s.expired(info) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	doc, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && isMarker(doc) {
		return nil, ErrNotFound
	}
	return doc, err
}

func isMarker(doc []byte) bool {
	if len(doc) > 4096 {
		return false
	}
	var m struct {
		Type string `json:"type"`
	}
	return json.Unmarshal(doc, &m) == nil && m.Type == consumedType
}

func (s *Store) expired(info fs.FileInfo) bool {
	ttl := s.TTL
	if ttl == 0 {
		ttl = DefaultTTL
	}
	return ttl > 0 && s.now().Sub(info.ModTime()) > ttl
}

// ModTime is when a pause was stored; zero when it is gone.
func (s *Store) ModTime(key string) time.Time {
	info, err := os.Stat(s.pausePath(key))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
