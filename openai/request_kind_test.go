package openai_test

import (
	"strings"
	"testing"

	"lobstah/openai"
)

func TestParseRequestSaysWhatIsNoObject(t *testing.T) {
	t.Parallel()
	for body, says := range map[string]string{
		``:                `unexpected end of JSON input`,
		`  `:              `unexpected end of JSON input`,
		`null`:            `another kind of value`,
		`[]`:              `another kind of value`,
		`"{}"`:            `another kind of value`,
		`{"model":"m"`:    `unexpected end of JSON input`,
		`{"model":"m"} x`: `at byte 15`,
	} {
		if _, err := openai.ParseRequest([]byte(body)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("ParseRequest(%q): %v; want %q", body, err, says)
		}
	}
}
