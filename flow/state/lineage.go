package state

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
)

// A run that goes from one gate straight to the next has done nothing yet, so its first pause stays usable until the second one is stored.
// Two processes may both come that far. The marker that takes the first pause's place names the one successor that counts
// ("replacedBy"); every other one is dead, even if the process that made it was killed before it could remove it.

// SaveNext stores a paused run that follows the pause under from. When that was not used up for effects before, exactly one successor may take its
// place: a process that comes late gets ErrNotFound, and nothing of its pause stays.
func (s *Store) SaveNext(ctx context.Context, kind Kind, doc []byte, approval bool, from string, used bool) (Pause, error) {
	p, err := s.SavePause(ctx, kind, doc, approval)
	if err != nil || from == "" || used {
		return p, err
	}
	ctx = context.WithoutCancel(ctx)
	if err := s.consume(ctx, from, p.Key); err != nil {
		return Pause{}, errors.Join(err, s.Discard(ctx, p.Key))
	}
	return p, nil
}

// Confirm makes sure, before a pause is resumed, that it is the one successor of the pause that it says it replaced, and completes the replacement
// if the process that stored it was killed in between. ErrNotFound says that another one took its place.
func (s *Store) Confirm(ctx context.Context, key string, superseded []string) error {
	if len(superseded) == 0 || !IsPauseKey(superseded[len(superseded)-1]) {
		return nil
	}
	before := superseded[len(superseded)-1]
	switch err := s.consume(ctx, before, key); {
	case err == nil:
		return nil
	case !errors.Is(err, ErrNotFound):
		return err
	}
	by, err := s.successor(before)
	if err != nil || by == "" || by == key {
		return err
	}
	return errors.Join(ErrNotFound, s.Discard(ctx, key))
}

// successor is the pause that a used one's marker names, or "".
func (s *Store) successor(key string) (string, error) {
	doc, err := readFile(s.pausePath(key))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	var m struct {
		ReplacedBy string `json:"replacedBy"`
	}
	if err != nil || json.Unmarshal(doc, &m) != nil {
		return "", err
	}
	return m.ReplacedBy, nil
}
