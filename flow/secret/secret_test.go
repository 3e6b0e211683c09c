package secret

import "testing"

func TestMask(t *testing.T) {
	t.Parallel()
	m := FromEnviron([]string{
		"OPENCLAW_TOKEN=abcdef-long", "DB_PASSWORD=abcdef", "HOME=/home/abcdef", "SSH_AUTH_SOCK=/tmp/agent.1", "API_KEY=x", "EDITOR=vi",
		"GH_PAT=ghp_123456", "STRIPE_KEY=sk_live_1", "LOBSTER_RUN_STATE_KEY=my-inbox", "KEYBOARD=dvorak",
	})
	tests := map[string]string{
		"failed with abcdef-long":                 "failed with [OPENCLAW_TOKEN]",
		"pass abcdef, key x, /tmp/agent.1":        "pass [DB_PASSWORD], key x, /tmp/agent.1",
		"Authorization: Bearer abc.def-ghi":       "Authorization: Bearer [credential]",
		"resume eyJwcm90b2NvbFZlcnNpb24iOjEsInYi": "resume [resume token]",
		"plain text, a bearer of news":            "plain text, a bearer of news",
		"ghp_123456 sk_live_1 my-inbox dvorak":    "[GH_PAT] [STRIPE_KEY] my-inbox dvorak",
		"dial postgres://joe:hunter2@db:5432/x":   "dial postgres://[credential]@db:5432/x",
		"GET http://host:80/a@b failed":           "GET http://host:80/a@b failed",
	}
	for in, want := range tests {
		if got := m.Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
	if got := (Mask{}).Text("abcdef"); got != "abcdef" {
		t.Errorf("zero mask changed plain text to %q", got)
	}
}
