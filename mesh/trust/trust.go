// Package trust remembers whose keys this node has verified, and lets two people
// compare keys by voice.
//
// [Read], [Add] and [Remove] keep the file of pins; [Words] are the six words of
// a key, which its owner reads aloud and the other side compares.
//
// cmd/ imports it; it knows no network. The file is this node's own and sound, or
// refused; names in it came from other nodes and are printed with care.
package trust

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"lobstah/internal/durable"
	"lobstah/internal/livefile"
	"lobstah/internal/spokenwords"
	"lobstah/key"
	"lobstah/mesh/member"
)

const (
	fileVersion = 1
	wordsSalt   = "clawmatrix-words-v1"
	// Each guess at a key with the same words costs as much as this many hashes.
	wordsRounds = 1 << 16
)

// How a key came to be pinned.
type How string

// The ways.
const (
	ByInvitation    How = "invitation"
	ByWords         How = "words"         // two people compared them
	ByConfiguration How = "configuration" // a peer's key in the configuration
)

// A Pin says that the node of this name has this key.
type Pin struct {
	Name  string    `json:"name"`
	Key   key.ID    `json:"key"`
	How   How       `json:"how"`
	Since time.Time `json:"since"`
}

type file struct {
	Version int   `json:"version"`
	Pins    []Pin `json:"pins"`
}

// Words are the six words of a key: 60 bits of PBKDF2-HMAC-SHA256 (RFC 8018) over
// the key's 32 bytes with the salt "clawmatrix-words-v1", made slow on purpose so
// that nobody finds another key with the same ones.
func Words(id key.ID) string {
	drawn, err := pbkdf2.Key(sha256.New, string(id[:]), []byte(wordsSalt), wordsRounds, 8)
	if err != nil {
		panic("trust: pbkdf2: " + err.Error()) // only for impossible lengths
	}
	return spokenwords.Of(binary.BigEndian.Uint64(drawn))
}

// SameWords compares words as people type them.
func SameWords(a, b string) bool {
	return slices.Equal(strings.Fields(strings.ToLower(a)), strings.Fields(strings.ToLower(b)))
}

// Read returns the pins; none when there is no file.
func Read(path string) ([]Pin, error) {
	pins, err := livefile.Read(path, parse)
	if err != nil {
		return nil, fmt.Errorf("file of pins %w", err)
	}
	return pins, nil
}

// ErrOtherKey says that a name is pinned to a key already.
var ErrOtherKey = errors.New("the name is pinned to another key")

// Add pins a name to a key. A key has one name, the newest; a name that is pinned
// to another key is [ErrOtherKey]. Callers see to it that no two write at a time.
func Add(path string, pin Pin) error {
	if err := pin.check(); err != nil {
		return err
	}
	return change(path, func(pins []Pin) ([]Pin, error) {
		for _, p := range pins {
			if p.Name == pin.Name && p.Key != pin.Key {
				return nil, fmt.Errorf("%w: %s is %s since %s", ErrOtherKey, p.Name, p.Key, p.Since.Format(time.DateOnly))
			}
		}
		pins = slices.DeleteFunc(pins, func(p Pin) bool { return p.Key == pin.Key })
		return append(pins, pin), nil
	})
}

// Remove takes all pins of a key away.
func Remove(path string, id key.ID) error {
	return change(path, func(pins []Pin) ([]Pin, error) {
		return slices.DeleteFunc(pins, func(p Pin) bool { return p.Key == id }), nil
	})
}

func change(path string, edit func([]Pin) ([]Pin, error)) error {
	pins, err := Read(path)
	if err != nil {
		return err
	}
	if pins, err = edit(pins); err != nil {
		return err
	}
	data, err := json.MarshalIndent(file{fileVersion, pins}, "", "  ")
	if err != nil {
		return fmt.Errorf("write the pins: %w", err)
	}
	return durable.WriteFile(path, append(data, '\n'), 0o600)
}

func parse(data []byte) ([]Pin, error) {
	if data == nil {
		return nil, nil
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, livefile.JSON(data, err)
	}
	if f.Version != fileVersion {
		return nil, fmt.Errorf("version %d is unknown; this program reads %d", f.Version, fileVersion)
	}
	for i, p := range f.Pins {
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
	}
	return f.Pins, nil
}

func (p Pin) check() error {
	if p.Key.IsZero() || p.Name == "" || len(p.Name) > member.MaxName {
		return errors.New("a pin needs a name and a key")
	}
	return nil
}

// Map gives the keys by name, as the mesh wants them.
func Map(pins []Pin) map[string]key.ID {
	m := make(map[string]key.ID, len(pins))
	for _, p := range pins {
		m[p.Name] = p.Key
	}
	return m
}
