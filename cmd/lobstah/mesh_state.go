package main

import (
	"maps"
	"path/filepath"
	"slices"
	"time"

	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/config"
	"lobstah/mesh/link"
	"lobstah/mesh/trust"
)

// meshStateAge is how soon the grid's node follows the machine's own.
const meshStateAge = 5 * time.Second

// meshState is what the grid's node has of the machine's own, which may change it: the
// secrets of the mesh, by a revocation, and whose keys are verified.
type meshState struct {
	current, retired []string
	pins             map[string]key.ID
	drawn            map[string]link.Secret // by text, since drawing is slow on purpose
}

// readMeshState reads it from the files beside a configuration.
func readMeshState(path string) (*meshState, error) {
	c, err := config.Read(path)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	pins, err := trust.Read(filepath.Join(dir, "pins.json"))
	if err != nil {
		return nil, err
	}
	rotations, err := trust.ReadRotations(filepath.Join(dir, "secrets.json"))
	if err != nil {
		return nil, err
	}
	s := &meshState{pins: trust.Map(pins), drawn: map[string]link.Secret{}}
	s.current, s.retired = trust.InForce(c.Secret, rotations)
	s.retired = s.retired[:min(len(s.retired), link.MaxSecrets-len(s.current))]
	return s, nil
}

// draw makes keys of the secrets.
func (s *meshState) draw() (current, retired []link.Secret, err error) {
	for i, text := range slices.Concat(s.current, s.retired) {
		secret, ok := s.drawn[text]
		if !ok {
			if secret, err = link.NewSecret(text); err != nil {
				return nil, nil, err
			}
			s.drawn[text] = secret
		}
		if i < len(s.current) {
			current = append(current, secret)
		} else {
			retired = append(retired, secret)
		}
	}
	return current, retired, nil
}

// shareMesh follows what the machine's own node learns, until the process ends: who
// has only the secret of before would fall out of the mesh.
func (p *process) shareMesh(node *mesh.Node, path string, have *meshState) {
	tick := time.NewTicker(meshStateAge)
	defer tick.Stop()
	for {
		select {
		case <-p.background.Done():
			return
		case <-tick.C:
		}
		found, err := readMeshState(path)
		if err != nil {
			p.log.Warn("the mesh's files cannot be read, what was known of them stays", "err", err)
			continue
		}
		found.drawn = have.drawn
		if err := found.apply(node, have); err != nil {
			p.log.Error("the mesh has new secrets that cannot be used", "err", err)
			continue
		}
		have = found
	}
}

// apply puts in force what is new.
func (s *meshState) apply(node *mesh.Node, old *meshState) error {
	if !maps.Equal(s.pins, old.pins) {
		node.SetPins(s.pins)
	}
	if slices.Equal(s.current, old.current) && slices.Equal(s.retired, old.retired) {
		return nil
	}
	current, retired, err := s.draw()
	if err != nil {
		return err
	}
	return node.SetSecrets(current, retired)
}
