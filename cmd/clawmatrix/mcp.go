package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"lobstah/internal/cli"
	"lobstah/mesh/tool"
)

type mcpCommand struct {
	HTTP string `name:"http" placeholder:"HOST:PORT" help:"Serve over HTTP at /mcp instead, to programs that know the token in the home's api.token."`
}

// Help is printed by --help.
func (mcpCommand) Help() string {
	return `Serves the mesh to an agent program by the Model Context Protocol: who is there,
hand-offs and messages to agents, and the tools of other nodes. It speaks for this
machine's node, which has to run, and may what that node may.

Examples:
  claude mcp add clawmatrix -- clawmatrix mcp
  clawmatrix mcp --http 127.0.0.1:19003`
}

func (c *mcpCommand) Run(ctx context.Context, a *app) error {
	if _, _, err := a.running(); err != nil {
		return err
	}
	server := a.mcpServer()
	if c.HTTP != "" {
		return a.serveMCP(ctx, server, c.HTTP)
	}
	err := server.Run(ctx, &mcp.IOTransport{Reader: io.NopCloser(a.In), Writer: nopCloser{a.Out}, MaxLineLength: tool.MaxRequest})
	if errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) {
		return nil // the program that started it is done
	}
	return err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// serveMCP serves over HTTP until ctx ends.
func (a *app) serveMCP(ctx context.Context, server *mcp.Server, address string) error {
	host, _, err := net.SplitHostPort(address)
	if addr := net.ParseIP(host); err != nil || host != "localhost" && (addr == nil || !addr.IsLoopback()) {
		return cli.Usagef("--http %s: want a port of this machine, such as 127.0.0.1:19003", address)
	}
	path := filepath.Join(a.home.Dir, "api.token")
	token, err := localToken(path)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", address, err)
	}
	mux := http.NewServeMux()
	mux.Handle("/mcp", mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{
		MaxRequestBodyBytes: tool.MaxRequest, SessionTimeout: idlePatience,
	}))
	a.note("MCP at http://%s/mcp, with Authorization: Bearer and the content of %s", l.Addr(), path)
	return serveUntil(ctx, slog.New(slog.DiscardHandler), map[net.Listener]http.Handler{l: tool.RequireToken(token, mux)})
}

// mcpServer has the seven tools of the original, with its names and parameters.
func (a *app) mcpServer() *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "clawmatrix", Title: "clawmatrix mesh", Version: version()}, nil)
	addTool(server, "cluster_peers", "List the nodes of the mesh: how each is reached, and its agents, models and tools.", true, a.mcpPeers)
	addTool(server, "cluster_handoff", "Hand a task to an agent on another node and wait for its answer. When the agent asks something, the result says so; call again with taskId and answer.", false, a.mcpHandoff)
	addTool(server, "cluster_send", "Send a one-way message to an agent on another node.", false, a.mcpSend)
	addTool(server, "cluster_exec", "Run a shell command on another node, as far as its owner allows.", false, a.mcpExec)
	addTool(server, "cluster_read", "Read a file on another node, as far as its owner allows.", true, a.mcpRead)
	addTool(server, "cluster_write", "Write a file on another node, as far as its owner allows.", false, a.mcpWrite)
	addTool(server, "cluster_tool", "Call any tool of another node: exec, read, write, edit, list, web_fetch and those of its gateway. Without a tool, list what it lends to this node.", false, a.mcpTool)
	return server
}

// addTool adds a tool whose answer is a text. An error is told with its hints,
// so that a model knows what a person could do about it.
func addTool[In any](server *mcp.Server, name, description string, readOnly bool, do func(ctx context.Context, in In, say func(text string)) (string, error)) {
	tool := &mcp.Tool{Name: name, Description: description, Annotations: &mcp.ToolAnnotations{ReadOnlyHint: readOnly}}
	mcp.AddTool(server, tool, func(ctx context.Context, r *mcp.CallToolRequest, in In) (*mcp.CallToolResult, any, error) {
		said := 0
		text, err := do(ctx, in, func(text string) {
			if token := r.Params.GetProgressToken(); token != nil {
				said += len(text)
				_ = r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: token, Message: text, Progress: float64(said)}) // a client that is gone ends ctx
			}
		})
		if err != nil {
			return nil, nil, errors.New(strings.Join(append([]string{err.Error()}, cli.Hints(err)...), "\n"))
		}
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
	})
}
