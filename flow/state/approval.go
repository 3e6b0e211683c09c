package state

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const approvalAttempts = 16

var (
	approvalFile = regexp.MustCompile(`^approval_([0-9a-f]{8}(?:[0-9a-f]{8})?)\.json$`)
	pauseFile    = regexp.MustCompile(`^((?:pipeline_resume_|workflow[_-]resume_)[0-9a-f-]{36})\.json$`)
)

type approvalEntry struct {
	StateKey  string `json:"stateKey"`
	CreatedAt string `json:"createdAt"`
}

// UnknownApprovalError says that an approval id leads nowhere.
type UnknownApprovalError struct{ ID string }

func (e UnknownApprovalError) Error() string {
	return `Approval ID "` + e.ID + `" not found or expired`
}

// createApproval makes a short id for a pause, or returns the empty string where none can be made: ids are a convenience, the token works
// without them.
func (s *Store) createApproval(key string) string {
	doc := []byte(`{"stateKey":"` + key + `","createdAt":"` + stamp(s.now()) + "\"}\n")
	size := 4
	if s.LongIDs {
		size = 8
	}
	for range approvalAttempts {
		b, err := s.random(size)
		if err != nil {
			return ""
		}
		id := hex.EncodeToString(b)
		err = createExclusive(s.approvalPath(id), doc)
		if err == nil {
			return id
		}
		if !errors.Is(err, os.ErrExist) {
			return ""
		}
	}
	return ""
}

// ApprovalKey finds the pause that a short id leads to. Characters that no id has are ignored, as people paste ids with quotes and dashes.
// After too many wrong ones every id is refused for a while, so that nobody finds one by trying.
func (s *Store) ApprovalKey(id string) (string, error) {
	clean := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'f' {
			return r
		}
		return -1
	}, id)
	if len(clean) != 8 && len(clean) != 16 {
		return "", UnknownApprovalError{id}
	}
	if err := s.mayGuess(); err != nil {
		return "", err
	}
	entry, err := s.readApproval(clean)
	if err != nil || !IsPauseKey(entry.StateKey) {
		return "", errors.Join(UnknownApprovalError{id}, s.countGuess())
	}
	return entry.StateKey, nil
}

// KindOf tells from a pause's key what it resumes.
func KindOf(key string) Kind {
	if strings.HasPrefix(key, "pipeline_resume_") {
		return Pipeline
	}
	return Workflow
}

func (s *Store) readApproval(id string) (approvalEntry, error) {
	path := s.approvalPath(id)
	info, err := os.Stat(path)
	if err != nil {
		return approvalEntry{}, err
	}
	if s.expired(info) {
		return approvalEntry{}, ErrNotFound
	}
	doc, err := readFile(path)
	if err != nil {
		return approvalEntry{}, err
	}
	var e approvalEntry
	return e, json.Unmarshal(doc, &e)
}

func (s *Store) approvalPath(id string) string {
	return filepath.Join(s.dir, "approval_"+id+".json")
}

// dropApprovals removes the ids that lead to key.
func (s *Store) dropApprovals(key string) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return ignoreMissing(err)
	}
	var all error
	for _, e := range entries {
		m := approvalFile.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		if got, err := s.readApproval(m[1]); err == nil && got.StateKey == key {
			all = errors.Join(all, ignoreMissing(os.Remove(s.approvalPath(m[1]))))
		}
	}
	return all
}

// Waiting is one run that waits for a person.
type Waiting struct {
	Kind       Kind
	Key        string
	Token      string
	ApprovalID string // empty for questions, and where no id could be made
	Since      time.Time
	Document   []byte
}

// Waiting lists the runs that wait, oldest first. Documents that cannot be read are listed without one.
func (s *Store) Waiting(ctx context.Context) ([]Waiting, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	ids := s.approvalIDs(entries)
	var out []Waiting
	for _, e := range entries {
		m := pauseFile.FindStringSubmatch(e.Name())
		if m == nil || !IsPauseKey(m[1]) {
			continue
		}
		doc, err := s.LoadPause(ctx, m[1])
		if errors.Is(err, ErrNotFound) {
			continue
		}
		kind := KindOf(m[1])
		out = append(out, Waiting{kind, m[1], Token{kind, m[1]}.Encode(), ids[m[1]], s.ModTime(m[1]), doc})
	}
	slices.SortFunc(out, func(a, b Waiting) int { return a.Since.Compare(b.Since) })
	return out, nil
}

func (s *Store) approvalIDs(entries []os.DirEntry) map[string]string {
	ids := map[string]string{}
	for _, e := range entries {
		if m := approvalFile.FindStringSubmatch(e.Name()); m != nil {
			if entry, err := s.readApproval(m[1]); err == nil {
				ids[entry.StateKey] = m[1]
			}
		}
	}
	return ids
}
