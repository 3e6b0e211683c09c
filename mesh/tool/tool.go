// Package tool lets the nodes of a mesh use each other's tools: run a command,
// read or change a file, fetch a page, and whatever an agent gateway or an MCP
// server beside a node offers.
//
// A node composes a [Server] from a [Policy] (who may do what: [NewPolicy] reads
// it from a [Config], which is the `toolProxy` of the configuration), from
// [Backend]s (mesh/tool/native, mesh/tool/mcpserver, mesh/tool/gateway) and an
// audit log (mesh/tool/audit), and mounts it at [Path] of what it serves to the
// mesh. A [Client] calls the tools of another node over any http.RoundTripper;
// [Local] is the same for programs on this machine.
//
// It knows the mesh only as requests that carry a proven key ([Identify]) and as
// a [Directory] of nodes; commands fit them together. What callers send is
// hostile: bodies are capped before they are parsed, every call is judged by
// [Policy.Decide], which is deny by default and pure, every call is kept in the
// audit log before it runs, and a call that cannot be kept is refused. The
// Server owns the goroutines of running calls and waits for them in Close.
//
// On the wire a call is JSON in and JSON Lines out, see wire.go.
package tool

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"lobstah/key"
)

// A Caller is who asks for a tool. The key is proven by the connection; the name
// is what this node calls it.
type Caller struct {
	Key      key.ID `json:"key"`
	Name     string `json:"name,omitempty"`
	Verified bool   `json:"verified"`
}

// String names the caller for people.
func (c Caller) String() string {
	if c.Name != "" {
		return c.Name
	}
	return c.Key.Short()
}

// Identify tells who sent a request that came over the mesh, and fails when the
// connection proves no key.
type Identify func(*http.Request) (Caller, error)

// An Executor is the node that ran a call.
type Executor struct {
	Node string `json:"node"`
	Key  key.ID `json:"key"`
}

// A Call is one use of a tool that the policy has allowed. Args is a JSON
// object. A backend keeps within Grant.
type Call struct {
	ID     string // made by the executor; names the call in its audit log
	Caller Caller
	Tool   string
	Args   json.RawMessage
	Key    string // the idempotency key, empty for none
	Grant  Grant
}

// A Grant is how far an allowed call may go.
type Grant struct {
	Roots     []string      // absolute folders for files and working folders; relative paths begin at the first
	Shell     bool          // exec may run any command, through a shell too
	Argv      []string      // exec: what to run instead of a shell; set when Shell is not
	Timeout   time.Duration // the longest that a command may run
	MaxOutput int           // bytes of output that are kept
}

// An Info describes a tool to callers. Parameters is a JSON Schema.
type Info struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
	ReadOnly    bool            `json:"readOnly,omitempty"` // a call may be made twice without harm
}

// A Backend runs tools. Tools lists what it has, Has tells of one; the names of two backends may
// meet, and the first backend of a [Server] wins. Call runs one of them until
// it ends or ctx does, and leaves nothing running then. It may tell about
// output meanwhile; progress is never nil. An error is that of the call, an
// *Error where the caller can do something about it.
type Backend interface {
	Tools(ctx context.Context) ([]Info, error)
	Has(ctx context.Context, tool string) (bool, error)
	Call(ctx context.Context, call *Call, progress Progress) (*Result, error)
}

// Progress takes output while a call runs, in its order and one piece at a time.
// It does not block, and keeps no more than Grant.MaxOutput.
type Progress func(stream string, data []byte)

// A Result is what a tool answers, in the form that OpenClaw's tools and MCP
// share. IsError says that the tool itself reports a failure.
type Result struct {
	Content []Part          `json:"content"`
	Details json.RawMessage `json:"details,omitempty"`
	IsError bool            `json:"isError,omitempty"`
	Cut     *Cut            `json:"cut,omitempty"`
}

// A Part is one piece of a result: text, or an image or audio in Data (base64),
// or a resource as MCP has it.
type Part struct {
	Type     string          `json:"type"`
	Text     string          `json:"text,omitempty"`
	Data     string          `json:"data,omitempty"`
	MIMEType string          `json:"mimeType,omitempty"`
	URI      string          `json:"uri,omitempty"`
	Name     string          `json:"name,omitempty"`
	Resource json.RawMessage `json:"resource,omitempty"`
}

// A Cut says that the middle of an output was left out.
type Cut struct {
	Total   int64 `json:"totalBytes"`
	Omitted int64 `json:"omittedBytes"`
}

// Text makes a result of one text, with details that are encoded as JSON; nil
// for none.
func Text(text string, details any) (*Result, error) {
	r := &Result{Content: []Part{{Type: "text", Text: text}}}
	if details == nil {
		return r, nil
	}
	data, err := json.Marshal(details)
	r.Details = data
	return r, err
}

// String is the texts of the result, one after the other.
func (r *Result) String() string {
	var all []byte
	for _, p := range r.Content {
		if p.Type == "text" {
			all = append(all, p.Text...)
		}
	}
	return string(all)
}
