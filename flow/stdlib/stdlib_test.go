package stdlib_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"lobstah/flow/host"
	"lobstah/flow/interp"
	"lobstah/flow/state"
	"lobstah/flow/stdlib"
	"lobstah/flow/syntax"
	"lobstah/flow/value"
)

// TestMain serves as an MCP server when the test binary is called by that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "mcp-server" {
		if err := mcpServer().Run(context.Background(), &mcp.StdioTransport{}); err != nil && !errors.Is(err, io.EOF) {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// world is an Env with the real handlers and a state of its own.
func world(t *testing.T, vars ...string) *interp.Env {
	t.Helper()
	dir := t.TempDir()
	all := map[string]string{"PATH": os.Getenv("PATH"), "HOME": dir}
	for _, v := range vars {
		name, text, _ := strings.Cut(v, "=")
		all[name] = text
	}
	h := host.Handlers(nil, nil, all)
	return &interp.Env{
		Handlers: h, Commands: interp.NewRegistry(stdlib.Commands()...), Mode: interp.Tool, Vars: all, Dir: dir, Stdout: new(bytes.Buffer), Stderr: new(bytes.Buffer),
		Store: state.Open(filepath.Join(dir, "state")), Cache: state.OpenCache(filepath.Join(dir, "cache")),
	}
}

// run runs a pipeline over items and returns the JSON of the result.
func run(t *testing.T, env *interp.Env, text string, items ...value.Value) (string, error) {
	t.Helper()
	p, err := syntax.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	res, err := interp.Run(t.Context(), env, p, interp.Options{Input: interp.Items(items...)})
	if err != nil {
		return "", err
	}
	out, err := interp.Collect(res.Output)
	return value.List(out...).JSON(), err
}

func parsed(t *testing.T, text string) []value.Value {
	t.Helper()
	v, err := value.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	items, _ := v.AsList()
	return items
}

func TestPureCommands(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, pipeline, want string }{
		{`[{"a":1},{"a":"1"},{"a":2}]`, "where a=1", `[{"a":1},{"a":"1"}]`},
		{`[{"a":{"b":[5]}}]`, "where a.b.length=1", `[{"a":{"b":[5]}}]`},
		{`[{"a":null},{},{"a":0}]`, "where a=null", `[{"a":null},{}]`},
		{`[[1,2],{"0":3},"s",null]`, "pick 0,length", `[{"0":1,"length":2},{"0":3},"s",null]`},
		{`[1,2,3]`, "head --n 1.5", `[1,2]`},
		{`[{"a":1},"s",null]`, "pick ,", `[{},"s",null]`},
		{`[1,"b","10",9,10,1.5,"B",-1]`, "sort", `[-1,1,1.5,"10",9,10,"B","b"]`}, // the order that JavaScript makes of keys which compare in circles
		{`["10",9,10,1.5,"B"]`, "sort --desc", `["B",10,9,"10",1.5]`},
		{`["bb","a"]`, "sort --key length", `["a","bb"]`},
		{`["x","yy","z"]`, "groupBy --key length | pick key,count", `[{"key":1,"count":2},{"key":2,"count":1}]`},
		{`["ab"]`, "where length=2", `[]`},
		{`[3,"b",null,10,"a"]`, "sort", `[3,10,"a","b",null]`},
		{`[{"k":2},{},{"k":10}]`, "sort --key k --desc", `[{},{"k":10},{"k":2}]`},
		{`[{"a":1,"b":2},{"b":2,"a":1},{"a":1,"b":2}]`, "dedupe", `[{"a":1,"b":2},{"b":2,"a":1}]`},
		{`[{"k":1},{"k":"1"},{"k":1},{}]`, "groupBy --key k | pick key,count", `[{"key":1,"count":2},{"key":"1","count":1},{"count":1}]`},
		{`[{"a":1}]`, "map x={{a}} 'y=<{{x}}>'", `[{"a":1,"x":"1","y":"<1>"}]`},
		{`[1]`, "map --wrap w", `[{"w":1}]`},
		{`[{"a":1,"b":[2]}]`, "jq '.b[0] + .a, .missing'", `[3,null]`},
		{`["ΣΑΣ",{"0":"😀"}]`, "template --text '{{. | lower}}' | head --n 1", `["σας"]`},
		{`["😀"]`, "template --text '{{0 | upper}} {{0}}{{1}}'", `["\ud83d 😀"]`},
		{`[1,2,3]`, "jq --slurp add", `[6]`},
		{`[{"z":1,"y":2}]`, "template --text '{{z}}-{{y | round 1}}'", `["1-2"]`},
	}
	for _, tt := range tests {
		if got, err := run(t, &interp.Env{Commands: interp.NewRegistry(stdlib.Commands()...)}, tt.pipeline, parsed(t, tt.in)...); err != nil || got != tt.want {
			t.Errorf("%s over %s: got %s, %v, want %s", tt.pipeline, tt.in, got, err, tt.want)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"where": "where requires an expression (e.g. field=value)", "where a": "Invalid where expression: a", "pick": "pick requires a comma-separated field list",
		"head --n x": "head --n must be a non-negative number", "groupBy": "groupBy requires --key", "map --wrap a --unwrap b": "map cannot use both --wrap and --unwrap",
		"jq": "jq requires a program (e.g. jq '.title')", "mcp.call --server x": "mcp.call requires --tool", "mcp.list": "mcp.list requires --server or --url, and not both",
		"exec": "exec requires a command", "exec ls": "run ls: not available in this environment", "llm.invoke x": "llm.invoke could not resolve a provider. Set --provider or LOBSTER_LLM_PROVIDER",
	}
	for pipeline, want := range tests {
		if _, err := run(t, &interp.Env{Commands: interp.NewRegistry(stdlib.Commands()...)}, pipeline, value.Int(1)); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", pipeline, err, want)
		}
	}
}

func needShell(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs a POSIX shell")
	}
}

func TestEndlessSourceIsStopped(t *testing.T) {
	t.Parallel()
	needShell(t)
	for _, source := range []string{"exec yes", "exec --shell 'while :; do echo y; sleep 0.01; done'"} {
		if got, err := run(t, world(t), source+" | head --n 2"); err != nil || got != `["y","y"]` {
			t.Errorf("%s: got %s, %v", source, got, err)
		}
	}
}

func TestFailureIsKnownBeforeTheNextStage(t *testing.T) {
	t.Parallel()
	needShell(t)
	env := world(t)
	_, err := run(t, env, "exec --shell 'echo a; echo bad >&2; exit 3' | where x=1 | exec touch done")
	if err == nil || err.Error() != "exec failed (3): bad" {
		t.Errorf("got %v, want the first failure", err)
	}
	if _, err := os.Stat(filepath.Join(env.Dir, "done")); err == nil {
		t.Error("the stage after the failure ran")
	}
}

func TestLateFailureStillFails(t *testing.T) {
	t.Parallel()
	needShell(t)
	_, err := run(t, world(t), "exec --shell 'yes | head -c 9000000; exit 4' | where length=0")
	if err == nil || !strings.HasPrefix(err.Error(), "exec failed (4)") {
		t.Errorf("got %v, want the failure after 9 MB of output", err)
	}
}

func TestOutputLimit(t *testing.T) {
	t.Parallel()
	needShell(t)
	_, err := run(t, world(t, "LOBSTER_MAX_OUTPUT_BYTES=1000"), "exec yes")
	if err == nil || err.Error() != "Process output exceeded 1000 bytes" {
		t.Errorf("got %v, want the limit", err)
	}
	_, err = run(t, world(t, "LOBSTER_MAX_OUTPUT_BYTES=x"), "exec true")
	if err == nil || err.Error() != "LOBSTER_MAX_OUTPUT_BYTES must be a positive safe integer (bytes)" {
		t.Errorf("got %v, want the limit refused", err)
	}
}

func TestCancelledProcessEnds(t *testing.T) {
	t.Parallel()
	needShell(t)
	cause := errors.New("stopped by the test")
	ctx, cancel := context.WithCancelCause(t.Context())
	timer := time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	defer timer.Stop()
	defer cancel(nil)
	p, _ := syntax.Parse("exec --shell 'sleep 60 & sleep 60'")
	_, err := interp.Run(ctx, world(t), p, interp.Options{})
	if !errors.Is(err, cause) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestTokensStayWithTheirHost(t *testing.T) {
	t.Parallel()
	refused := "refuses to send OPENCLAW_TOKEN/CLAWD_TOKEN to non-local --url; pass --token explicitly for remote endpoints"
	env := world(t, "OPENCLAW_URL=http://gateway.example", "OPENCLAW_TOKEN=s3cret")
	var sent []string
	env.HTTP = func(r *http.Request) (*http.Response, error) {
		sent = append(sent, r.URL.Host+" "+r.Header.Get("Authorization"))
		return nil, errors.New("nobody there")
	}
	for _, pipeline := range []string{"llm.invoke --provider openclaw --prompt P", "openclaw.invoke --tool t --action a"} {
		if _, err := run(t, env, pipeline); err == nil || !strings.HasSuffix(err.Error(), refused) {
			t.Errorf("%s: got %v, want the token kept", pipeline, err)
		}
	}
	if len(sent) > 0 {
		t.Fatalf("requests were sent: %v", sent)
	}
	env.Vars["LOBSTER_TOKEN_HOSTS"] = "other.example, gateway.example"
	if _, err := run(t, env, "openclaw.invoke --tool t --action a"); err == nil || err.Error() != "nobody there" || len(sent) != 1 || sent[0] != "gateway.example Bearer s3cret" {
		t.Errorf("got %v after %v, want the token sent to the host that is allowed", err, sent)
	}
}

func TestResponseLimit(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 5000)) }))
	defer server.Close()
	_, err := run(t, world(t, "OPENCLAW_URL="+server.URL, "LOBSTER_MAX_HTTP_RESPONSE_BYTES=4000"), "openclaw.invoke --tool t --action a")
	if err == nil || err.Error() != "HTTP response body exceeded 4000 bytes" {
		t.Errorf("got %v, want the limit", err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var reached bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	_, err := run(t, world(t, "OPENCLAW_URL="+server.URL, "OPENCLAW_TOKEN=x"), "openclaw.invoke --tool t --action a")
	if err == nil || !strings.HasPrefix(err.Error(), "openclaw.invoke failed (307)") || reached {
		t.Errorf("got %v, reached %t, want the redirect as the answer", err, reached)
	}
}

func TestOpenAIProvider(t *testing.T) {
	t.Parallel()
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, r.URL.Path+" "+r.Header.Get("Authorization")+" "+string(body))
		answer := `{\"n\":\"no\"}`
		if len(bodies) > 1 {
			answer = "```json\\n{\\\"n\\\":1}\\n```"
		}
		fmt.Fprintf(w, `{"id":"c1","model":"m","choices":[{"message":{"content":"%s"}}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}`, answer)
	}))
	defer server.Close()
	env := world(t, "OPENAI_BASE_URL="+server.URL+"/v1", "OPENAI_API_KEY=k")
	got, err := run(t, env, `llm.invoke --provider openai --model m --prompt Count --output-schema '{"type":"object","properties":{"n":{"type":"number"}}}' | pick output,usage,attemptCount`, value.String("one"))
	want := "[{\"output\":{\"format\":\"json\",\"text\":\"```json\\n{\\\"n\\\":1}\\n```\",\"data\":{\"n\":1}},\"usage\":{\"inputTokens\":5,\"outputTokens\":2,\"totalTokens\":7},\"attemptCount\":2}]"
	if err != nil || got != want {
		t.Fatalf("got %s, %v, want %s", got, err, want)
	}
	first := `/v1/chat/completions Bearer k {"model":"m","messages":[{"role":"user","content":"one\n\nCount"}],"response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object","properties":{"n":{"type":"number"}}}}}}`
	if len(bodies) != 2 || bodies[0] != first || !strings.Contains(bodies[1], "Your last answer did not fit the schema: /n must be number") {
		t.Errorf("got requests %q", bodies)
	}
}

func TestOpenAIFindsTheLocalRouter(t *testing.T) {
	t.Parallel()
	env := world(t)
	var asked []string
	env.HTTP = func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.Method+" "+r.URL.String())
		body := `{"choices":[{"message":{"content":"hi"}}]}`
		if r.URL.Port() == "17475" {
			return nil, errors.New("refused")
		}
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
	got, err := run(t, env, "llm.invoke --provider openai --model m hello | map --unwrap output | map --unwrap text")
	want := []string{"GET http://127.0.0.1:17475/v1/models", "GET http://127.0.0.1:19001/v1/models", "POST http://127.0.0.1:19001/v1/chat/completions"}
	if err != nil || got != `["hi"]` || strings.Join(asked, ",") != strings.Join(want, ",") {
		t.Errorf("got %s, %v after %v, want hi after %v", got, err, asked, want)
	}
}

// TestModelsWithoutProvider asks with nothing that names a provider, and some of it no model.
func TestModelsWithoutProvider(t *testing.T) {
	t.Parallel()
	const (
		router = `{"data":[{"id":"nomic","capabilities":["embedding"]},{"id":"lobstah-demo","demo":true},{"id":"cold"},{"id":"warm","loaded":true}]}`
		one    = `{"data":[{"id":"only"}]}`
		embeds = `{"data":[{"id":"text-embed-3"}]}`
	)
	tests := []struct {
		name, vars, local, elsewhere, want string // vars: NAME=value with blanks between; local, elsewhere: the models there, "" for nobody
	}{
		{"router here", "", router, "", `["warm"]`},
		{"router here with a key", "LOBSTAH_API_KEY=k1", router, "", `["warm"]`},
		{"nothing", "", "", "", "llm.invoke could not resolve a provider. Set --provider or LOBSTER_LLM_PROVIDER"},
		{"only embeds", "", embeds, "", "llm.invoke found no model that answers questions at 127.0.0.1:17475"},
		{"named address with one model", "OPENAI_BASE_URL=http://models.example/v1/", router, one, `["only"]`},
		{"named address with several", "OPENAI_BASE_URL=http://models.example/v1", router, router,
			"llm.invoke requires --model or LOBSTER_LLM_MODEL for provider=openai: 4 models are at models.example"},
		{"named address, model of the environment", "OPENAI_BASE_URL=http://models.example/v1 LOBSTER_LLM_MODEL=m", "", router, `["m"]`},
		{"named router", "LOBSTAH_ROUTER_URL=http://models.example/v1", "", router, `["warm"]`},
		{"nobody there", "OPENAI_BASE_URL=http://models.example/v1", router, "", "refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			env := world(t, strings.Fields(tt.vars)...)
			env.HTTP = func(r *http.Request) (*http.Response, error) {
				list := tt.local
				if r.URL.Host == "models.example" {
					list = tt.elsewhere
				} else if r.URL.Host != "127.0.0.1:17475" || r.Header.Get("Authorization") != bearer(env.Var("LOBSTAH_API_KEY")) {
					list = ""
				}
				if list == "" {
					return nil, errors.New("refused")
				}
				if r.Method == http.MethodPost { // says which model was asked
					body, _ := io.ReadAll(r.Body)
					asked, _ := value.Parse(string(body))
					list = `{"choices":[{"message":{"content":` + asked.Field("model").JSON() + `}}]}`
				}
				return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(list)), Request: r}, nil
			}
			got, err := run(t, env, "llm.invoke hello | map --unwrap output | map --unwrap text")
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func bearer(key string) string {
	if key == "" {
		return ""
	}
	return "Bearer " + key
}

// mcpServer has a tool that greets, one that lists, and one that fails.
func mcpServer() *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	type who struct {
		Name string `json:"name"`
	}
	type names struct {
		Names []string `json:"names"`
	}
	mcp.AddTool(server, &mcp.Tool{Name: "greet", Description: "Greets"}, func(_ context.Context, _ *mcp.CallToolRequest, w who) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "hello " + w.Name}}}, nil, nil
	})
	mcp.AddTool(server, &mcp.Tool{Name: "list", Description: "Lists"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, names, error) {
		return nil, names{[]string{"a", "b"}}, nil
	})
	mcp.AddTool(server, &mcp.Tool{Name: "fail", Description: "Fails"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return nil, nil, errors.New("out of rope")
	})
	return server
}

func TestMCP(t *testing.T) {
	t.Parallel()
	needShell(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "mcp-server")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return mcpServer() }, nil))
	t.Cleanup(web.Close)
	for name, at := range map[string]string{"child": "--server " + link, "http": "--url " + web.URL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tests := []struct{ pipeline, want string }{
				{"mcp.list " + at + " | pick name,description", `[{"name":"fail","description":"Fails"},{"name":"greet","description":"Greets"},{"name":"list","description":"Lists"}]`},
				{"mcp.call " + at + " --tool greet --args-json '{\"name\":\"pip\"}'", `["hello pip"]`},
				{"mcp.call " + at + " --tool list", `[{"names":["a","b"]}]`},
				{"mcp.call " + at + " --tool greet --item-key name --each", `["hello x","hello y"]`},
			}
			for _, tt := range tests {
				if got, err := run(t, world(t), tt.pipeline, value.String("x"), value.String("y")); err != nil || got != tt.want {
					t.Errorf("%s: got %s, %v, want %s", tt.pipeline, got, err, tt.want)
				}
			}
			missing := "mcp.call: the server has no tool gret; it has fail, greet, list"
			if _, err := run(t, world(t), "mcp.call "+at+" --tool gret"); err == nil || err.Error() != missing {
				t.Errorf("a tool that is not there: got %v, want %s", err, missing)
			}
			if _, err := run(t, world(t), "mcp.call "+at+" --tool fail"); err == nil || !strings.Contains(err.Error(), "out of rope") {
				t.Errorf("a failing tool: got %v", err)
			}
		})
	}
	for server, want := range map[string]string{
		"echo broken >&2; exit 7": "mcp.list: the server ended (7): broken",
		"echo hello; sleep 60":    "mcp.list: the server printed something else than messages of MCP: ",
	} {
		if _, err := run(t, world(t), "mcp.list --server '"+server+"'"); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", server, err, want)
		}
	}
}

// The lists that callers of the original compare.
func TestCommandsList(t *testing.T) {
	t.Parallel()
	env := world(t)
	got, err := run(t, env, "commands.list | jq '.name' | jq --slurp length")
	if err != nil || got != "[27]" {
		t.Errorf("got %s, %v, want the original's 27 commands", got, err)
	}
	got, err = run(t, env, "commands.list --all | where name=jq | pick name,sideEffects")
	if err != nil || got != `[{"name":"jq","sideEffects":[]}]` {
		t.Errorf("got %s, %v, want the additions too", got, err)
	}
}
