//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lobstah/internal/enginetest"
	"lobstah/key"
)

// A guest uses the models that it was lent, by a real engine behind the node, and
// nothing else, and that ends when it is revoked.
func TestGuestUsesLentModels(t *testing.T) {
	t.Parallel()
	engine := enginetest.LlamaServer(t, enginetest.Options{Alias: "tiny"})
	ports := freePorts(3)
	dir := t.TempDir()
	hub, guest := filepath.Join(dir, "hub"), filepath.Join(dir, "guest")
	must(t, hub, "init", "--name", "hub", "--listen", "--port", ports[0], "--proxy-port", ports[1], "--address", "127.0.0.1:"+ports[0])
	rewrite(t, filepath.Join(hub, "config.yaml"), "models: []", fmt.Sprintf("models: [{id: tiny, provider: %q}, {id: private, provider: %q}]", engine+"/v1", engine+"/v1"))
	startNode(t, hub)
	eventually(t, "the hub runs", patienceInTests, func() bool { return strings.Contains(say(t, hub, "status"), "listens") })
	line := strings.TrimPrefix(must(t, hub, "invite", "--guest", "--model", "tiny"), "clawmatrix join ")
	must(t, guest, "join", strings.TrimSpace(line), "--name", "ann", "--proxy-port", ports[2])
	startNode(t, guest)
	base := "http://127.0.0.1:" + ports[2]
	eventually(t, "the guest sees the model", patienceInTests, func() bool {
		status, text := fetch(t, http.MethodGet, base+"/v1/models", "")
		return status == http.StatusOK && strings.Contains(text, `"tiny"`)
	})
	if _, text := fetch(t, http.MethodGet, base+"/v1/models", ""); strings.Contains(text, "private") {
		t.Errorf("the list shows what is not lent: %s", text)
	}
	const question = `{"model":"%s","max_tokens":8,"messages":[{"role":"user","content":"hello"}]}`
	status, text := fetch(t, http.MethodPost, base+"/v1/chat/completions", fmt.Sprintf(question, "tiny"))
	var answer struct {
		Choices []struct {
			Message struct{ Content string }
		}
	}
	if json.Unmarshal([]byte(text), &answer) != nil || status != http.StatusOK || len(answer.Choices) != 1 || answer.Choices[0].Message.Content == "" {
		t.Errorf("asking the lent model: %d %s", status, text)
	}
	status, text = fetch(t, http.MethodPost, base+"/v1/chat/completions", strings.Replace(fmt.Sprintf(question, "tiny"), `"messages"`, `"stream":true,"messages"`, 1))
	if status != http.StatusOK || !strings.HasSuffix(strings.TrimSpace(text), "data: [DONE]") {
		t.Errorf("streaming: %d %s", status, text)
	}
	for what, refused := range map[string][3]string{
		"another model":  {http.MethodPost, "/v1/chat/completions", fmt.Sprintf(question, "private")},
		"two models":     {http.MethodPost, "/v1/chat/completions", `{"model":"private","Model":"tiny"}`},
		"no model":       {http.MethodPost, "/v1/chat/completions", `{}`},
		"tools":          {http.MethodPost, "/mesh/v1/tools/exec", `{}`},
		"agents":         {http.MethodGet, "/mesh/v1/agents/", ""},
		"the secret":     {http.MethodPost, secretPath, `{}`},
		"something else": {http.MethodGet, "/v1/files", ""},
	} {
		if status, text := fetch(t, refused[0], base+refused[1], refused[2]); status < 400 {
			t.Errorf("%s: %d %s", what, status, text)
		}
	}
	if text, err := os.ReadFile(filepath.Join(guest, "guest.json")); err != nil || strings.Contains(string(text), secretIn(t, hub)) {
		t.Errorf("the guest has the secret, or %v", err)
	}
	must(t, hub, "revoke", "ann")
	if status, text := fetch(t, http.MethodPost, base+"/v1/chat/completions", fmt.Sprintf(question, "tiny")); status < 400 {
		t.Errorf("after it was revoked: %d %s", status, text)
	}
}

// What curl sends without being told a type is JSON to the host, as it is to members.
func TestGuestMayLeaveTheTypeOut(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"application/x-www-form-urlencoded": "application/json", "application/json": "application/json", "": "", "multipart/form-data; boundary=x": "multipart/form-data; boundary=x",
	} {
		got := "nothing was sent"
		s := stay{Host: key.FromSeed([32]byte{1}).ID(), Credential: "c"}
		h := s.proxy(tripper(func(r *http.Request) (*http.Response, error) {
			got = r.Header.Get("Content-Type")
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
		}), slog.New(slog.DiscardHandler))
		r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(`{"model":"tiny"}`))
		r.Header.Set("Content-Type", said)
		h.ServeHTTP(httptest.NewRecorder(), r)
		if got != want {
			t.Errorf("%q became %q; want %q", said, got, want)
		}
	}
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// secretIn reads the secret of a configuration that init wrote.
func secretIn(t *testing.T, home string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(home, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), `secret: "`)
	secret, _, _ := strings.Cut(rest, `"`)
	if !ok || len(secret) != 64 {
		t.Fatalf("no secret in\n%s", text)
	}
	return secret
}

func fetch(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}
