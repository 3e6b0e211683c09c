package trust

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"lobstah/internal/durable"
	"lobstah/internal/livefile"
	"lobstah/key"
)

const (
	rotationDomain = "clawmatrix-rotation-v1\n"
	maxRotations   = 3   // that are kept: with the configuration's, as many secrets as may be in force
	maxSecretText  = 512 // bytes
	maxReplaced    = 8
)

// A Rotation is a new secret for the mesh, said by the node that revoked a key.
// It travels only inside connections that have proven the key at the other end.
type Rotation struct {
	By        key.ID   `json:"by"`
	Secret    string   `json:"secret"`
	AtMS      int64    `json:"at_ms"`         // Unix milliseconds
	Without   key.ID   `json:"without"`       // whom it leaves behind
	Replaces  []string `json:"replaces"`      // SHA-256 of the secrets before, hex
	Signature []byte   `json:"sig,omitempty"` // of By over the domain line and the rest as JSON
}

// NewSecret makes a secret of 256 random bits, as 64 hex digits.
func NewSecret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	return hex.EncodeToString(b[:])
}

// Rotate makes and signs a rotation.
func Rotate(pair key.Pair, without key.ID, old []string, now time.Time) (Rotation, error) {
	r := Rotation{By: pair.ID(), Secret: NewSecret(), AtMS: now.UnixMilli(), Without: without}
	for _, s := range old {
		r.Replaces = append(r.Replaces, fingerprint(s))
	}
	text, err := r.signed()
	if err != nil {
		return r, err
	}
	r.Signature = pair.Sign(text)
	return r, nil
}

func (r Rotation) signed() ([]byte, error) {
	r.Signature = nil
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("sign the new secret: %w", err)
	}
	return append([]byte(rotationDomain), body...), nil
}

// Check says whether By has signed it as it is.
func (r Rotation) Check() error {
	if r.Secret == "" || len(r.Secret) > maxSecretText || len(r.Replaces) > maxReplaced || r.AtMS <= 0 {
		return errors.New("this is no new secret")
	}
	text, err := r.signed()
	if err != nil {
		return err
	}
	if !r.By.Verify(text, r.Signature) {
		return fmt.Errorf("%s has not signed this new secret", r.By.Short())
	}
	return nil
}

// ID tells rotations apart without telling the secret.
func (r Rotation) ID() string { return fingerprint("rotation " + r.Secret)[:16] }

// String keeps the secret out of texts.
func (r Rotation) String() string { return "rotation " + r.ID() }

// GoString does for %#v what String does for the others.
func (r Rotation) GoString() string { return r.String() }

func fingerprint(secret string) string {
	sum := sha256.Sum256([]byte("clawmatrix-fingerprint-v1\n" + secret))
	return hex.EncodeToString(sum[:])
}

// InForce says which secrets count: those of the configuration until rotations
// have replaced them, then the newest rotation's. The ones before are retired.
// A configuration that was given another secret since wins.
func InForce(configured []string, rotations []Rotation) (current, retired []string) {
	replaced := func(s string) bool {
		return slices.ContainsFunc(rotations, func(r Rotation) bool { return slices.Contains(r.Replaces, fingerprint(s)) })
	}
	for _, s := range configured {
		if !replaced(s) {
			current = append(current, s)
		}
	}
	if len(current) > 0 || len(rotations) == 0 {
		return current, nil
	}
	for _, r := range rotations[1:] {
		retired = append(retired, r.Secret)
	}
	return []string{rotations[0].Secret}, append(retired, configured...)
}

type rotationFile struct {
	Version   int        `json:"version"`
	Rotations []Rotation `json:"rotations"` // the newest first
}

// ReadRotations returns the rotations that are kept, the newest first.
func ReadRotations(path string) ([]Rotation, error) {
	list, err := livefile.Read(path, func(data []byte) ([]Rotation, error) {
		if data == nil {
			return nil, nil
		}
		var f rotationFile
		if err := json.Unmarshal(data, &f); err != nil {
			return nil, livefile.JSON(data, err)
		}
		if f.Version != fileVersion {
			return nil, fmt.Errorf("version %d is unknown; this program reads %d", f.Version, fileVersion)
		}
		return f.Rotations, nil
	})
	if err != nil {
		return nil, fmt.Errorf("file of secrets %w", err)
	}
	return list, nil
}

// AddRotation keeps a rotation, and says whether it is new here.
func AddRotation(path string, r Rotation) (added bool, err error) {
	list, err := ReadRotations(path)
	if err != nil || slices.ContainsFunc(list, func(k Rotation) bool { return k.Secret == r.Secret }) {
		return false, err
	}
	list = append(list, r)
	slices.SortFunc(list, newestFirst)
	list = list[:min(len(list), maxRotations)]
	data, err := json.MarshalIndent(rotationFile{fileVersion, list}, "", "  ")
	if err != nil {
		return false, fmt.Errorf("keep the new secret: %w", err)
	}
	return true, durable.WriteFile(path, append(data, '\n'), 0o600)
}

// newestFirst orders rotations alike on all nodes.
func newestFirst(a, b Rotation) int {
	if a.AtMS != b.AtMS {
		return int(max(-1, min(1, b.AtMS-a.AtMS)))
	}
	return slices.Compare([]byte(a.Secret), []byte(b.Secret))
}
