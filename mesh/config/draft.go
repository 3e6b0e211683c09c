package config

import (
	"encoding/json"
	"fmt"
	"strings"

	"lobstah/mesh/tool"
)

// A Draft is what the file of a new node is written from.
type Draft struct {
	Name       string
	Secret     string
	Listen     bool
	ListenPort int
	Addresses  []string
	Peers      []Peer
	ProxyPort  int
}

// Text is the file, YAML with comments. Texts in it are quoted as JSON does,
// which is YAML too.
func (d *Draft) Text() []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# A node of a clawmatrix mesh. Keep this file to yourself: whoever reads the secret\n# can join the mesh, though not be trusted by it.")
	line("nodeId: %s", quote(d.Name))
	line("secret: %s", quote(d.Secret))
	line("trust: %s   # only nodes whose key was verified may use tools and agents here", Verified)
	line("")
	line("listen: %t   # take links from other nodes", d.Listen)
	if d.ListenPort != 0 && d.ListenPort != DefaultListenPort {
		line("listenPort: %d", d.ListenPort)
	}
	if len(d.Addresses) > 0 {
		line("addresses:   # where others reach this node")
		for _, a := range d.Addresses {
			line("  - %s", quote(a))
		}
	}
	d.peers(line)
	if d.ProxyPort != 0 && d.ProxyPort != DefaultProxyPort {
		line("proxyPort: %d", d.ProxyPort)
	}
	line("")
	line("# What this node offers to the others:")
	line("agents: []   # - {id: coder, description: Writes code, tags: [coding], accept: [laptop], command: [claude, -p]}")
	line("models: []   # - {id: qwen3:4b, provider: ollama}")
	line("tags: []")
	line("toolProxy:\n  enabled: false   # others run no tools here")
	line("  callers: {}      # such as laptop: {allow: [read, exec], paths: [/srv/work], commands: [git status]}")
	return []byte(b.String())
}

// JSON is the file as JSON, with the fields of Text and without its comments.
func (d *Draft) JSON() ([]byte, error) {
	type toolProxy struct {
		Enabled bool                 `json:"enabled"`
		Callers map[string]tool.Rule `json:"callers"`
	}
	unless := func(port, usual int) int {
		if port == usual {
			return 0
		}
		return port
	}
	data, err := json.MarshalIndent(struct {
		NodeID     string    `json:"nodeId"`
		Secret     string    `json:"secret"`
		Trust      Trust     `json:"trust"`
		Listen     bool      `json:"listen"`
		ListenPort int       `json:"listenPort,omitzero"`
		Addresses  []string  `json:"addresses,omitempty"`
		Peers      []Peer    `json:"peers"`
		ProxyPort  int       `json:"proxyPort,omitzero"`
		Agents     []Agent   `json:"agents"`
		Models     []Model   `json:"models"`
		Tags       []string  `json:"tags"`
		ToolProxy  toolProxy `json:"toolProxy"`
	}{
		d.Name, d.Secret, Verified, d.Listen, unless(d.ListenPort, DefaultListenPort), d.Addresses, append([]Peer{}, d.Peers...),
		unless(d.ProxyPort, DefaultProxyPort), []Agent{}, []Model{}, []string{}, toolProxy{Callers: map[string]tool.Rule{}},
	}, "", "  ")
	return append(data, '\n'), err
}

func (d *Draft) peers(line func(string, ...any)) {
	if len(d.Peers) == 0 {
		line("peers: []   # - {nodeId: cloud-01, url: \"wss://cloud.example:19000\"}")
		return
	}
	line("peers:")
	for _, p := range d.Peers {
		line("  - url: %s", quote(p.URL))
		if p.NodeID != "" {
			line("    nodeId: %s", quote(p.NodeID))
		}
		if p.Key != "" {
			line("    key: %s", p.Key)
		}
	}
}

func quote(text string) string {
	data, err := json.Marshal(text)
	if err != nil {
		panic("config: a string is no JSON: " + err.Error()) // it always is
	}
	return string(data)
}
