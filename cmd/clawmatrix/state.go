package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"lobstah/internal/durable"
	"lobstah/internal/home"
	"lobstah/internal/livefile"
	"lobstah/key"
	"lobstah/mesh/config"
	"lobstah/mesh/link"
	"lobstah/mesh/trust"
)

// A state is what a node has learned and keeps in its home. It is changed only
// through [home.Home.Edit]; reading is safe at any time.
type state struct {
	config      *config.Config
	files       files
	list        atomic.Pointer[[]trust.Pin]
	revocations [][]byte // as they were when the node started

	mu    sync.Mutex
	drawn map[string]link.Secret // guarded by mu; by text, since drawing is slow on purpose
}

// files are the paths of a node's state.
type files struct{ pins, rotations, revocations string }

func stateFiles(h home.Home) files {
	in := func(name string) string { return filepath.Join(h.Dir, name) }
	return files{pins: in("pins.json"), rotations: in("secrets.json"), revocations: in("revocations.json")}
}

func openState(h home.Home, c *config.Config) (*state, error) {
	s := &state{config: c, files: stateFiles(h)}
	if err := s.reload(); err != nil {
		return nil, err
	}
	var err error
	s.revocations, err = readRevocations(s.files.revocations)
	return s, err
}

// reload reads the pins again.
func (s *state) reload() error {
	pins, err := trust.Read(s.files.pins)
	if err != nil {
		return err
	}
	for _, p := range s.config.Peers {
		if id := p.ID(); !id.IsZero() && p.NodeID != "" {
			pins = append(pins, trust.Pin{Name: p.NodeID, Key: id, How: trust.ByConfiguration})
		}
	}
	s.list.Store(&pins)
	return nil
}

func (s *state) pinList() []trust.Pin { return *s.list.Load() }

func (s *state) pinned() map[string]key.ID { return trust.Map(s.pinList()) }

func (s *state) pin(id key.ID) (trust.Pin, bool) {
	list := s.pinList()
	i := slices.IndexFunc(list, func(p trust.Pin) bool { return p.Key == id })
	if i < 0 {
		return trust.Pin{}, false
	}
	return list[i], true
}

func (s *state) pins(id key.ID) bool {
	_, ok := s.pin(id)
	return ok
}

func (s *state) nameOf(id key.ID) (string, bool) {
	p, ok := s.pin(id)
	return p.Name, ok
}

// texts are the secrets in force and the retired ones.
func (s *state) texts() (current, retired []string, err error) {
	rotations, err := trust.ReadRotations(s.files.rotations)
	if err != nil {
		return nil, nil, err
	}
	current, retired = trust.InForce(s.config.Secret, rotations)
	return current, retired[:min(len(retired), link.MaxSecrets-len(current))], nil
}

// secrets draws the keys of all secrets.
func (s *state) secrets() (current, retired []link.Secret, err error) {
	texts, old, err := s.texts()
	if err != nil {
		return nil, nil, err
	}
	for i, text := range slices.Concat(texts, old) {
		drawn, err := s.draw(text)
		switch {
		case err != nil:
			return nil, nil, err
		case i < len(texts):
			current = append(current, drawn)
		default:
			retired = append(retired, drawn)
		}
	}
	return current, retired, nil
}

func (s *state) draw(text string) (link.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if secret, ok := s.drawn[text]; ok {
		return secret, nil
	}
	secret, err := link.NewSecret(text)
	if err != nil {
		return secret, err
	}
	if s.drawn == nil {
		s.drawn = map[string]link.Secret{}
	}
	s.drawn[text] = secret
	return secret, nil
}

type revocationFile struct {
	Version     int      `json:"version"`
	Revocations []string `json:"revocations"` // base64 of what was signed
}

func readRevocations(path string) ([][]byte, error) {
	list, err := livefile.Read(path, func(data []byte) (list [][]byte, err error) {
		if data == nil {
			return nil, nil
		}
		var f revocationFile
		if err := json.Unmarshal(data, &f); err != nil {
			return nil, livefile.JSON(data, err)
		}
		for i, text := range f.Revocations {
			wire, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return nil, fmt.Errorf("entry %d: %w", i+1, err)
			}
			list = append(list, wire)
		}
		return list, nil
	})
	if err != nil {
		return nil, fmt.Errorf("file of revocations %w", err)
	}
	return list, nil
}

func writeRevocations(path string, list [][]byte) error {
	f := revocationFile{Version: 1, Revocations: []string{}}
	for _, wire := range list {
		f.Revocations = append(f.Revocations, base64.StdEncoding.EncodeToString(wire))
	}
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("keep the revocations: %w", err)
	}
	return durable.WriteFile(path, append(data, '\n'), 0o600)
}
