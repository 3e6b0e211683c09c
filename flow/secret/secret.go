// Package secret keeps credentials out of what the workflow shell writes down or prints.
//
// [FromEnviron] collects the values of environment variables whose names say that they are secret, [Mask.Learn] adds those that workflow files set,
// arguments among them, and [Mask.Text] replaces them wherever they appear. The journal and the error messages go through it. A Mask is safe for
// concurrent use; its zero value masks only what looks like a resume token, a bearer credential or the password in a URL. It is a net, not a wall: a
// value that was transformed on its way is not found.
//
// Imported by flow and cmd/lobster; it imports the standard library only.
package secret

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
)

const (
	// minLength is below what a value is too short to be masked without mangling ordinary text.
	minLength = 6
	// maxLearned caps how many values a mask learns: a loop may set another one in each of a million rounds.
	maxLearned = 1000
)

var (
	secretName  = regexp.MustCompile(`(?i)(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY)|(^|_)(OAUTH[0-9]?|AUTH|AUTHORIZATION)(_|$)|(^|_)(KEY|PAT|COOKIE|WEBHOOK(_URL)?)$`)
	password    = regexp.MustCompile(`://[^\s/:@'"]*:[^\s/@'"]+@`)
	bearer      = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`)
	resumeToken = regexp.MustCompile(`\beyJwcm90b2NvbFZlcnNpb24i[A-Za-z0-9_-]+`)
)

// Mask replaces known secrets. It must not be copied.
type Mask struct {
	mu       sync.Mutex
	known    map[string]string // guarded by mu; names by value
	replacer *strings.Replacer // guarded by mu; of known, nil when it has to be made
}

// FromEnviron makes a mask from NAME=value pairs, as os.Environ gives them.
func FromEnviron(environ []string) *Mask {
	m := &Mask{known: map[string]string{}}
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok && isSecret(name, value) {
			m.known[value] = name
		}
	}
	return m
}

// Learn adds the secrets among variables that were set later.
func (m *Mask) Learn(vars map[string]string) {
	for name, value := range vars {
		if isSecret(name, value) {
			m.learn(name, value)
		}
	}
}

func (m *Mask) learn(name, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.known[value]; ok || len(m.known) >= maxLearned {
		return
	}
	if m.known == nil {
		m.known = map[string]string{}
	}
	m.known[value], m.replacer = name, nil
}

// isSecret reports whether a variable's name says so, unless its value is too short to be hidden. A key in which state is kept is none.
func isSecret(name, value string) bool {
	return len(value) >= minLength && secretName.MatchString(name) && name != "LOBSTER_RUN_STATE_KEY" && name != "LOBSTER_ARG_KEY" && !harmless(value)
}

// current is the replacer of all that is known by now.
func (m *Mask) current() *strings.Replacer {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.replacer == nil {
		longestFirst := func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) } // a longer secret may contain a shorter one
		var words []string
		for _, value := range slices.SortedFunc(maps.Keys(m.known), longestFirst) {
			words = append(words, value, "["+m.known[value]+"]")
		}
		m.replacer = strings.NewReplacer(words...)
	}
	return m.replacer
}

// harmless values are paths of sockets and files, such as that of SSH_AUTH_SOCK: no secret, and common in messages.
func harmless(v string) bool { return strings.HasPrefix(v, "/") || v == "default" }

// Text returns s with secrets replaced by their variable's name in brackets.
func (m *Mask) Text(s string) string {
	s = m.current().Replace(s)
	s = password.ReplaceAllString(s, "://[credential]@")
	s = bearer.ReplaceAllString(s, "$1 [credential]")
	return resumeToken.ReplaceAllString(s, "[resume token]")
}
