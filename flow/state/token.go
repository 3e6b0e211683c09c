package state

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
)

// Kind says what a token resumes.
type Kind string

// The two kinds, as tokens spell them.
const (
	Pipeline Kind = "pipeline-resume"
	Workflow Kind = "workflow-file"
)

// maxToken bounds a token's text. Ours have about 150 characters.
const maxToken = 64 << 10

// Token names a pause: unpadded base64url of {"protocolVersion":1,"v":1,"kind":...,"stateKey":...}. It carries no state: the pause in the
// store is the only authority, and the key's 122 random bits are what its holder must know.
type Token struct {
	Kind Kind
	Key  string
}

var pauseKey = regexp.MustCompile(`^(?:pipeline_resume_|workflow[_-]resume_)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// IsPauseKey reports whether key has the form that pauses have, so that it cannot name anything that a pipeline stored.
func IsPauseKey(key string) bool { return pauseKey.MatchString(key) }

// Encode gives the token's text.
func (t Token) Encode() string {
	doc := `{"protocolVersion":1,"v":1,"kind":"` + string(t.Kind) + `","stateKey":"` + t.Key + `"}`
	return base64.RawURLEncoding.EncodeToString([]byte(doc))
}

type wireToken struct {
	ProtocolVersion any             `json:"protocolVersion"`
	V               any             `json:"v"`
	Kind            any             `json:"kind"`
	StateKey        any             `json:"stateKey"`
	FilePath        json.RawMessage `json:"filePath"`
}

// DecodeToken reads a token's text. A token that carries a workflow's state within itself is refused: it would let whoever makes one
// start any file at any step, past its gates.
func DecodeToken(text string) (Token, error) {
	w, err := parseToken(text)
	if err != nil {
		return Token{}, err
	}
	kind, _ := w.Kind.(string)
	key, hasKey := w.StateKey.(string)
	hasKey = hasKey && key != ""
	switch {
	case w.ProtocolVersion != float64(1):
		return Token{}, TokenError("Unsupported protocol version")
	case w.V != float64(1):
		return Token{}, TokenError("Unsupported token version")
	case Kind(kind) == Pipeline && hasKey, Kind(kind) == Workflow && hasKey:
		return Token{Kind(kind), key}, nil
	case Kind(kind) == Workflow && w.FilePath != nil:
		return Token{}, TokenError("Invalid workflow token: state inside a token is not accepted; run the workflow again and approve its new token")
	case Kind(kind) == Workflow:
		return Token{}, TokenError("Invalid workflow token")
	}
	return Token{}, errInvalidToken
}

const errInvalidToken = TokenError("Invalid token")

// TokenError says why a token was refused, in the protocol's words.
type TokenError string

func (e TokenError) Error() string { return string(e) }

func parseToken(text string) (*wireToken, error) {
	if len(text) > maxToken {
		return nil, errInvalidToken
	}
	raw, err := base64.RawURLEncoding.DecodeString(tidy(text))
	if err != nil {
		return nil, errInvalidToken
	}
	var w *wireToken
	if list := []json.RawMessage(nil); json.Unmarshal(raw, &list) == nil && list != nil {
		return new(wireToken), nil // a list has none of the members, but is no scalar either
	}
	if err := json.Unmarshal(raw, &w); err != nil || w == nil {
		return nil, errInvalidToken
	}
	return w, nil
}

// tidy undoes what happens to tokens on their way through mails and terminals: line ends, blanks, padding, the other alphabet.
func tidy(s string) string {
	s = strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\r', '\n':
			return -1
		case '+':
			return '-'
		case '/':
			return '_'
		}
		return r
	}, s)
	return strings.TrimRight(s, "=")
}
