package tool

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"lobstah/key"
)

// Programs that run whatever their arguments say, so whoever may choose an argument
// may do anything that this user can.
var interpreters = []string{
	"ash", "at", "awk", "bash", "batch", "bun", "busybox", "chroot", "cmd", "crontab", "cscript", "dash", "deno", "docker", "doas", "ed", "emacs", "entr",
	"env", "erl", "expect", "fish", "flock", "gawk", "gdb", "groovy", "incus", "ionice", "ipython", "irb", "java", "julia", "ksh", "kubectl", "less", "lua",
	"luajit", "lxc", "man", "mawk", "more", "mysql", "nano", "nc", "nerdctl", "nice", "node", "nohup", "npx", "nsenter", "nu", "osascript", "parallel",
	"perl", "php", "pipx", "podman", "poetry", "powershell", "psql", "pwsh", "pypy", "python", "r", "rscript", "ruby", "screen", "script", "setsid", "sh",
	"socat", "sqlite", "ssh", "stdbuf", "strace", "su", "sudo", "systemd-run", "tclsh", "time", "timeout", "tmux", "ts-node", "tsx", "unshare", "uv",
	"uvx", "vi", "vim", "watch", "wscript", "wsl", "xargs", "zsh",
}

// Programs that do so by some of their options or subcommands.
var byOption = []string{"cargo", "find", "git", "go", "make", "npm", "pip", "rsync", "scp", "sed", "tar"}

// Programs that run what files in their working folder say: whoever may write
// there chooses it, whatever the arguments.
var byFile = []string{"cargo", "git", "go", "gradle", "just", "make", "mvn", "npm", "npx", "pnpm", "pytest", "rake", "tox", "yarn"}

// Tools of agent gateways that run commands or change what runs.
var powerful = []string{"process", "shell", "spawn", "terminal", "apply_patch", "gateway", "nodes", "plugins", "cron", "automations", "computer", "browser", "sessions_spawn", "openclaw"}

// FullPower lists what in a configuration gives somebody everything that the
// user of this process can do, one sentence each, for the owner to read at the
// start. It lists what is known to; a tool of an MCP server may be as powerful.
func (p *Policy) FullPower() []string {
	if !p.cfg.Enabled {
		return nil
	}
	if p.cfg.Callers == nil {
		return p.powers("every node that this one trusts", p.cfg.Allow, nil)
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(p.rules)) {
		rule := p.rules[name]
		out = append(out, p.powers(name, rule.Allow, &rule)...)
	}
	return out
}

func (p *Policy) powers(who string, allow []string, rule *Rule) []string {
	usable := func(tool string) bool {
		return covers(allow, tool) && p.allows(tool) && !covers(p.cfg.Deny, tool)
	}
	var out []string
	if usable(Exec) {
		out = append(out, p.execPowers(who, rule)...)
	}
	for _, tool := range powerful {
		if p.cfg.Gateway.URL != "" && usable(tool) {
			out = append(out, fmt.Sprintf("%s may use the gateway's %s, which is full power over this user", who, tool))
		}
	}
	return out
}

func (p *Policy) execPowers(who string, rule *Rule) []string {
	if p.anyCommand(rule) {
		return []string{who + " may run any command (exec without a list of commands): that is full power over this user"}
	}
	commands := p.cfg.Commands
	if rule != nil && (commands == nil || slices.ContainsFunc(commands, Pattern.anything)) {
		commands = rule.Commands
	}
	writes := func(tool string) bool {
		return p.allows(tool) && !covers(p.cfg.Deny, tool) && (rule == nil || covers(rule.Allow, tool))
	}
	var out []string
	for _, c := range commands {
		line := strings.Join(c, " ")
		switch {
		case c.open():
			out = append(out, fmt.Sprintf("%s may run %q, which can run anything: that is full power over this user", who, line))
		case (writes(Write) || writes(Edit)) && slices.Contains(byFile, programName(c[0])):
			out = append(out, fmt.Sprintf("%s may run %q, which runs what files say, and may write files: that is full power over this user", who, line))
		}
	}
	return out
}

// open reports whether a pattern leaves to the caller what its program runs.
func (p Pattern) open() bool {
	name, args := programName(p[0]), p[1:]
	star := func(word string) bool { return strings.Contains(word, "*") }
	option := func(word string) bool { return word == "**" || strings.HasPrefix(word, "-") && star(word) }
	switch {
	case slices.Contains(interpreters, name):
		return slices.ContainsFunc(args, star)
	case slices.Contains(byOption, name):
		return len(args) > 0 && star(args[0]) || slices.ContainsFunc(args, option)
	}
	return false
}

// programName is what the lists above call a program: neither its folder nor its
// version matters, as in python3.12.
func programName(program string) string {
	name := strings.TrimSuffix(strings.ToLower(path.Base(strings.ReplaceAll(program, `\`, "/"))), ".exe")
	return strings.TrimRight(name, "0123456789.")
}

// Warnings says what differs from the original's meaning of the same lines.
func (c *Config) Warnings() []string {
	if !c.Enabled || len(c.Allow) > 0 || c.Allow == nil && len(c.Callers) > 0 {
		return nil
	}
	return []string{`toolProxy allows nothing, since its allow list is empty; the original would allow everything, which is written as: allow: ["*"]`}
}

// Notes says what in a configuration does not do what its writer may expect:
// callers whose names are not pinned, folders of callers outside of the node's.
func (p *Policy) Notes() []string {
	if !p.cfg.Enabled {
		return nil
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(p.rules)) {
		if _, err := key.ParseID(name); err == nil {
			continue
		}
		if p.place.Pin == nil {
			out = append(out, fmt.Sprintf("toolProxy.callers.%s matches nobody: the name is not pinned to a key", name))
		} else if _, ok := p.place.Pin(name); !ok {
			out = append(out, fmt.Sprintf("toolProxy.callers.%s matches nobody: the name is not pinned to a key; run clawmatrix verify %s, or write its key", name, name))
		}
	}
	return slices.Concat(out, p.pathNotes(), p.nameNotes())
}

func (p *Policy) pathNotes() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(p.rules)) {
		rule := p.rules[name]
		if kept := p.granted(&rule); len(kept) < len(rule.Paths) {
			out = append(out, fmt.Sprintf("toolProxy.callers.%s.paths: those outside of toolProxy.paths grant nothing", name))
		}
		if covers(rule.Allow, Exec) && len(rule.Commands) == 0 {
			out = append(out, fmt.Sprintf("toolProxy.callers.%s may use exec but no command: name them in commands", name))
		}
	}
	return out
}
