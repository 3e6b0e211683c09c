package stdlib

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

func mcpParams(more ...interp.Param) []interp.Param {
	return append([]interp.Param{
		stringParam("server", "Shell text that starts a server on stdin and stdout"), stringParam("url", "Address of a server (streamable HTTP)"),
		stringParam("token", "Bearer token for --url"),
	}, more...)
}

func mcpListCommand() interp.Command {
	return interp.Command{
		Name:        "mcp.list",
		Description: "List the tools of an MCP server",
		Help:        "mcp.list --server 'npx -y @modelcontextprotocol/server-filesystem .' | pick name,description\nmcp.list --url http://127.0.0.1:8080/mcp",
		Params:      mcpParams(),
		Required:    []string{},
		SideEffects: []string{"calls_mcp_server"},
		Extra:       true,
		Run:         mcpList,
	}
}

func mcpCallCommand() interp.Command {
	return interp.Command{
		Name:        "mcp.call",
		Description: "Call a tool of an MCP server",
		Help: "mcp.call --server 'npx -y @modelcontextprotocol/server-filesystem .' --tool read_file --args-json '{\"path\":\"a.txt\"}'\n" +
			"... | mcp.call --url http://127.0.0.1:8080/mcp --tool notify --each --item-key message\n\n" +
			"Yields the structured result, a list item by item, or else the texts of the result.",
		Params: mcpParams(stringParam("tool", "Name of the tool"), stringParam("args-json", "Arguments as a JSON object"),
			boolParam("each", "Call the tool once for each item"), stringParam("item-key", "Argument that takes the item")),
		Required:    []string{"tool"},
		SideEffects: []string{"calls_mcp_server"},
		Extra:       true,
		Run:         mcpCall,
	}
}

func mcpList(ctx context.Context, call *interp.Call) (interp.Output, error) {
	if err := interp.Drain(call.Input); err != nil {
		return interp.Output{}, err
	}
	var tools []value.Value
	err := withMCP(ctx, call, func(s *mcp.ClientSession) (err error) {
		tools, err = listTools(ctx, call, s)
		return err
	})
	return interp.Emit(tools...), err
}

// maxToolPages bounds the list of a server that always has one page more.
const maxToolPages = 1000

func listTools(ctx context.Context, call *interp.Call, s *mcp.ClientSession) ([]value.Value, error) {
	var tools []value.Value
	var next mcp.ListToolsParams
	for range maxToolPages {
		page, err := s.ListTools(ctx, &next)
		if err != nil {
			return nil, err
		}
		for _, tool := range page.Tools {
			v, err := throughJSON(tool)
			if err != nil {
				return nil, err
			}
			v = pickFields(v, []string{"name", "title", "description", "inputSchema", "outputSchema"})
			if err := call.Budget.Take(v.Size()); err != nil {
				return nil, err
			}
			tools = append(tools, v)
		}
		if next.Cursor = page.NextCursor; next.Cursor == "" {
			return tools, nil
		}
	}
	return nil, fmt.Errorf("the server's list of tools has more than %d pages", maxToolPages)
}

// throughJSON turns a Go value into the Value of its JSON.
func throughJSON(x any) (value.Value, error) {
	doc, err := json.Marshal(x)
	if err != nil {
		return value.Undefined, err
	}
	return value.Parse(string(doc))
}

func mcpCall(ctx context.Context, call *interp.Call) (interp.Output, error) {
	tool, args, err := mcpArguments(call)
	if err != nil {
		return interp.Output{}, err
	}
	items, err := call.Collect(call.Input)
	if err != nil {
		return interp.Output{}, err
	}
	calls := []value.Value{value.FromObject(args)}
	if call.Args.Truthy("each") {
		key := first(trimmedFlag(call, "item-key"), "item")
		calls = calls[:0]
		for _, item := range items {
			calls = append(calls, value.FromObject(args.With(key, item)))
		}
	}
	var out []value.Value
	err = withMCP(ctx, call, func(s *mcp.ClientSession) error {
		for _, a := range calls {
			call.MarkDispatched()
			results, err := callTool(ctx, s, tool, a)
			if err != nil {
				return cmp.Or(missingTool(ctx, call, s, tool), err)
			}
			if err := call.Budget.Take(value.List(results...).Size()); err != nil {
				return err
			}
			out = append(out, results...)
		}
		return nil
	})
	return interp.Emit(out...), err
}

// missingTool says which tools the server has if the one that was called is none of them. Servers tell it in their own words, if at all.
func missingTool(ctx context.Context, call *interp.Call, s *mcp.ClientSession, tool string) error {
	tools, err := listTools(ctx, call, s)
	if err != nil || len(tools) == 0 {
		return nil // what the call itself said counts
	}
	var names []string
	for _, t := range tools {
		names = append(names, value.Text(t.Field("name")))
	}
	if slices.Contains(names, tool) {
		return nil
	}
	return fmt.Errorf("the server has no tool %s; it has %s", tool, clip(strings.Join(names, ", "), quotedUnits))
}

func mcpArguments(call *interp.Call) (string, *value.Object, error) {
	tool := trimmedFlag(call, "tool")
	if tool == "" {
		return "", nil, fault("mcp.call requires --tool")
	}
	text := first(trimmedFlag(call, "args-json"), "{}")
	v, err := value.Parse(text)
	if err != nil {
		return "", nil, fmt.Errorf("mcp.call --args-json must be valid JSON: %w", err)
	}
	args, ok := v.AsObject()
	if !ok {
		return "", nil, fault("mcp.call --args-json must be a JSON object")
	}
	return tool, args, nil
}

func callTool(ctx context.Context, s *mcp.ClientSession, tool string, args value.Value) ([]value.Value, error) {
	res, err := s.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: json.RawMessage(args.JSON())})
	if err != nil {
		return nil, err
	}
	texts, err := contents(res.Content)
	if err != nil {
		return nil, err
	}
	if res.IsError {
		return nil, fmt.Errorf("tool error: %s", first(clip(strings.Join(plainAll(texts), "\n"), quotedUnits), "the tool failed and did not say why"))
	}
	if res.StructuredContent == nil {
		return texts, nil
	}
	v, err := throughJSON(res.StructuredContent)
	if list, isList := v.AsList(); isList {
		return list, err
	}
	return []value.Value{v}, err
}

// contents returns the texts as strings and everything else as the object that the protocol has for it.
func contents(parts []mcp.Content) ([]value.Value, error) {
	var out []value.Value
	for _, part := range parts {
		if text, ok := part.(*mcp.TextContent); ok {
			out = append(out, value.String(value.Clean(text.Text)))
			continue
		}
		v, err := throughJSON(part)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func plainAll(vs []value.Value) []string {
	var out []string
	for _, v := range vs {
		out = append(out, v.Plain())
	}
	return out
}

// greetings are the protocol versions that servers are addressed in. The one with a handshake comes first: every server knows it, while those
// that were written before there was another may leave a greeting that they do not know without an answer.
var greetings = []string{"2025-11-25", "2026-07-28"}

// withMCP connects to the server that the flags name, and does something with it.
func withMCP(ctx context.Context, call *interp.Call, do func(*mcp.ClientSession) error) error {
	server, url := trimmedFlag(call, "server"), trimmedFlag(call, "url")
	if (server == "") == (url == "") {
		return fmt.Errorf("%s requires --server or --url, and not both", call.Name)
	}
	var err error
	for _, version := range greetings {
		var refused bool
		if refused, err = visitMCP(ctx, call, server, url, version, do); !refused {
			break
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// visitMCP does something with a server. It reports whether the server refused the version.
func visitMCP(ctx context.Context, call *interp.Call, server, url, version string, do func(*mcp.ClientSession) error) (refused bool, err error) {
	transport, closing, err := mcpTransport(ctx, call, server, url)
	if err != nil {
		return false, err
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "lobster", Version: "1"}, nil)
	session, err := client.Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err == nil {
		err = errors.Join(do(session), ignoreClosed(session.Close()))
		if ended := closing(); err != nil {
			err = fmt.Errorf("%s: %w", call.Name, errors.Join(err, ended))
		}
		return false, err
	}
	_, refused = errors.AsType[*jsonrpc.Error](err)
	if _, noise := errors.AsType[*json.SyntaxError](err); noise {
		err = fmt.Errorf("the server printed something else than messages of MCP: %w", err)
	}
	if ended := closing(); ended != nil { // that is why nobody answered
		err = ended
	}
	return refused, fmt.Errorf("%s: %w", call.Name, err)
}
