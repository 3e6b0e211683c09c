package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"lobstah/key"
	"lobstah/mesh/tool"
	"lobstah/mesh/tool/tooltest"
)

// plugin is a bridge as docs/clawmatrix-bridge.md describes it.
func plugin(t *testing.T, invoke http.HandlerFunc) (*Bridge, string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /bridge/tools", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"ok":true,"tools":[{"name":"web_search","description":"Search","parameters":{"type":"object"},"readOnly":true},{"name":"browser"}]}`))
	})
	mux.HandleFunc("POST /bridge/invoke", invoke)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer bridge-token" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("bridge-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := New(tool.Gateway{URL: server.URL + "/bridge/", TokenFile: file})
	if err != nil {
		t.Fatal(err)
	}
	return b, file
}

func call(ctx context.Context, b *Bridge) (*tool.Result, error) {
	return b.Call(ctx, &tool.Call{
		ID: "call-1", Tool: "web_search", Args: json.RawMessage(`{"query":"x"}`), Key: "k",
		Caller: tool.Caller{Key: key.ID{1}, Name: "home-01", Verified: true}, Grant: tool.Grant{Timeout: time.Minute},
	}, nil)
}

func TestBridge(t *testing.T) {
	t.Parallel()
	b, file := plugin(t, func(w http.ResponseWriter, r *http.Request) {
		var got map[string]any
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		caller, _ := got["caller"].(map[string]any)
		if got["tool"] != "web_search" || got["call"] != "call-1" || got["idempotencyKey"] != "k" || caller["node"] != "home-01" || caller["verified"] != true || caller["key"] != (key.ID{1}).String() {
			t.Errorf("asked %v", got)
		}
		w.Write([]byte(`{"ok":true,"result":{"content":[{"type":"text","text":"found"}],"details":{"n":1}}}`))
	})
	tools, err := b.Tools(t.Context())
	if err != nil || len(tools) != 2 || tools[0].Name != "web_search" || tools[0].ReadOnly {
		t.Fatalf("%+v, %v", tools, err)
	}
	if has, err := b.Has(t.Context(), "nosuch"); has || err != nil {
		t.Error(has, err)
	}
	r, err := call(t.Context(), b)
	if err != nil || r.String() != "found" || string(r.Details) != `{"n":1}` {
		t.Errorf("%+v, %v", r, err)
	}
	if err := os.WriteFile(file, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := call(t.Context(), b); err == nil || !strings.Contains(err.Error(), "refuses the token") || strings.Contains(err.Error(), "another") {
		t.Errorf("a wrong token: %v", err)
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(file, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := call(t.Context(), b); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("a token that others can read: %v", err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := call(t.Context(), b); err == nil || !strings.Contains(err.Error(), "plugin writes it") {
		t.Errorf("no token: %v", err)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status       int
		body         string
		code, reason string
	}{
		{403, `{"ok":false,"error":{"code":"tool_denied","message":"not shared"}}`, tool.CodeDenied, "not shared"},
		{403, `{"ok":false,"error":"tool not shared: x"}`, tool.CodeFailed, "tool not shared"}, // as the first plugins answered
		{500, `{"ok":false,"error":{"code":"no code of ours","message":"broken"}}`, tool.CodeFailed, "broken"},
		{200, `{"ok":false}`, tool.CodeFailed, "did not say why"}, {200, `{"ok":true}`, tool.CodeFailed, "did not say why"},
		{502, `<html>`, "", "no JSON"}, {302, ``, "", "no JSON"}, // not for callers
	} {
		b, _ := plugin(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			w.Write([]byte(c.body))
		})
		_, err := call(t.Context(), b)
		code := ""
		if e, ok := errors.AsType[*tool.Error](err); ok {
			code = e.Code
		}
		if err == nil || code != c.code || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%d %s: %v; want %s, %q", c.status, c.body, err, c.code, c.reason)
		}
	}
}

// The end of a call is the end of its request, which the plugin sees.
func TestCallEnds(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan struct{})
	b, _ := plugin(t, func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil { // the server looks for the end only after the body
			t.Error(err)
		}
		close(began)
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if _, err := call(ctx, b); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-ended
}

func TestBridgesAreLocal(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"https://127.0.0.1:1", "http://example.com", "http://192.168.1.1/", "http://a@127.0.0.1/", "", "127.0.0.1:1"} {
		if _, err := New(tool.Gateway{URL: url, TokenFile: "x"}); err == nil {
			t.Errorf("%q was taken", url)
		}
	}
}

func FuzzFailure(f *testing.F) {
	f.Add([]byte(`{"code":"a","message":"b"}`))
	f.Add([]byte(`"text"`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var one *failure
		if json.Unmarshal(data, &one) == nil && one.asError("x").Error() == "" {
			t.Errorf("%q became nothing", data)
		}
	})
}

func TestSuite(t *testing.T) {
	t.Parallel()
	b, _ := plugin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"ok":true,"result":{"content":[]}}`))
	})
	tooltest.Backend(t, b, tool.Call{Tool: "web_search", Args: json.RawMessage("{}"), Grant: tool.Grant{Timeout: time.Minute}})
}
