package tool

import (
	"context"
	"crypto/subtle"
	_ "embed"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Local is the API by which programs on this machine call tools on any node:
//
//	GET  /v1/nodes/{node}/tools          a Listing
//	POST /v1/nodes/{node}/tools/invoke   a Request; the answer as in wire.go
//	GET  /v1/openapi.json                this API as an OpenAPI document
//
// where {node} is a key, a name or tags:TAG. It is an http.Handler that trusts
// whoever reaches it: mount it on the control socket as it is, and on a TCP port of
// loopback behind [RequireToken].
type Local struct {
	self      *Server
	directory Directory
	client    *Client
	mux       *http.ServeMux
}

// NewLocal makes the API of a node. Calls to the node itself go to self, under the
// same policy as those of others, with the node's own key as the caller.
func NewLocal(self *Server, directory Directory, client *Client) *Local {
	l := &Local{self: self, directory: directory, client: client, mux: http.NewServeMux()}
	l.mux.HandleFunc("GET /v1/openapi.json", serveOpenAPI)
	l.mux.HandleFunc("GET /v1/nodes/{node}/tools", l.serveList)
	l.mux.HandleFunc("POST /v1/nodes/{node}/tools/invoke", l.serveInvoke)
	return l
}

// ServeHTTP answers a program on this machine.
func (l *Local) ServeHTTP(w http.ResponseWriter, r *http.Request) { l.mux.ServeHTTP(w, r) }

//go:embed openapi.json
var openAPI []byte

func serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI) // a client that is gone needs no answer
}

func (l *Local) serveList(w http.ResponseWriter, r *http.Request) {
	listing, err := l.Tools(r.Context(), r.PathValue("node"))
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, listing)
}

// Tools lists the tools of a node that this one may use.
func (l *Local) Tools(ctx context.Context, target string) (*Listing, error) {
	n, err := Resolve(l.directory, target, "")
	if err != nil {
		return nil, err
	}
	if n.Key != l.self.opt.Self.Key {
		return l.client.Tools(ctx, n)
	}
	infos, problems := l.self.List(ctx, l.caller())
	return &Listing{Executor: l.self.opt.Self, Tools: infos, Problems: problems}, nil
}

func (l *Local) serveInvoke(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRequest))
	if err != nil {
		writeError(w, refuse(CodeArguments, "", "read the request: %s", err))
		return
	}
	serveInvoke(w, r, data, func(ctx context.Context, request *Request, on func(*Event) error) error {
		s := &story{on: on}
		err := l.Invoke(ctx, r.PathValue("node"), *request, s.tell)
		return s.end(err)
	})
}

// A story is the events of a call as a program of this machine is told them: it
// learns in any case how the call ended, or that this is not known.
type story struct {
	on           func(*Event) error
	begun, ended bool
}

func (s *story) tell(e *Event) error {
	s.begun, s.ended = true, s.ended || e.last()
	return s.on(e)
}

// end makes the last event of an error that came after the first one.
func (s *story) end(err error) error {
	if err == nil || !s.begun || s.ended {
		return err
	}
	return s.on(&Event{Type: EventError, Error: asError(err)})
}

// Invoke calls a tool on the node that target means and tells the events of the
// call.
func (l *Local) Invoke(ctx context.Context, target string, r Request, on func(*Event) error) error {
	n, err := Resolve(l.directory, target, r.Tool)
	if err != nil {
		return err
	}
	if n.Key == l.self.opt.Self.Key {
		return l.self.Invoke(ctx, l.caller(), &r, on)
	}
	return l.client.Invoke(ctx, n, r, readOnlyTool(r.Tool), on)
}

// caller is this node in its own eyes.
func (l *Local) caller() Caller {
	return Caller{Key: l.self.opt.Self.Key, Name: l.self.opt.Self.Node, Verified: true}
}

// RequireToken lets programs in that know the token and talk to this machine by
// its own name: a page in a browser does neither.
func RequireToken(token string, next http.Handler) http.Handler {
	want := []byte("Bearer " + token)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case token == "" || subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1:
			writeError(w, &Error{Status: http.StatusUnauthorized, Code: "invalid_token", Message: "this address wants the local token", Hint: "send Authorization: Bearer and the content of the token file"})
		case r.Header.Get("Origin") != "" || !localHost(r.Host):
			writeError(w, &Error{Status: http.StatusForbidden, Code: "not_local", Message: "this address is for programs on this machine, not for pages"})
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func localHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && addr.IsLoopback()
}
