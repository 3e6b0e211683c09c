// Package secret keeps credentials out of what the workflow shell writes down or prints.
//
// [FromEnviron] collects the values of environment variables whose names say that they are secret, and [Mask.Text] replaces them wherever they
// appear. The journal and the error messages go through it. A Mask is immutable and safe for concurrent use; its zero value masks only
// what looks like a resume token, a bearer credential or the password in a URL. It is a net, not a wall: a value that was transformed on its way is not found.
//
// Imported by flow and cmd/lobster; it imports the standard library only.
package secret

import (
	"regexp"
	"slices"
	"strings"
)

// minLength is below what a value is too short to be masked without mangling ordinary text.
const minLength = 6

var (
	secretName  = regexp.MustCompile(`(?i)(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY|AUTH)|(^|_)(KEY|PAT|COOKIE|WEBHOOK(_URL)?)$`)
	password    = regexp.MustCompile(`://[^\s/:@'"]*:[^\s/@'"]+@`)
	bearer      = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`)
	resumeToken = regexp.MustCompile(`\beyJwcm90b2NvbFZlcnNpb24i[A-Za-z0-9_-]+`)
)

// Mask replaces known secrets.
type Mask struct{ replacer *strings.Replacer }

// FromEnviron makes a mask from NAME=value pairs, as os.Environ gives them.
func FromEnviron(environ []string) Mask {
	var known []pair
	for _, kv := range environ {
		name, value, ok := strings.Cut(kv, "=")
		if ok && len(value) >= minLength && secretName.MatchString(name) && name != "LOBSTER_RUN_STATE_KEY" && !harmless(value) {
			known = append(known, pair{value, "[" + name + "]"})
		}
	}
	slices.SortFunc(known, func(a, b pair) int { return len(b.value) - len(a.value) }) // a longer secret may contain a shorter one
	var args []string
	for _, p := range known {
		args = append(args, p.value, p.name)
	}
	if args == nil {
		return Mask{}
	}
	return Mask{strings.NewReplacer(args...)}
}

type pair struct{ value, name string }

// harmless values are paths of sockets and files, such as that of SSH_AUTH_SOCK: no secret, and common in messages.
func harmless(v string) bool { return strings.HasPrefix(v, "/") || v == "default" }

// Text returns s with secrets replaced by their variable's name in brackets.
func (m Mask) Text(s string) string {
	if m.replacer != nil {
		s = m.replacer.Replace(s)
	}
	s = password.ReplaceAllString(s, "://[credential]@")
	s = bearer.ReplaceAllString(s, "$1 [credential]")
	return resumeToken.ReplaceAllString(s, "[resume token]")
}
