package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	maxPreview = 2048 // bytes of a preview
	maxString  = 200  // bytes of one text in it
	maxDepth   = 32
	redacted   = "[redacted]"
)

// Digest is the SHA-256 of the arguments as they came, in hex.
func Digest(args []byte) string {
	sum := sha256.Sum256(args)
	return hex.EncodeToString(sum[:])
}

// Preview is the arguments with what looks like a secret left out and what is
// long shortened. What does not look like a secret stays readable: the log is
// for its owner alone.
func Preview(args []byte) string {
	dec := json.NewDecoder(bytes.NewReader(args))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return clip(redactText(string(args)), maxString)
	}
	out, err := json.Marshal(redactValue(v, 0))
	if err != nil {
		return "[cannot be shown: " + err.Error() + "]"
	}
	return clip(string(out), maxPreview)
}

// secretName is what members with secrets are called, secretText what secrets
// look like wherever they stand: in a command line, an address, a header.
var (
	secretName = regexp.MustCompile(`(?i)(passw|passphrase|secret|token|api[-_]?key|private[-_]?key|credential|cookie|authorization|bearer)`)
	secretText = regexp.MustCompile(`(?i)-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*-----|$)` +
		`|\b(?:sk|pk|rk|ghp|gho|ghs|github_pat|glpat|xox[abposr]|npm|hf|AKIA|ASIA|AIza)[-_]?[A-Za-z0-9_\-]{12,}` +
		`|\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+\.?[A-Za-z0-9_\-]*`)
	secretAfter = regexp.MustCompile(`(?i)((?:\b(?:bearer|basic)\s+)|(?:[a-z0-9_\-]*(?:passw(?:or)?d|passphrase|secret|token|api[-_]?key|authorization|credential)[a-z0-9_\-]*["']?(?:\s*[=:]\s*|\s+)["']?(?:(?:bearer|basic)\s+)?))([^\s"'&;|]+)`)
	userInfo    = regexp.MustCompile(`(://[^\s/:@]*:)[^\s/@]+@`)
)

func redactText(s string) string {
	s = secretText.ReplaceAllString(s, redacted)
	s = userInfo.ReplaceAllString(s, "${1}"+redacted+"@")
	return secretAfter.ReplaceAllString(s, "${1}"+redacted)
}

func redactValue(v any, depth int) any {
	if depth > maxDepth {
		return "[...]"
	}
	switch v := v.(type) {
	case string:
		// Clipped before, since a pattern over megabytes costs, and after, so that
		// no half of a secret is left at the edge.
		return clip(redactText(clip(v, 4*maxString)), maxString)
	case []any:
		for i := range v {
			v[i] = redactValue(v[i], depth+1)
			if i > 0 && isSecretFlag(v[i-1]) {
				v[i] = redacted
			}
		}
	case map[string]any:
		for name, member := range v {
			if secretName.MatchString(name) {
				v[name] = redacted
			} else {
				v[name] = redactValue(member, depth+1)
			}
		}
	}
	return v
}

// isSecretFlag reports whether an argument announces that the next one is a
// secret: --password.
func isSecretFlag(v any) bool {
	s, ok := v.(string)
	return ok && strings.HasPrefix(s, "-") && !strings.ContainsAny(s, "= ") && secretName.MatchString(s)
}

// clip shortens a text to n bytes of valid UTF-8 and says so.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
