package tool

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"lobstah/internal/spelling"
)

// nameNotes tells of names in lists that no tool has, as far as the configuration
// shows: a slip in deny or approve would let through what its writer meant to stop.
func (p *Policy) nameNotes() (out []string) {
	check := func(list string, names []string, grants bool) {
		for _, name := range names {
			if fault := p.cfg.nameFault(name, grants); fault != "" {
				out = append(out, fmt.Sprintf("%s: %s", list, fault))
			}
		}
	}
	check("toolProxy.allow", p.cfg.Allow, true)
	check("toolProxy.deny", p.cfg.Deny, false)
	check("toolProxy.approve.tools", p.cfg.Approve.Tools, false)
	for _, caller := range slices.Sorted(maps.Keys(p.rules)) {
		check("toolProxy.callers."+caller+".allow", p.rules[caller].Allow, true)
	}
	return out
}

// nameFault says why a name in a list covers no tool, empty when it does or may.
// What a gateway offers is not known before it is asked, and to deny a tool that
// nobody has harms nobody.
func (c *Config) nameFault(name string, grants bool) string {
	prefix, open := strings.CutSuffix(name, "*")
	server, isMCP := strings.CutPrefix(name, "mcp:")
	server, _, whole := strings.Cut(server, "/")
	near := nearestNative(prefix)
	switch {
	case isMCP && whole && c.lacksMCP(server):
		return fmt.Sprintf("%q names no server of toolProxy.mcp", name)
	case isMCP || slices.Contains(natives, name) || open && (prefix == "" || slices.ContainsFunc(natives, func(n string) bool { return strings.HasPrefix(n, prefix) })):
		return ""
	case near != "":
		return fmt.Sprintf("this node has no tool %q of its own; the nearest is %q", name, near)
	case c.Gateway.URL == "" && !open && grants:
		return fmt.Sprintf("this node has no tool %q of its own, and no toolProxy.gateway that might", name)
	}
	return ""
}

func (c *Config) lacksMCP(server string) bool {
	_, known := c.MCP[server]
	return !known && !strings.Contains(server, "*")
}

// nearestNative is the native tool that was probably meant, empty when none was.
func nearestNative(name string) string {
	nearest, best := "", 3
	for _, native := range natives {
		if d := spelling.Distance(strings.ToLower(name[:min(len(name), 64)]), native); d < min(best, len(native)-1) {
			nearest, best = native, d
		}
	}
	return nearest
}
