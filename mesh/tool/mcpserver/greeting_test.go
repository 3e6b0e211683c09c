package mcpserver

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"lobstah/mesh/tool"
)

// A server that knows the handshake alone and leaves the rest unanswered, and one
// that has given the handshake up, both lend their tool.
func TestServersOfEitherAge(t *testing.T) {
	t.Parallel()
	const info = `"capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}`
	for age, answers := range map[string]map[string]string{
		"old": {"initialize": `"result":{"protocolVersion":"2025-06-18",` + info + `}`},
		"new": {"initialize": `"error":{"code":-32601,"message":"no such method"}`, "server/discover": `"result":{"supportedVersions":["2026-07-28"],` + info + `}`},
	} {
		t.Run(age, func(t *testing.T) {
			t.Parallel()
			answers["tools/call"] = `"result":{"content":[{"type":"text","text":"` + age + `"}]}`
			server := httptest.NewServer(answering(answers))
			t.Cleanup(server.Close)
			s := New(map[string]tool.MCP{"s": {URL: server.URL}}, nil)
			t.Cleanup(func() { s.Close() })
			got, err := call(t.Context(), s, Prefix+"s/any", `{}`)
			if err != nil || len(got.Content) != 1 || got.Content[0].Text != age {
				t.Errorf("got %+v, %v; want %q", got, err, age)
			}
		})
	}
}

// answering is a server that answers these methods and leaves the others open.
func answering(answers map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			ID     json.RawMessage
			Method string
		}
		if body, err := io.ReadAll(r.Body); err != nil || json.Unmarshal(body, &q) != nil || q.ID == nil {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		answer := answers[q.Method]
		if answer == "" {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,%s}`, q.ID, answer)
	}
}
