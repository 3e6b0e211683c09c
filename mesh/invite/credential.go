package invite

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"lobstah/key"
)

// Header carries a guest's credential on every request.
const Header = "Clawmatrix-Guest"

const (
	credentialDomain = "clawmatrix-guest-v1\n"
	maxCredential    = 8 << 10
	signatureBytes   = 64
)

// A Credential lends models to a guest. It is worth nothing to anybody else.
type Credential struct {
	Issuer  key.ID   `json:"issuer"`
	Guest   key.ID   `json:"guest"`
	Models  []string `json:"models,omitempty"` // none named means all
	Expires int64    `json:"expires"`          // Unix seconds
}

// Sign gives the text form: base64url of the issuer's signature over the domain
// line "clawmatrix-guest-v1" and the JSON, and that JSON.
func (c Credential) Sign(pair key.Pair) (string, error) {
	c.Issuer = pair.ID()
	body, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("sign a guest's credential: %w", err)
	}
	signature := pair.Sign(append([]byte(credentialDomain), body...))
	return base64.RawURLEncoding.EncodeToString(append(signature, body...)), nil
}

// ErrNoCredential says that a request lacks a credential.
var ErrNoCredential = errors.New("a guest shows a credential with every request")

// Open checks a credential's size, signature, holder and time. Whether the issuer
// counts is for the caller to say.
func Open(text string, holder key.ID, now time.Time) (c Credential, err error) {
	if text == "" {
		return c, ErrNoCredential
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text[:min(len(text), maxCredential)])
	if err != nil || len(raw) < signatureBytes || len(text) > maxCredential {
		return c, errors.New("this is no credential")
	}
	signature, body := raw[:signatureBytes], raw[signatureBytes:]
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields() // what a newer version demands is not ignored
	if err := decoder.Decode(&c); err != nil {
		return Credential{}, fmt.Errorf("read the credential: %w", err)
	}
	switch {
	case !c.Issuer.Verify(append([]byte(credentialDomain), body...), signature):
		return Credential{}, errors.New("the credential was altered")
	case c.Guest != holder:
		return Credential{}, fmt.Errorf("the credential is for %s, and %s shows it", c.Guest.Short(), holder.Short())
	case now.Unix() >= c.Expires:
		return Credential{}, fmt.Errorf("the credential ended at %s: ask for another invitation", time.Unix(c.Expires, 0).UTC().Format(time.RFC3339))
	}
	return c, nil
}

// Lends reports whether the guest may use a model.
func (c Credential) Lends(model string) bool {
	return len(c.Models) == 0 || slices.Contains(c.Models, model)
}
