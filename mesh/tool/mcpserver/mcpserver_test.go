package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"lobstah/mesh/tool"
	"lobstah/mesh/tool/tooltest"
)

// TestMain lets the test's own program be an MCP server, so that a real child
// speaks on its standard streams.
func TestMain(m *testing.M) {
	if os.Getenv("ACT_AS_MCP_SERVER") != "" {
		if err := serverOf(nil).Run(context.Background(), &mcp.StdioTransport{}); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

type adding struct {
	A int `json:"a"`
	B int `json:"b"`
}

// serverOf makes a server. Its tool hang marks that it has begun and waits for its
// end, or for stop.
func serverOf(stop <-chan struct{}) *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "add", Description: "Add"}, func(_ context.Context, _ *mcp.CallToolRequest, in adding) (*mcp.CallToolResult, map[string]int, error) {
		return nil, map[string]int{"sum": in.A + in.B}, nil
	})
	mcp.AddTool(s, &mcp.Tool{Name: "look"}, func(_ context.Context, _ *mcp.CallToolRequest, in struct {
		Name string `json:"name"`
	}) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: os.Getenv(in.Name)}, &mcp.ImageContent{Data: []byte("png"), MIMEType: "image/png"}}}, nil, nil
	})
	mcp.AddTool(s, &mcp.Tool{Name: "fail"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return nil, nil, errors.New("no luck")
	})
	mcp.AddTool(s, &mcp.Tool{Name: "pid"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: strconv.Itoa(os.Getpid())}}}, nil, nil
	})
	mcp.AddTool(s, &mcp.Tool{Name: "hang"}, func(ctx context.Context, _ *mcp.CallToolRequest, in struct {
		Mark string `json:"mark"`
	}) (*mcp.CallToolResult, any, error) {
		err := os.WriteFile(in.Mark, nil, 0o600)
		select {
		case <-ctx.Done():
		case <-stop:
		}
		return nil, nil, errors.Join(err, ctx.Err())
	})
	return s
}

// servers are one at an address, one that is a program, and two that are broken.
func servers(t *testing.T) *Servers {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return serverOf(stop) }, nil)
	remote := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer hunter2" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	s := New(map[string]tool.MCP{
		"program": {Command: []string{own}, Env: map[string]string{"ACT_AS_MCP_SERVER": "1", "GIVEN": "yes"}},
		"remote":  {URL: remote.URL, TokenFile: token},
		"missing": {Command: []string{"/nonexistent"}},
		"refused": {URL: remote.URL},
	}, []string{"KEPT=also"})
	t.Cleanup(func() {
		close(stop)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		remote.CloseClientConnections()
		remote.Close()
	})
	return s
}

func call(ctx context.Context, s *Servers, name, args string) (*tool.Result, error) {
	return s.Call(ctx, &tool.Call{Tool: name, Args: json.RawMessage(args), Grant: tool.Grant{Timeout: time.Minute}}, nil)
}

func TestServers(t *testing.T) {
	t.Parallel()
	s := servers(t)
	infos, err := s.Tools(t.Context())
	if err == nil || !strings.Contains(err.Error(), "missing") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("the broken servers are not named: %v", err)
	}
	if len(infos) != 10 {
		t.Errorf("%d tools: %v", len(infos), infos)
	}
	for _, server := range []string{"program", "remote"} {
		prefix := Prefix + server + "/"
		if has, err := s.Has(t.Context(), prefix+"add"); !has || err != nil {
			t.Errorf("%sadd: %t, %v", prefix, has, err)
		}
		if r, err := call(t.Context(), s, prefix+"add", `{"a":2,"b":3}`); err != nil || string(r.Details) != `{"sum":5}` || r.IsError {
			t.Errorf("%sadd: %+v, %v", prefix, r, err)
		}
		if r, err := call(t.Context(), s, prefix+"fail", `{}`); err != nil || !r.IsError || !strings.Contains(r.String(), "no luck") {
			t.Errorf("%sfail: %+v, %v", prefix, r, err)
		}
		mark := filepath.Join(t.TempDir(), "begun")
		ctx, left := leave(t, mark)
		if _, err := call(ctx, s, prefix+"hang", fmt.Sprintf(`{"mark":%q}`, mark)); !errors.Is(err, left) {
			t.Errorf("%shang: %v", prefix, err)
		}
	}
	for _, name := range []string{"add", "mcp:add", "mcp:none/add", "mcp:program/none", "program/add"} {
		if has, err := s.Has(t.Context(), name); has || err != nil {
			t.Errorf("%s: %t, %v", name, has, err)
		}
	}
	if has, err := s.Has(t.Context(), "mcp:missing/x"); has || err == nil {
		t.Errorf("a server that cannot be started: %t, %v", has, err)
	}
}

// leave ends a context when the file is there, and tells the cause.
func leave(t *testing.T, mark string) (context.Context, error) {
	left := errors.New("the caller left")
	ctx, cancel := context.WithCancelCause(t.Context())
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(mark); err == nil {
				cancel(left)
			}
			time.Sleep(time.Millisecond)
		}
	})
	t.Cleanup(func() { cancel(nil); waiting.Wait() })
	return ctx, left
}

// A program sees what its configuration says and no more.
func TestEnvironmentAndImages(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "hunter2")
	s := servers(t)
	for name, want := range map[string]string{"GIVEN": "yes", "KEPT": "also", "OPENAI_API_KEY": ""} {
		r, err := call(t.Context(), s, "mcp:program/look", fmt.Sprintf(`{"name":%q}`, name))
		if err != nil || r.String() != want {
			t.Fatalf("%s: %+v, %v", name, r, err)
		}
		if image := r.Content[1]; image.Type != "image" || image.MIMEType != "image/png" || image.Data != "cG5n" {
			t.Errorf("the image became %+v", image)
		}
	}
}

// A server that died is started again; many first calls start one; Close ends it.
func TestLifeOfAProgram(t *testing.T) {
	t.Parallel()
	s := servers(t)
	pid := func() int {
		r, err := call(t.Context(), s, "mcp:program/pid", `{}`)
		if err != nil {
			t.Error(err)
			return 0
		}
		n, _ := strconv.Atoi(r.String())
		return n
	}
	var mu sync.Mutex
	seen := map[int]bool{}
	var calls sync.WaitGroup
	for range 10 {
		calls.Go(func() {
			n := pid()
			mu.Lock()
			defer mu.Unlock()
			seen[n] = true
		})
	}
	calls.Wait()
	first := pid()
	if len(seen) != 1 || !seen[first] {
		t.Fatalf("programs %v, then %d", seen, first)
	}
	process, err := os.FindProcess(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.servers["program"].ended
	second := pid()
	if second == first || second == 0 {
		t.Errorf("after its end: %d, before %d", second, first)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ps", "-p", strconv.Itoa(second), "-o", "stat=").Output(); err == nil && !strings.HasPrefix(string(out), "Z") {
		t.Errorf("the program lives on: %s", out)
	}
	if _, err := call(t.Context(), s, "mcp:program/pid", `{}`); err == nil {
		t.Error("a closed server answered")
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	all := servers(t)
	for _, broken := range []string{"missing", "refused"} {
		delete(all.servers, broken)
	}
	for name := range all.servers {
		tooltest.Backend(t, all, tool.Call{Tool: Prefix + name + "/add", Args: json.RawMessage(`{"a":1,"b":2}`), Grant: tool.Grant{Timeout: time.Minute}})
	}
}
