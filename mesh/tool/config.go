package tool

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Defaults of a [Config].
const (
	DefaultMaxOutput = 1 << 20
	DefaultTimeout   = 1800 * time.Second
	maxMaxOutput     = 16 << 20
	maxTimeout       = 7 * 24 * time.Hour
	maxRules         = 1000
)

// A Config is the `toolProxy` of a node's configuration. The zero Config allows
// nothing.
//
// Enabled, Allow, Deny and MaxOutputBytes mean what they mean in the original,
// with one difference: an empty Allow allows nothing (["*"] is everything). When
// Callers is there, only the callers that it names may use tools, each within
// its own lists; those of the node bound them all, and may then be left out.
type Config struct {
	Enabled        bool            `json:"enabled"`
	Allow          []string        `json:"allow,omitempty"`
	Deny           []string        `json:"deny,omitempty"`
	MaxOutputBytes int             `json:"maxOutputBytes,omitempty"` // 0 is 1 MiB
	Callers        map[string]Rule `json:"callers,omitempty"`        // by pinned name or key
	Paths          []string        `json:"paths,omitempty"`          // folders; none: the node's own work folder
	Commands       []Pattern       `json:"commands,omitempty"`       // missing: any command, as in the original
	Timeout        int             `json:"timeout,omitempty"`        // seconds that a command may run at most; 0 is 1800
	Env            []string        `json:"env,omitempty"`            // variables of the node that commands see too
	Web            Web             `json:"web,omitzero"`
	Approve        Approval        `json:"approve,omitzero"`
	MCP            map[string]MCP  `json:"mcp,omitempty"`
	Gateway        Gateway         `json:"gateway,omitzero"`
}

// A Rule narrows what one caller may do. A list that is missing or empty allows
// nothing: exec without Commands runs nothing, files without Paths are none.
type Rule struct {
	Allow    []string  `json:"allow"`
	Paths    []string  `json:"paths,omitempty"`
	Commands []Pattern `json:"commands,omitempty"`
}

// Web bounds web_fetch.
type Web struct {
	AllowPrivate bool `json:"allowPrivate,omitempty"` // addresses of private networks; never loopback, link-local or metadata
}

// An Approval is asked before a call runs, and has to say yes: a program that
// gets the call on its standard input, or an address that it is posted to.
type Approval struct {
	Command []string `json:"command,omitempty"`
	URL     string   `json:"url,omitempty"`
	Tools   []string `json:"tools,omitempty"`   // missing: all
	Timeout int      `json:"timeout,omitempty"` // seconds, then it is a no; 0 is 60
}

func (a Approval) none() bool { return len(a.Command) == 0 && a.URL == "" }

// An MCP is a server whose tools are offered as mcp:NAME/TOOL: a program that
// speaks on its standard streams, or an address.
type MCP struct {
	Command   []string          `json:"command,omitempty"`
	Env       map[string]string `json:"env,omitempty"`
	Dir       string            `json:"dir,omitempty"`
	URL       string            `json:"url,omitempty"`
	TokenFile string            `json:"tokenFile,omitempty"`
}

// A Gateway is an agent gateway on this machine whose tools are offered under
// their own names, by the bridge that its plugin serves.
type Gateway struct {
	URL       string `json:"url"` // on loopback
	TokenFile string `json:"tokenFile"`
}

// Check says what is wrong with a configuration.
func (c *Config) Check() error {
	switch {
	case c.MaxOutputBytes < 0 || c.MaxOutputBytes > maxMaxOutput:
		return fmt.Errorf("toolProxy.maxOutputBytes is %d; it may be 0 to %d", c.MaxOutputBytes, maxMaxOutput)
	case c.Timeout < 0 || time.Duration(c.Timeout)*time.Second > maxTimeout:
		return fmt.Errorf("toolProxy.timeout is %d; it may be 0 to %d seconds", c.Timeout, int(maxTimeout.Seconds()))
	case len(c.Callers) > maxRules:
		return fmt.Errorf("toolProxy.callers has %d entries; at most %d", len(c.Callers), maxRules)
	}
	if err := checkPaths("toolProxy.paths", c.Paths); err != nil {
		return err
	}
	for name, rule := range c.Callers {
		if err := checkPaths("toolProxy.callers."+name+".paths", rule.Paths); err != nil {
			return err
		}
	}
	return c.checkParts()
}

func (c *Config) checkParts() error {
	if a := c.Approve; len(a.Command) > 0 && a.URL != "" || a.none() && (a.Tools != nil || a.Timeout != 0) {
		return fmt.Errorf("toolProxy.approve wants either command or url")
	}
	for name, m := range c.MCP {
		if name == "" || strings.ContainsAny(name, "/: \t\n") {
			return fmt.Errorf("toolProxy.mcp: %q is no name for a server: no slash, colon or space", name)
		}
		if (len(m.Command) == 0) == (m.URL == "") {
			return fmt.Errorf("toolProxy.mcp.%s wants either command or url", name)
		}
	}
	if g := c.Gateway; (g.URL == "") != (g.TokenFile == "") {
		return fmt.Errorf("toolProxy.gateway wants url and tokenFile")
	}
	return nil
}

func checkPaths(where string, paths []string) error {
	for _, p := range paths {
		if home, ok := strings.CutPrefix(p, "~"); ok && (home == "" || home[0] == '/' || home[0] == filepath.Separator) {
			continue
		}
		if !filepath.IsAbs(p) {
			return fmt.Errorf("%s: %q is not absolute: begin it with / or ~/", where, p)
		}
	}
	return nil
}

// maxOutput and timeout are the settings with their defaults.
func (c *Config) maxOutput() int {
	if c.MaxOutputBytes == 0 {
		return DefaultMaxOutput
	}
	return c.MaxOutputBytes
}

func (c *Config) timeout() time.Duration {
	if c.Timeout == 0 {
		return DefaultTimeout
	}
	return time.Duration(c.Timeout) * time.Second
}

// covers reports whether a list names a tool. A name that ends in * covers all
// that begin so.
func covers(list []string, tool string) bool {
	return slices.ContainsFunc(list, func(name string) bool {
		prefix, open := strings.CutSuffix(name, "*")
		return name == tool || open && strings.HasPrefix(tool, prefix)
	})
}
