// Package config reads the configuration of a mesh node: one file, JSON or YAML,
// with the field names of the original clawmatrix.
//
// Call [Read], or [Parse] on text; both are strict, and name the line and the
// nearest field name on a mistake. [Config.Warnings] says what a reader of the
// file should know before the node starts. [Draft] is the file of a new node.
//
// The file is its owner's, so it is trusted; it may hold the secret of the mesh,
// and nothing here puts that into an error. cmd/ composes nodes of it; the parts
// below mesh/ do not import it.
package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"lobstah/key"
	"lobstah/mesh/link"
	"lobstah/mesh/member"
	"lobstah/mesh/tool"
)

// Defaults of fields.
const (
	DefaultListenHost = "0.0.0.0"
	DefaultListenPort = 19000
	DefaultProxyPort  = 19001
)

// Config is what the file says, with defaults filled in.
type Config struct {
	NodeID     string      `json:"nodeId"`
	Secret     Secrets     `json:"secret"`
	Trust      Trust       `json:"trust,omitempty"`
	Listen     bool        `json:"listen,omitempty"`
	ListenHost string      `json:"listenHost,omitempty"`
	ListenPort int         `json:"listenPort,omitempty"`
	TLSCert    string      `json:"tlsCert,omitempty"` // file; without it the node's own certificate
	TLSKey     string      `json:"tlsKey,omitempty"`
	Addresses  []string    `json:"addresses,omitempty"`      // HOST[:PORT] where others reach the listener; for invitations
	Proxies    []string    `json:"trustedProxies,omitempty"` // addresses or CIDR, believed when they name clients by X-Forwarded-For
	Peers      []Peer      `json:"peers,omitempty"`
	Agents     []Agent     `json:"agents,omitempty"`
	Models     []Model     `json:"models,omitempty"`
	Tags       []string    `json:"tags,omitempty"`
	ProxyPort  int         `json:"proxyPort,omitempty"`
	ToolProxy  tool.Config `json:"toolProxy"`
	APIPort    int         `json:"apiPort,omitempty"` // on loopback, for programs that call tools; 0 for none
	Gateway    Gateway     `json:"gateway"`
}

// Secrets are the secrets of the mesh, the newest first. The file has one text
// or a list.
type Secrets []string

// Trust says what makes another node trusted with tools, hand-offs and sends.
type Trust string

// The kinds of trust. Files without the field, as the original's, have the
// second.
const (
	Verified Trust = "verified" // its key is pinned here
	BySecret Trust = "secret"   // it knows the secret
)

// A Peer is a node to dial.
type Peer struct {
	NodeID string `json:"nodeId"`
	URL    string `json:"url"`
	Key    string `json:"key,omitempty"` // lob1...: pins it
}

// ID is the key that the file pins the peer to, zero for none.
func (p Peer) ID() key.ID {
	id, err := key.ParseID(p.Key)
	if err != nil {
		return key.ID{} // Parse has seen to it that it is empty
	}
	return id
}

// An Agent is one that this node offers. What works at its tasks is a command,
// an A2A agent, or else an agent of the OpenClaw gateway on this machine.
type Agent struct {
	ID          string   `json:"id"`
	Description string   `json:"description,omitempty"`
	Tags        []string `json:"tags,omitempty"`

	Accept   []string `json:"accept,omitempty"`   // nodes whose tasks it takes, by name or key; "*" for all that are trusted
	Command  []string `json:"command,omitempty"`  // a program that reads the task and prints the answer
	Dir      string   `json:"dir,omitempty"`      // where it runs
	A2A      string   `json:"a2a,omitempty"`      // URL of an A2A agent
	OpenClaw string   `json:"openclaw,omitempty"` // the agent's name at the gateway, when it is not ID
	AtOnce   int      `json:"atOnce,omitempty"`   // tasks at a time; 1 by default
	Idle     int      `json:"idle,omitempty"`     // seconds without a sign of life before a task fails; 600 by default
}

// A Gateway is the OpenClaw gateway of this machine.
type Gateway struct {
	URL       string `json:"url,omitempty"`       // ws://127.0.0.1:18789 by default
	TokenFile string `json:"tokenFile,omitempty"` // without it the token is OPENCLAW_GATEWAY_TOKEN
}

// A Model is one that this node shares. Provider is an engine, a provider of the
// OpenClaw configuration, anthropic, openai, openrouter, or a base URL.
type Model struct {
	ID          string `json:"id"`
	Provider    string `json:"provider,omitempty"`
	Description string `json:"description,omitempty"`
	Model       string `json:"model,omitempty"` // its name at the provider, when it is not ID

	APIKeyEnv  string `json:"apiKeyEnv,omitempty"`  // environment variable that holds the provider's key
	APIKeyFile string `json:"apiKeyFile,omitempty"` // file that holds it, absolute or below ~/
}

// defaults fills in what the file left out.
func (c *Config) defaults() {
	if c.Trust == "" {
		c.Trust = BySecret
	}
	if c.ListenHost == "" {
		c.ListenHost = DefaultListenHost
	}
	if c.ListenPort == 0 {
		c.ListenPort = DefaultListenPort
	}
	if c.ProxyPort == 0 {
		c.ProxyPort = DefaultProxyPort
	}
}

// Offer is what the node tells the others that it has.
func (c *Config) Offer() member.Offer {
	offer := member.Offer{Tags: c.Tags}
	for _, a := range c.Agents {
		offer.Agents = append(offer.Agents, member.Agent{ID: a.ID, Description: a.Description, Tags: a.Tags})
	}
	for _, m := range c.Models {
		offer.Models = append(offer.Models, member.Model{ID: m.ID, Provider: providerName(m.Provider), Description: m.Description})
	}
	return offer
}

// providerName keeps addresses inside of this node's network to itself.
func providerName(provider string) string {
	if strings.Contains(provider, "://") {
		return "openai-compatible"
	}
	return provider
}

// TrustedProxies are the proxies before the listener that are believed.
func (c *Config) TrustedProxies() (list link.Proxies) {
	for _, text := range c.Proxies {
		if prefix, err := proxyPrefix(text); err == nil { // Parse has seen to it
			list = append(list, prefix)
		}
	}
	return list
}

// proxyPrefix reads an address or a CIDR prefix.
func proxyPrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return prefix, fmt.Errorf("%.80q is no address such as 127.0.0.1 and no network such as 10.1.0.0/16", text)
	}
	if prefix.Bits() == 0 {
		return prefix, fmt.Errorf("%s is every address: anybody could then pose as anybody", text)
	}
	return prefix, nil
}

// Expand puts the user's home in the place of ~/ wherever the file names a file or
// a folder of this machine; toolProxy.paths and apiKeyFile, whose readers do it
// themselves, are left alone.
func (c *Config) Expand(home string) {
	expand := func(paths ...*string) {
		for _, path := range paths {
			if rest, below := strings.CutPrefix(*path, "~/"); below {
				*path = filepath.Join(home, rest)
			}
		}
	}
	expand(&c.TLSCert, &c.TLSKey, &c.Gateway.TokenFile, &c.ToolProxy.Gateway.TokenFile)
	for i := range c.Agents {
		expand(&c.Agents[i].Dir)
	}
	for name, server := range c.ToolProxy.MCP {
		expand(&server.Dir, &server.TokenFile)
		c.ToolProxy.MCP[name] = server
	}
}

// SecretFiles are the files that the configuration names and that nobody but this
// node may read.
func (c *Config) SecretFiles() (list []string) {
	add := func(path string) {
		if path != "" {
			list = append(list, path)
		}
	}
	add(c.TLSKey)
	add(c.Gateway.TokenFile)
	add(c.ToolProxy.Gateway.TokenFile)
	for _, server := range c.ToolProxy.MCP {
		add(server.TokenFile)
	}
	for _, m := range c.Models {
		add(m.APIKeyFile)
	}
	return list
}

// Warnings are sentences about what this file allows, for the log of a start.
func (c *Config) Warnings() (list []string) {
	if c.Trust == BySecret {
		text := "trust: secret: whoever holds the secret of this mesh may use this node's models, hand tasks to its agents, send them messages and revoke nodes"
		if c.ToolProxy.Enabled {
			text += ", and run the tools that toolProxy allows"
		}
		list = append(list, text+", under any name; with trust: verified only nodes whose key you have verified may")
	}
	for _, s := range c.Secret {
		if !link.StrongText(s) {
			list = append(list, "the secret looks like words or is short: it is shown to pinned nodes and to servers with a valid certificate only. Take one of 256 random bits: clawmatrix init prints one")
			break
		}
	}
	for _, p := range c.Peers {
		if u, err := link.ParseURL(p.URL); err == nil && u.Scheme == "ws" && !Loopback(u.Hostname()) {
			list = append(list, fmt.Sprintf("%s: others on the way see that this is a mesh, though not what it carries; take wss://", p.URL))
		}
	}
	for _, m := range c.Models {
		if u, err := url.Parse(m.Provider); err == nil && u.Scheme == "http" && m.NamesKey() && !Loopback(u.Hostname()) {
			list = append(list, fmt.Sprintf("the model %s: its provider's key and all that is asked go to %s for everybody on the way to read; take https://", m.ID, u.Host))
		}
	}
	return append(list, c.ToolProxy.Warnings()...)
}

// Loopback reports whether a host is this very machine.
func Loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// HostPort completes an address with the port of the listener.
func HostPort(address string, listens int) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = strings.Trim(address, "[]"), strconv.Itoa(listens)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 || host == "" || strings.ContainsAny(host, "/@ ") {
		return "", fmt.Errorf("%.200q is not HOST or HOST:PORT", address)
	}
	return net.JoinHostPort(host, port), nil
}

// NamesKey says whether the file names where the provider's key is.
func (m Model) NamesKey() bool { return m.APIKeyEnv != "" || m.APIKeyFile != "" }

// keyFault says what is wrong with how a model's key is named, empty when nothing
// is. It repeats none of it, which may be the key itself.
func (m Model) keyFault() string {
	switch {
	case m.APIKeyEnv != "" && m.APIKeyFile != "":
		return "apiKeyEnv and apiKeyFile: want one of them"
	case m.APIKeyEnv != "" && strings.Trim(m.APIKeyEnv, variableBytes) != "":
		return "apiKeyEnv: want the name of an environment variable, such as LAB_API_KEY, and not the key"
	case m.APIKeyFile != "" && !filepath.IsAbs(m.APIKeyFile) && !strings.HasPrefix(m.APIKeyFile, "~/"):
		return "apiKeyFile: want the name of a file that holds the key; begin it with / or ~/"
	case m.NamesKey() && m.Provider == "":
		return "a key is for a provider: name its base URL, or anthropic, openai or openrouter"
	}
	return ""
}

const variableBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

// providerFault says what is wrong with a provider, empty when nothing is.
func providerFault(provider string) string {
	if !strings.Contains(provider, "://") {
		return ""
	}
	if u, err := url.Parse(provider); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return "want a name or a base URL such as http://127.0.0.1:8080/v1"
	}
	return ""
}
