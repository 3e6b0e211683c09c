package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"lobstah/internal/cli"
	"lobstah/internal/control"
	"lobstah/internal/durable"
	"lobstah/internal/secretfile"
	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/agent/a2a"
	"lobstah/mesh/member"
	"lobstah/mesh/tool"
	"lobstah/mesh/tool/audit"
	"lobstah/mesh/tool/gateway"
	"lobstah/mesh/tool/mcpserver"
	"lobstah/mesh/tool/native"
)

// openTools makes the server that lends this node's tools and the API by which
// programs of this machine call those of others, and mounts both.
func (n *node) openTools() error {
	policy, err := n.toolPolicy()
	if err != nil {
		return err
	}
	log, err := audit.Open(auditPath(n.home.Dir))
	if err != nil {
		return err
	}
	n.atEnd(func(context.Context) error { return log.Close() })
	memory, err := tool.OpenMemory(filepath.Join(n.home.Dir, "tools", "calls.jsonl"))
	if err != nil {
		return cli.Hintf(err, "move the file away to forget which calls were made under idempotency keys")
	}
	n.atEnd(func(context.Context) error { return memory.Close() })
	backends, err := n.toolBackends()
	if err != nil {
		return err
	}
	server, err := tool.NewServer(tool.Options{
		Self: tool.Executor{Node: n.config.NodeID, Key: n.id.ID()}, Policy: policy, Backends: backends, Identify: n.toolCaller, Verified: n.verified,
		Audit: log, Approve: tool.NewApprover(n.config.ToolProxy.Approve), Memory: memory, Log: n.log.With("part", "tools"),
	})
	if err != nil {
		return err
	}
	n.tools = server
	n.atEnd(func(context.Context) error { return server.Close() })
	local := tool.NewLocal(server, toolNodes{n}, &tool.Client{Transport: n.mesh})
	n.onMesh.Handle(tool.Path, server)
	n.onMesh.Handle(tool.Path+"/", server)
	n.onSocket.Handle("/v1/", local)
	if err := n.openToolPort(local); err != nil {
		return err
	}
	return n.offers(func(o *member.Offer) { o.Tools = offeredTools(policy) })
}

func auditPath(dir string) string { return filepath.Join(dir, "audit", "tools.jsonl") }

func (n *node) workFolder() string { return filepath.Join(n.home.Dir, "work") }

// secretFiles are those outside of the home that the configuration names.
func (n *node) secretFiles() (list []string) {
	for _, path := range n.config.SecretFiles() {
		if path, err := n.ownPath(path); err == nil {
			list = append(list, path)
		}
	}
	return list
}

// toolPolicy is who may do what here, and says to the owner what that means.
func (n *node) toolPolicy() (*tool.Policy, error) {
	user, err := os.UserHomeDir()
	if err != nil {
		return nil, fmt.Errorf("find the folder that ~ means in toolProxy: %w", err)
	}
	policy, err := tool.NewPolicy(n.config.ToolProxy, tool.Place{
		Node: n.config.NodeID, Home: user, Work: n.workFolder(), Verified: true,
		Pin: func(name string) (key.ID, bool) {
			id, err := n.mesh.Resolve(name)
			return id, err == nil
		},
	})
	if err != nil {
		return nil, err
	}
	if err := policy.KeepOut(slices.Concat([]string{n.home.Dir, n.home.Config}, n.secretFiles())...); err != nil {
		return nil, err
	}
	for _, note := range slices.Concat(policy.FullPower(), policy.Notes()) {
		n.warn("%s", note)
	}
	return policy, nil
}

func (n *node) toolBackends() ([]tool.Backend, error) {
	cfg := n.config.ToolProxy
	tools := native.New(native.Config{Work: n.workFolder(), Env: n.Env, Pass: cfg.Env, Web: cfg.Web})
	servers := mcpserver.New(cfg.MCP, tools.Environment())
	n.atEnd(func(context.Context) error { return servers.Close() })
	backends := []tool.Backend{tools, servers}
	if cfg.Gateway.URL != "" {
		bridge, err := gateway.New(cfg.Gateway)
		if err != nil {
			return nil, cli.Hintf(err, "correct it in %s", n.home.Config)
		}
		backends = append(backends, bridge)
	}
	return backends, nil
}

// offeredTools are the names that the others are told: those that the
// configuration spells out. What each of them may use it learns by asking.
func offeredTools(p *tool.Policy) []string {
	names := p.Names()
	return names[:min(len(names), member.MaxTools)]
}

// toolCaller names the node behind a request.
func (n *node) toolCaller(r *http.Request) (tool.Caller, error) {
	if r.Context().Value(selfKey{}) != nil {
		return tool.Caller{Key: n.id.ID(), Name: n.config.NodeID, Verified: true}, nil
	}
	id, err := mesh.Caller(r)
	return tool.Caller{Key: id, Name: n.nameOf(id), Verified: n.verified(id)}, err
}

// toolNodes are the nodes that tools may be called on.
type toolNodes struct{ *node }

// Find refuses nodes that are not trusted: tools are neither lent to them nor
// asked of them.
func (t toolNodes) Find(name string) (tool.Node, error) {
	id, err := t.find(name)
	if err != nil {
		return tool.Node{}, err
	}
	if t.mesh.Revoked(id) {
		return tool.Node{}, &control.Error{
			Message: fmt.Sprintf("the key of %s was revoked", name),
			Hint:    "that machine needs a new key (move its identity.json away) and an invitation",
		}
	}
	if id != t.id.ID() && !t.verified(id) {
		return tool.Node{}, &control.Error{
			Message: fmt.Sprintf("%s is not verified here, so it could be anybody's", name),
			Hint:    "compare its six words with its owner: clawmatrix verify " + name,
		}
	}
	return tool.Node{Key: id, Name: t.nameOf(id), Verified: true}, nil
}

// Tagged lists the living members that bear a tag.
func (t toolNodes) Tagged(tag string) (list []tool.Node) {
	for _, m := range t.mesh.Members() {
		if m.Status == member.Alive && slices.Contains(m.Tags, tag) {
			list = append(list, tool.Node{Key: m.Key, Name: t.nameOf(m.Key), Verified: t.verified(m.Key), Tools: m.Tools, RTT: m.RTT})
		}
	}
	return list
}

// openToolPort serves the API on a port of loopback too, when the configuration
// names one, to programs that know the token.
func (n *node) openToolPort(local http.Handler) error {
	if n.config.APIPort == 0 {
		return nil
	}
	token, err := localToken(filepath.Join(n.home.Dir, "api.token"))
	if err != nil {
		return err
	}
	l, err := n.port("apiPort", "127.0.0.1", n.config.APIPort)
	if err != nil {
		return err
	}
	n.serve(l, tool.RequireToken(token, n.localAPI(local)))
	return nil
}

// localAPI is what programs of this machine get at the port: the tools of all
// nodes, and every agent of the mesh as an A2A agent.
func (n *node) localAPI(tools http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/", tools)
	base := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(n.config.APIPort)) + "/a2a"
	mux.Handle("/a2a/", &a2a.Server{Base: base, Path: "/a2a", Tasks: n.exchange})
	return mux
}

// localToken reads the token of this machine's programs, or makes it.
func localToken(path string) (string, error) {
	token, err := secretfile.Read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return token, cli.Hintf(err, "it is the token for programs of this machine; when the file is removed, a new one is made")
	}
	token = rand.Text()
	return token, durable.WriteFile(path, []byte(token+"\n"), 0o600)
}
