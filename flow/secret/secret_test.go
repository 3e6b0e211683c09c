package secret

import (
	"fmt"
	"sync"
	"testing"
)

func TestMask(t *testing.T) {
	t.Parallel()
	m := FromEnviron([]string{
		"OPENCLAW_TOKEN=abcdef-long", "DB_PASSWORD=abcdef", "HOME=/home/abcdef", "SSH_AUTH_SOCK=/tmp/agent.1", "API_KEY=x", "EDITOR=vi",
		"GH_PAT=ghp_123456", "STRIPE_KEY=sk_live_1", "LOBSTER_RUN_STATE_KEY=my-inbox", "KEYBOARD=dvorak",
		"GIT_AUTHOR_NAME=Pip Lobster", "PROXY_AUTHORIZATION=Zm9vOmJhcg", "OAUTH2_ID=id-of-oauth", "NPM_AUTH=npm-auth-1",
	})
	tests := map[string]string{
		"failed with abcdef-long":                 "failed with [OPENCLAW_TOKEN]",
		"pass abcdef, key x, /tmp/agent.1":        "pass [DB_PASSWORD], key x, /tmp/agent.1",
		"Authorization: Bearer abc.def-ghi":       "Authorization: Bearer [credential]",
		"resume eyJwcm90b2NvbFZlcnNpb24iOjEsInYi": "resume [resume token]",
		"plain text, a bearer of news":            "plain text, a bearer of news",
		"ghp_123456 sk_live_1 my-inbox dvorak":    "[GH_PAT] [STRIPE_KEY] my-inbox dvorak",
		"by Pip Lobster, Zm9vOmJhcg id-of-oauth":  "by Pip Lobster, [PROXY_AUTHORIZATION] [OAUTH2_ID]",
		"dial postgres://joe:hunter2@db:5432/x":   "dial postgres://[credential]@db:5432/x",
		"GET http://host:80/a@b failed":           "GET http://host:80/a@b failed",
	}
	for in, want := range tests {
		if got := m.Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
	if got := new(Mask).Text("abcdef"); got != "abcdef" {
		t.Errorf("zero mask changed plain text to %q", got)
	}
}

func TestMaskLearns(t *testing.T) {
	t.Parallel()
	var m Mask
	if got := m.Text("argpass-1"); got != "argpass-1" {
		t.Fatalf("got %q before it was told", got)
	}
	var all sync.WaitGroup
	for range 4 { // branches run side by side
		all.Go(func() {
			m.Learn(map[string]string{"LOBSTER_ARG_PASSWORD": "argpass-1", "INNER_TOKEN": "argpass-1-and-more", "PLACE": "in the sea", "LOBSTER_ARG_KEY": "my-inbox"})
			m.Text("argpass-1")
		})
	}
	all.Wait()
	if got, want := m.Text("argpass-1-and-more argpass-1 in the sea my-inbox"), "[INNER_TOKEN] [LOBSTER_ARG_PASSWORD] in the sea my-inbox"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for i := range 3 * maxLearned {
		m.Learn(map[string]string{"TOKEN": fmt.Sprintf("token-%d", i)})
	}
	if len(m.known) != maxLearned {
		t.Errorf("it keeps %d values, want %d", len(m.known), maxLearned)
	}
}
