// Package mcpserver offers the tools of MCP servers, as mcp:NAME/TOOL: programs
// that it runs and that speak on their standard streams, and servers at an address.
//
// Make [Servers] with [New]; they are a tool.Backend. Commands compose them into a
// tool.Server and close them. A server is started at its first use and again
// after it ended; its program sees a scrubbed environment and what its
// configuration adds, and is killed with all that it started in Close.
//
// A server is the owner's choice; what it answers is capped by the SDK's limits and
// by tool.Server. Arguments come from callers and are passed on as they are. Safe
// for concurrent use; a Servers owns the programs and waits for them in Close.
package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"lobstah/mesh/tool"
)

// Prefix begins the names of all tools here.
const Prefix = "mcp:"

// Limits of servers.
const (
	startWithin = 30 * time.Second
	keepList    = time.Minute
	maxTools    = 1000
	maxMessage  = 32 << 20 // bytes of one message of a server
)

// New makes the servers of a configuration. None is started yet. environment is
// what their programs see of this node's own.
func New(cfg map[string]tool.MCP, environment []string) *Servers {
	s := &Servers{servers: map[string]*server{}}
	for name, c := range cfg {
		one := &server{name: name, cfg: c, environment: environment}
		one.life, one.kill = context.WithCancel(context.Background())
		s.servers[name] = one
	}
	return s
}

// Servers are the configured MCP servers.
type Servers struct{ servers map[string]*server }

// Close ends all servers.
func (s *Servers) Close() error {
	var err error
	for _, one := range s.servers {
		err = errors.Join(err, one.close())
	}
	return err
}

// Tools lists the tools of all servers; the error names those that could not be
// asked.
func (s *Servers) Tools(ctx context.Context) ([]tool.Info, error) {
	var mu sync.Mutex
	var all []tool.Info
	var failure error
	var asked sync.WaitGroup
	for _, name := range slices.Sorted(maps.Keys(s.servers)) {
		asked.Go(func() {
			found, err := s.servers[name].list(ctx)
			mu.Lock()
			defer mu.Unlock()
			all, failure = append(all, found...), errors.Join(failure, err)
		})
	}
	asked.Wait()
	return all, failure
}

// Has reports whether a server has a tool. Names of other kinds cost nothing.
func (s *Servers) Has(ctx context.Context, name string) (bool, error) {
	one, _ := s.find(name)
	if one == nil {
		return false, nil
	}
	found, err := one.list(ctx)
	return slices.ContainsFunc(found, func(i tool.Info) bool { return i.Name == name }), err
}

func (s *Servers) find(name string) (one *server, inner string) {
	rest, ok := strings.CutPrefix(name, Prefix)
	server, inner, found := strings.Cut(rest, "/")
	if !ok || !found {
		return nil, ""
	}
	return s.servers[server], inner
}

// Call runs a tool of a server.
func (s *Servers) Call(ctx context.Context, call *tool.Call, _ tool.Progress) (*tool.Result, error) {
	one, inner := s.find(call.Tool)
	if one == nil {
		return nil, tool.Errorf(tool.CodeUnknown, "no MCP server for %s", call.Tool)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, call.Grant.Timeout, tool.Errorf(tool.CodeTimeout, "%s was not finished within %s", call.Tool, call.Grant.Timeout))
	defer cancel()
	session, err := one.connect(ctx)
	if err != nil {
		return nil, err // for the owner's log
	}
	answer, err := session.CallTool(ctx, &mcp.CallToolParams{Name: inner, Arguments: call.Args})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, tool.Errorf(tool.CodeFailed, "the MCP server %s: %.1000s", one.name, err)
	}
	return resultOf(answer)
}

// resultOf takes over the content of a result; our parts have the names of MCP's.
func resultOf(answer *mcp.CallToolResult) (*tool.Result, error) {
	r := &tool.Result{Content: []tool.Part{}, IsError: answer.IsError}
	for _, content := range answer.Content {
		data, err := json.Marshal(content)
		if err != nil {
			return nil, err
		}
		var p tool.Part
		if err := json.Unmarshal(data, &p); err != nil {
			return nil, fmt.Errorf("read what the MCP server answered: %w", err)
		}
		r.Content = append(r.Content, p)
	}
	if answer.StructuredContent == nil {
		return r, nil
	}
	var err error
	r.Details, err = json.Marshal(answer.StructuredContent)
	return r, err
}
