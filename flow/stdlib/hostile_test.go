package stdlib_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

// hostileMCP answers tools/list with one more page for ever, and tools/call with as many bytes as the tool's name says.
func hostileMCP(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			ID     json.RawMessage
			Method string
			Params struct{ Name string }
		}
		if body, err := io.ReadAll(r.Body); err != nil || json.Unmarshal(body, &q) != nil || q.ID == nil {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		result := `{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"hostile","version":"1"}}`
		switch q.Method {
		case "tools/list":
			result = `{"tools":[],"nextCursor":"more"}`
		case "tools/call":
			var n int
			if _, err := fmt.Sscan(q.Params.Name, &n); err != nil {
				n = 0
			}
			result = `{"content":[{"type":"text","text":"` + strings.Repeat("x", n) + `"}]}`
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, q.ID, result)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestHostileMCPServer(t *testing.T) {
	t.Parallel()
	url := hostileMCP(t)
	env := world(t, "LOBSTER_MAX_HTTP_RESPONSE_BYTES=100000")
	items := make([]value.Value, 50)
	tests := map[string]string{
		"mcp.list --url " + url:                     "more than 1000 pages",
		"mcp.call --tool 200000 --url " + url:       "HTTP response body exceeded 100000 bytes",
		"mcp.call --tool 50000 --each --url " + url: "holds more than 1048576 bytes",
	}
	for text, want := range tests {
		env.Budget = interp.NewBudget(1 << 20)
		if _, err := run(t, env, text, items...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	env.Budget = interp.NewBudget(1 << 20)
	if got, err := run(t, env, "mcp.call --tool 3 --url "+url); err != nil || got != `["xxx"]` {
		t.Errorf("an answer that fits: got %s, %v", got, err)
	}
}

// A server that knows nothing but the handshake, and does not answer what it does not know; and one that has given the handshake up.
func TestServersOfEitherAge(t *testing.T) {
	t.Parallel()
	const info = `"capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}`
	ages := map[string]map[string]string{
		"old": {"initialize": `"result":{"protocolVersion":"2025-06-18",` + info + `}`},
		"new": {"initialize": `"error":{"code":-32601,"message":"no such method"}`, "server/discover": `"result":{"supportedVersions":["2026-07-28"],` + info + `}`},
	}
	for age, answers := range ages {
		t.Run(age, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var q struct {
					ID     json.RawMessage
					Method string
				}
				if body, err := io.ReadAll(r.Body); err != nil || json.Unmarshal(body, &q) != nil || q.ID == nil {
					w.WriteHeader(http.StatusAccepted)
					return
				}
				answer := answers[q.Method]
				if q.Method == "tools/call" {
					answer = `"result":{"content":[{"type":"text","text":"` + age + `"}]}`
				}
				if answer == "" {
					<-r.Context().Done()
					return
				}
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,%s}`, q.ID, answer)
			}))
			t.Cleanup(server.Close)
			if got, err := run(t, world(t), "mcp.call --tool t --url "+server.URL); err != nil || got != `["`+age+`"]` {
				t.Errorf("got %s, %v, want %q", got, err, age)
			}
		})
	}
}

// Answers add up.
func TestHostileGateway(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"ok":true,"result":%q}`, strings.Repeat("x", 50000))
	}))
	t.Cleanup(server.Close)
	env := world(t)
	env.Budget = interp.NewBudget(1 << 20)
	if _, err := run(t, env, "openclaw.invoke --tool a --action b --each --url "+server.URL, make([]value.Value, 50)...); err == nil || !strings.Contains(err.Error(), "holds more than") {
		t.Errorf("got %v, want the budget", err)
	}
}

// A server may repeat the token that it got; what it says does not.
func TestServersCannotRepeatATokenInErrors(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no such user: "+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	for _, text := range []string{
		"openclaw.invoke --tool a --action b --token hunter2hunter2 --url " + server.URL, "llm.invoke --provider openclaw --token hunter2hunter2 hi",
		"mcp.list --token hunter2hunter2 --url " + server.URL,
	} {
		_, err := run(t, world(t, "OPENCLAW_URL="+server.URL), text)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want an error without the token", text, err)
		}
	}
}

// A file that never ends is not read to its end.
func TestEndlessTemplate(t *testing.T) {
	t.Parallel()
	needShell(t)
	if _, err := run(t, world(t), "template --file /dev/zero", value.Null); err == nil || !strings.Contains(err.Error(), "/dev/zero is larger than") {
		t.Errorf("got %v, want the limit", err)
	}
}
