package key

import (
	"bytes"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"lobstah/internal/durable"
	"lobstah/internal/nostrkey"
)

const maxIdentityBytes = 64 << 10

// An Identity is what an identity file holds: the pair, and a random Nostr key
// that is independent of it (announcements over Nostr are signed twice).
type Identity struct {
	Pair
	NostrSecret [32]byte
	NostrPublic [32]byte
}

// A DamagedError says that an identity file cannot be used. The file is left
// as it is, since it may hold the only copy of a key.
type DamagedError struct {
	Path string
	Line int // 1-based; 0 when the fault has no line
	Err  error
}

func (e *DamagedError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("identity file %s, line %d: %v", e.Path, e.Line, e.Err)
	}
	return fmt.Sprintf("identity file %s: %v", e.Path, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// NewIdentity makes a fresh identity, in memory only.
func NewIdentity() (Identity, error) {
	secret, public, err := nostrkey.Generate()
	if err != nil {
		return Identity{}, err
	}
	return Identity{Generate(), secret, public}, nil
}

// LoadOrCreate reads the identity at path, or makes one there when the file
// does not exist; created tells which.
func LoadOrCreate(path string) (id Identity, created bool, err error) {
	id, err = Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, false, err
	}
	if id, err = NewIdentity(); err != nil {
		return Identity{}, false, err
	}
	return id, true, id.Save(path)
}

// identityFile is the JSON form, members in the order that is written.
// Version 1 files lack the Nostr pair.
type identityFile struct {
	Version        int    `json:"version"`
	PublicKey      string `json:"publicKey"`
	SecretKey      string `json:"secretKey"`
	NostrPublicKey string `json:"nostrPublicKey"`
	NostrSecretKey string `json:"nostrSecretKey"`
}

// Load reads an identity file of version 1 or 2. A version 1 file gets a Nostr
// key and is rewritten as version 2. The error wraps [fs.ErrNotExist] when
// there is no file and is a [*DamagedError] when the file is unusable.
func Load(path string) (Identity, error) {
	data, err := readCapped(path)
	if err != nil {
		return Identity{}, fmt.Errorf("read the identity: %w", err)
	}
	var file identityFile
	if err := json.Unmarshal(data, &file); err != nil {
		return Identity{}, &DamagedError{path, errorLine(data, err), err}
	}
	id, err := file.identity()
	if err != nil {
		return Identity{}, &DamagedError{Path: path, Err: err}
	}
	if file.Version == 1 {
		return id, id.Save(path)
	}
	return id, nil
}

// Save writes a version 2 file with mode 0600, atomically.
func (id Identity) Save(path string) error {
	seed := id.Seed()
	data, err := json.MarshalIndent(identityFile{
		Version:        2,
		PublicKey:      id.ID().String(),
		SecretKey:      hex.EncodeToString(seed[:]),
		NostrPublicKey: hex.EncodeToString(id.NostrPublic[:]),
		NostrSecretKey: hex.EncodeToString(id.NostrSecret[:]),
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("write the identity: %w", err)
	}
	return durable.WriteFile(path, data, 0o600)
}

func (f identityFile) identity() (id Identity, err error) {
	if f.Version != 1 && f.Version != 2 {
		return id, fmt.Errorf("unsupported identity version: %d (this program reads 1 and 2)", f.Version)
	}
	seed, err := hex32("secretKey", f.SecretKey)
	if err != nil {
		return id, err
	}
	id.Pair = FromSeed(seed)
	public, err := ParseID(f.PublicKey)
	if err != nil {
		return id, fmt.Errorf("publicKey: %w", err)
	}
	if public != id.ID() {
		return id, fmt.Errorf("publicKey is %s but secretKey belongs to %s", public, id.ID())
	}
	if f.Version == 1 {
		id.NostrSecret, id.NostrPublic, err = nostrkey.Generate()
		return id, err
	}
	return id, f.nostr(&id)
}

func (f identityFile) nostr(id *Identity) (err error) {
	if id.NostrSecret, err = hex32("nostrSecretKey", f.NostrSecretKey); err != nil {
		return err
	}
	if id.NostrPublic, err = nostrkey.Public(id.NostrSecret); err != nil {
		return fmt.Errorf("nostrSecretKey: %w", err)
	}
	stated, err := hex32("nostrPublicKey", f.NostrPublicKey)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(stated[:], id.NostrPublic[:]) != 1 {
		return errors.New("nostrPublicKey does not belong to nostrSecretKey")
	}
	return nil
}

// hex32 reads 64 hex digits; its errors never show the text, which is secret.
func hex32(member, text string) (b [32]byte, err error) {
	if len(text) != 64 {
		return b, fmt.Errorf("%s: want 64 hex digits, got %d characters", member, len(text))
	}
	if _, err := hex.Decode(b[:], []byte(text)); err != nil {
		return b, fmt.Errorf("%s: want 64 hex digits", member)
	}
	return b, nil
}

func readCapped(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxIdentityBytes))
}

// errorLine finds the line of a JSON error.
func errorLine(data []byte, err error) int {
	var offset int64
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		offset = e.Offset
	} else if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		offset = e.Offset
	}
	return 1 + bytes.Count(data[:min(int(offset), len(data))], []byte("\n"))
}
