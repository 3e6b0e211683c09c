package grid

import (
	"encoding/json"
	"strings"
	"testing"

	"lobstah/key"
)

func TestModelServesItsLatestTag(t *testing.T) {
	m := Model{ID: "slow:latest", Digest: "sha256:" + strings.Repeat("ab", 32)}
	for text, want := range map[string]bool{
		"slow": true, "slow:latest": true, "slow@sha256:abababababab": true, "slow:8b": false, "slo": false, "slow@sha256:cdcdcdcdcdcd": false,
	} {
		if got := m.Serves(text); got != want {
			t.Errorf("Serves(%q) = %v; want %v", text, got, want)
		}
	}
}

func TestModelServes(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab", 32)
	m := Model{ID: "llama3.1:8b", Digest: digest}
	for text, want := range map[string]bool{
		"llama3.1:8b":                       true,
		"llama3.1:8b@" + digest:             true,
		"llama3.1:8b@sha256:abababababab":   true,
		"llama3.1:8b@sha256:ab":             false, // too short to mean one model
		"llama3.1:8b@sha256:cdcdcdcdcdcdcd": false,
		"llama3.1":                          false,
		"other@" + digest:                   false,
		"":                                  false,
		"@" + digest:                        false,
	} {
		if got := m.Serves(text); got != want {
			t.Errorf("Serves(%q) = %v; want %v", text, got, want)
		}
	}
}

// The bodies are what recorded workers of the original answered, and what a
// hostile one might.
func TestCapacityValidate(t *testing.T) {
	from := key.FromSeed([32]byte{1}).ID()
	pub := `"pubkey":"` + from.String() + `"`
	for body, ok := range map[string]bool{
		`{` + pub + `,"models":["m"],"tier":"batch","concurrency":1,"queueDepth":0}`: true,
		`{` + pub + `,"models":[]}`:                    true,
		`{` + pub + `}`:                                false,
		`{` + pub + `,"models":[""]}`:                  false,
		`{` + pub + `,"models":["a\nb"]}`:              false,
		`{` + pub + `,"models":["m"],"tier":"gold"}`:   false,
		`{` + pub + `,"models":["m"],"queueDepth":-1}`: false,
		`{"models":["m"]}`:                             false,
	} {
		var c Capacity
		err := json.Unmarshal([]byte(body), &c)
		if err == nil {
			err = c.Validate(from)
		}
		if (err == nil) != ok {
			t.Errorf("%s: %v; want ok=%v", body, err, ok)
		}
	}
}
