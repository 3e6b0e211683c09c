package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lobstah/internal/livefile"
	"lobstah/key"
	"lobstah/mesh/member"
	"lobstah/mesh/tool"
)

func TestOriginalConfigurations(t *testing.T) {
	t.Parallel()
	agent := func(id, description, tag string) []Agent {
		return []Agent{{ID: id, Description: description, Tags: []string{tag}}}
	}
	hub := []Peer{{NodeID: "cloud-01", URL: "wss://cloud-01.example.com:19000"}}
	for _, want := range []Config{
		{NodeID: "cloud-01", Listen: true, Peers: []Peer{}, Agents: agent("reviewer", "Reviews code and PRs", "review"), Models: []Model{}, Tags: []string{"cloud"}},
		{
			NodeID: "office-01", Peers: hub, Agents: agent("coder", "Writes and debugs code, has repo access", "coding"),
			Models: []Model{{ID: "claude-sonnet", Provider: "anthropic"}, {ID: "deepseek-coder", Provider: "ollama"}}, Tags: []string{"office", "gpu"},
			ToolProxy: tool.Config{Enabled: true, Allow: []string{"exec", "read", "edit", "web_search"}, Deny: []string{"write", "browser", "sessions_spawn"}},
		},
		{NodeID: "home-01", Peers: hub, Agents: agent("assistant", "Personal assistant", "general"), Models: []Model{}, Tags: []string{"home"}},
	} {
		want.Secret, want.Trust = Secrets{"your-shared-secret"}, BySecret
		want.defaults()
		got, err := Read(filepath.Join("testdata", want.NodeID+".json"))
		if err != nil {
			t.Errorf("%s: %v", want.NodeID, err)
			continue
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.NodeID, diff)
		}
		if got.ListenPort != 19000 || got.ProxyPort != 19001 || got.ListenHost != "0.0.0.0" {
			t.Errorf("%s: ports %d and %d on %s", want.NodeID, got.ListenPort, got.ProxyPort, got.ListenHost)
		}
		warnings := strings.Join(got.Warnings(), "\n")
		if !strings.Contains(warnings, "whoever holds the secret") || strings.Contains(warnings, "your-shared-secret") {
			t.Errorf("%s: warnings %q", want.NodeID, warnings)
		}
	}
}

func TestMistakesHaveALine(t *testing.T) {
	t.Parallel()
	const head = "nodeId: a\nsecret: s\n"
	for text, want := range map[string]string{
		head + "listn: true":                                                            `line 3: there is no field "listn"; the nearest is "listen"`,
		head + "peers:\n  - node: b\n    url: ws://h":                                   `line 4: there is no field "node"; the nearest is "nodeId"`,
		head + "peers:\n- {nodeId: b, url: 'http://h'}":                                 "line 4: \"http://h\" is no address of a peer",
		head + "peers:\n- {nodeId: a, url: 'ws://h'}":                                   `line 4: "a" is this node itself`,
		head + "peers: [{url: ws://h, key: lob1}]":                                      "line 3: ",
		head + "listen: maybe":                                                          "line 3: want true or false here",
		head + "listenPort: many":                                                       "line 3: want a whole number here",
		head + "listenPort: 70000":                                                      "line 3: listenPort: 70000 is no port",
		head + "trust: everybody":                                                       `line 3: trust: "everybody" is neither`,
		head + "tlsCert: c.pem":                                                         "line 3: tlsCert and tlsKey belong together",
		head + "agents: [{id: a, command: claude -p}]":                                  "line 3: want a list here, such as",
		head + "toolProxy: 5":                                                           "line 3: want fields here",
		head + "toolProxy:\n  enabled: true\n  callers:\n    b:\n      paths: [x]":      `line 7: toolProxy.callers.b.paths: "x" is not absolute`,
		head + "toolProxy:\n  enabled: true\n  callers:\n    b.c:\n      paths: [x]":    `line 6: toolProxy.callers.b.c.paths: "x" is not absolute`,
		head + "toolProxy:\n  enabled: true\n  timeout: -1":                             "line 5: toolProxy.timeout is -1",
		head + "agents: coder":                                                          "line 3: ",
		head + "agents:\n  - id: a\n  - id: a":                                          "line 5: the agent \"a\" stands twice",
		head + "agents: [{id: a, command: [x], a2a: http://y}]":                         "line 3: the agent \"a\": only one of",
		head + "agents: [{id: a, a2a: y}]":                                              "line 3: a2a: want the http",
		head + "agents: [{id: a, atOnce: -1}]":                                          "line 3: the agent \"a\": atOnce",
		head + "models: [{id: m, provider: 'ftp://h'}]":                                 "line 3: provider: want a name or a base URL",
		head + "models: [{id: m, provider: 'http://h', apiKey: hush}]":                  "line 3: no key stands in this file itself",
		head + "models:\n- {id: m, provider: 'http://h', apiKeyEnv: sk-hush}":           `line 4: the model "m": apiKeyEnv: want the name of an environment variable`,
		head + "models:\n- {id: m, provider: 'http://h', apiKeyFile: hush}":             `line 4: the model "m": apiKeyFile: want the name of a file`,
		head + "models:\n- {id: m, provider: 'http://h', apiKeyFile: /k, apiKeyEnv: K}": `line 4: the model "m": apiKeyEnv and apiKeyFile: want one`,
		head + "models:\n- {id: m, apiKeyEnv: K}":                                       `line 4: the model "m": a key is for a provider`,
		head + "trustedProxies: [localhost]":                                            `line 3: trustedProxies: "localhost" is no address`,
		head + "trustedProxies:\n- 10.0.0.1\n- 0.0.0.0/0":                               "line 5: trustedProxies: 0.0.0.0/0 is every address",
		head + "nodeId: b":                                                              "line 3: ",
		head + "addresses: ['http://h/']":                                               `line 3: "http://h/" is not HOST`,
		"{\n\"nodeId\": \"a\",\n\"secret\": 5, \"x\": 1}":                               `line 3: there is no field "x"`,
		"secret: s":                  "nodeId is missing",
		"nodeId: a":                  "secret is missing",
		"nodeId: a b\nsecret: s":     "line 1: nodeId",
		"nodeId: a\nsecret: ['']":    "line 2: secret is missing",
		"nodeId: a\nsecret: {x: y}":  "secret: want a text, or a list",
		"nodeId: a\nsecret: !\n0:":   "tags, anchors",
		"nodeId: &a x\nsecret: *a":   "line 1: tags, anchors",
		"nodeId: a\n<<: {secret: s}": "line 2: ",
		head + "tags: " + strings.Repeat("[", 30) + strings.Repeat("]", 30): "line 3: nested deeper",
		"nodeId: [": "line 1: ",
		"":          "want the fields of one node",
		"- a":       "line 1: ",
	} {
		_, err := Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
	path := filepath.Join(t.TempDir(), "config.yaml")
	if _, err := Read(path); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), path) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte(head+"x: 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Read(path)
	if damaged, ok := errors.AsType[*livefile.DamagedError](err); !ok || damaged.Line != 3 || damaged.Path != path {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	const strong = "secret: 6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b\n"
	for text, want := range map[string]string{
		"trust: verified": "",
		"trust: verified\npeers: [{url: 'ws://127.0.0.1:1'}]":                                   "",
		"trust: verified\npeers: [{url: 'ws://192.0.2.1'}]":                                     "take wss://",
		"trust: verified\ntoolProxy: {enabled: true}":                                           `allow: ["*"]`,
		"trust: verified\nmodels: [{id: m, provider: 'http://127.0.0.1:1', apiKeyEnv: K}]":      "",
		"trust: verified\nmodels: [{id: m, provider: 'https://lab.example/v1', apiKeyEnv: K}]":  "",
		"trust: verified\nmodels: [{id: m, provider: 'http://lab.example/v1', apiKeyFile: /k}]": "the model m: its provider's key",
		"trust: secret\ntoolProxy: {enabled: true, allow: [a]}":                                 "run the tools",
	} {
		c, err := Parse([]byte("nodeId: a\n" + strong + text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		got := strings.Join(c.Warnings(), "\n")
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%q warns %q; want %q", text, got, want)
		}
	}
	weak, err := Parse([]byte("nodeId: a\nsecret: [hunter2, older]\ntrust: verified"))
	if err != nil || len(weak.Secret) != 2 {
		t.Fatalf("%v, %v", weak, err)
	}
	if got := strings.Join(weak.Warnings(), "\n"); !strings.Contains(got, "256 random bits") {
		t.Errorf("a weak secret warns %q", got)
	}
}

func TestSecretsStayOutOfText(t *testing.T) {
	t.Parallel()
	c := Config{Secret: Secrets{"hunter2"}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, c); strings.Contains(text, "hunter2") {
			t.Errorf("%s shows the secret: %s", verb, text)
		}
	}
}

func TestOfferHidesAddresses(t *testing.T) {
	t.Parallel()
	c := Config{Models: []Model{{ID: "m", Provider: "http://10.0.0.7:8080/v1"}, {ID: "n", Provider: "ollama"}}}
	want := []member.Model{{ID: "m", Provider: "openai-compatible"}, {ID: "n", Provider: "ollama"}}
	if diff := cmp.Diff(want, c.Offer().Models); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("nodeId: a\nsecret: s\npeers: [{nodeId: b, url: 'wss://b'}]")
	f.Add("{\"nodeId\": \"a\", \"secret\": [\"s\"], \"toolProxy\": {\"enabled\": true}}")
	f.Add("nodeId: a\nsecret: s\ntoolProxy: {callers: {b: {allow: [exec], commands: [git log *, [ls, a b]]}}}")
	f.Add("nodeId: &a x\nsecret: *a")
	f.Add("secret: !\n0:") // once a panic of the library
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse([]byte(text))
		if err == nil && (c.NodeID == "" || len(c.Secret) == 0 || c.ListenPort == 0) {
			t.Errorf("%q reads as %+v", text, c)
		}
	})
}

// What stands in toolProxy is read with all its forms, and faults have their line.
func TestToolProxy(t *testing.T) {
	t.Parallel()
	const node = "nodeId: a\nsecret: s\n"
	c, err := Parse([]byte(node + `toolProxy:
  enabled: true
  callers:
    home-01: {allow: [exec, read], paths: [/srv, ~/x], commands: [git log *, [echo, a b]]}
  approve: {command: [ask], tools: [exec]}
  mcp: {files: {command: [server, --root, /srv]}}
  gateway: {url: "http://127.0.0.1:18789/plugins/clawmatrix", tokenFile: /t}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := tool.Rule{Allow: []string{"exec", "read"}, Paths: []string{"/srv", "~/x"}, Commands: []tool.Pattern{{"git", "log", "*"}, {"echo", "a b"}}}
	if diff := cmp.Diff(want, c.ToolProxy.Callers["home-01"]); diff != "" {
		t.Errorf("the rule (-want +got):\n%s", diff)
	}
	if c.ToolProxy.Approve.Command[0] != "ask" || c.ToolProxy.MCP["files"].Command[0] != "server" || c.ToolProxy.Gateway.TokenFile != "/t" {
		t.Errorf("read %+v", c.ToolProxy)
	}
	for text, want := range map[string]string{
		"toolProxy:\n  enabled: true\n  alow: [a]": "line 5: there is no field \"alow\"", "toolProxy:\n  paths: [a]": "is not absolute",
		"toolProxy:\n  commands: [g* a]": "may not be a pattern", "toolProxy: {callers: {b: {comands: [a]}}}": "commands", "apiPort: 70000": "is no port",
	} {
		if _, err := Parse([]byte(node + text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
	if c, err = Parse([]byte(node + "toolProxy: {enabled: true, callers: {}}")); err != nil || c.ToolProxy.Callers == nil {
		t.Errorf("an empty list of callers became %v, %v", c.ToolProxy.Callers, err)
	}
}

// What init writes says the same as YAML and as JSON, and is what it was made of.
func TestDrafts(t *testing.T) {
	t.Parallel()
	id := key.FromSeed([32]byte{1}).ID().String()
	for _, d := range []Draft{
		{Name: "a", Secret: "s \"quoted\": # no comment"},
		{Name: "b", Secret: "s", Listen: true, ListenPort: 19500, ProxyPort: 19501, Addresses: []string{"cloud.example:443"}, Peers: []Peer{{NodeID: "a", URL: "wss://h:1", Key: id}, {URL: "ws://127.0.0.1:2"}}},
	} {
		text, err := d.JSON()
		if err != nil || !json.Valid(text) {
			t.Fatalf("%s, %v; want JSON", text, err)
		}
		asJSON, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		asYAML, err := Parse(d.Text())
		if err != nil {
			t.Fatalf("%s: %v", d.Text(), err)
		}
		if diff := cmp.Diff(asYAML, asJSON, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("YAML (-) and JSON (+) differ:\n%s", diff)
		}
		if asJSON.NodeID != d.Name || !slices.Equal(asJSON.Secret, Secrets{d.Secret}) || asJSON.Listen != d.Listen || !slices.Equal(asJSON.Peers, d.Peers) || asJSON.Trust != Verified {
			t.Errorf("read %+v; want what it was made of, %+v", asJSON, d)
		}
	}
}

// Files and folders of this machine may begin at the user's home.
func TestExpand(t *testing.T) {
	t.Parallel()
	c, err := Parse([]byte(`
nodeId: a
secret: s
tlsCert: ~/c.pem
tlsKey: k.pem
gateway: {tokenFile: ~/gateway.token}
agents: [{id: coder, command: [x], dir: ~/src}]
toolProxy:
  gateway: {url: "http://127.0.0.1:1", tokenFile: ~/bridge.token}
  mcp: {files: {url: "http://127.0.0.1:2", tokenFile: /t}, other: {command: [x], dir: ~/other}}
`))
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	c.Expand(home)
	in := func(name string) string { return filepath.Join(home, name) }
	got := []string{c.TLSCert, c.TLSKey, c.Gateway.TokenFile, c.Agents[0].Dir, c.ToolProxy.Gateway.TokenFile, c.ToolProxy.MCP["files"].TokenFile, c.ToolProxy.MCP["other"].Dir}
	want := []string{in("c.pem"), "k.pem", in("gateway.token"), in("src"), in("bridge.token"), "/t", in("other")}
	if !slices.Equal(got, want) {
		t.Errorf("the paths are %q; want %q", got, want)
	}
}

func TestHostPort(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"cloud.example": "cloud.example:29000", "cloud.example:443": "cloud.example:443",
		"192.0.2.7": "192.0.2.7:29000", "2001:db8::7": "[2001:db8::7]:29000", "[2001:db8::7]": "[2001:db8::7]:29000", "[2001:db8::7]:443": "[2001:db8::7]:443",
		"": "", "a b": "", "wss://cloud.example": "", "cloud.example:0": "", "cloud.example:port": "", "me@cloud.example": "",
	} {
		got, err := HostPort(address, 29000)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("HostPort(%q) = %q, %v; want %q", address, got, err, want)
		}
	}
}

func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	c, err := Parse([]byte("nodeId: a\nsecret: s\ntrustedProxies: [127.0.0.1, '::ffff:192.0.2.1', '2001:db8::/32']"))
	if err != nil {
		t.Fatal(err)
	}
	want := "[127.0.0.1/32 192.0.2.1/32 2001:db8::/32]"
	if got := fmt.Sprint(c.TrustedProxies()); got != want {
		t.Errorf("got %s; want %s", got, want)
	}
	if c, err = Parse([]byte("nodeId: a\nsecret: s")); err != nil || c.TrustedProxies() != nil {
		t.Errorf("by default %v are believed, %v", c.TrustedProxies(), err)
	}
}
