package tool

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"lobstah/key"
)

var (
	home   = Caller{Key: key.ID{1}, Name: "home-01", Verified: true}
	office = Caller{Key: key.ID{2}, Name: "office-01", Verified: true}
	rumour = Caller{Key: key.ID{3}, Name: "home-01"} // calls itself so
)

func pins(name string) (key.ID, bool) {
	id, ok := map[string]key.ID{"home-01": home.Key, "office-01": office.Key}[name]
	return id, ok
}

// policy reads toolProxy as it stands in a configuration.
func policy(t *testing.T, text string, verified bool) *Policy {
	t.Helper()
	var cfg Config
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&cfg); err != nil {
		t.Fatal(err)
	}
	p, err := NewPolicy(cfg, Place{Home: "/home/me", Work: "/home/me/.clawmatrix/work", Pin: pins, Verified: verified})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The configurations that the table below judges by.
const (
	off       = `{"allow":["*"]}`
	empty     = `{"enabled":true,"allow":[]}`
	all       = `{"enabled":true,"allow":["*"],"paths":["/srv","~/x"]}`
	seed      = `{"enabled":true,"allow":["exec","read","edit","web_search"],"deny":["write","browser","sessions_spawn"]}`
	denyWins  = `{"enabled":true,"allow":["*"],"deny":["exec","mcp:files/*"]}`
	narrowed  = `{"enabled":true,"allow":["*"],"deny":["browser"],"paths":["/srv"],"callers":{"home-01":{"allow":["exec","read","mcp:a/*"],"paths":["/srv/site","/etc"],"commands":["git status","git log *","ls **",["echo","a b"],"/bin/cat"]}}}`
	byCallers = `{"enabled":true,"callers":{"home-01":{"allow":["exec","write"],"commands":["*"]},"nobody-01":{"allow":["*"]}}}`
	ceiling   = `{"enabled":true,"allow":["read"],"callers":{"home-01":{"allow":["*"],"paths":["/srv"]}}}`
	nodeCmds  = `{"enabled":true,"allow":["exec"],"commands":["uptime"],"callers":{"home-01":{"allow":["exec"],"commands":["*"]}}}`
	noLists   = `{"enabled":true,"callers":{"home-01":{"allow":["exec","read"]},"office-01":{"allow":[]}}}`
	emptyOnes = `{"enabled":true,"allow":["*"],"callers":{}}`
)

func TestDecide(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		cfg    string
		caller Caller
		tool   string
		args   string
		code   string // empty: allowed
		reason string
	}{
		{"disabled", off, home, Exec, `{"command":"id"}`, CodeDisabled, "lends no tools"},
		{"zero config", `{}`, home, Read, `{"path":"a"}`, CodeDisabled, "lends no tools"},
		{"empty allow", empty, home, Read, `{"path":"a"}`, CodeDenied, "allow is empty"},
		{"all", all, home, "web_search", `{}`, "", ""},
		{"all, unverified", all, rumour, "web_search", `{}`, CodeUnverified, "not verified"},

		{"seed: exec by a shell", seed, home, Exec, `{"command":"a | b > c"}`, "", ""},
		{"seed: not in allow", seed, home, List, `{}`, CodeDenied, "list is not allowed"},
		{"seed: deny", seed, home, Write, `{"path":"a","content":""}`, CodeDenied, "write is denied"},
		{"seed: gateway tool", seed, office, "web_search", `{"query":"x"}`, "", ""},
		{"deny wins over everything", denyWins, home, Exec, `{"command":"id"}`, CodeDenied, "denied"},
		{"deny by prefix", denyWins, home, "mcp:files/read", `{}`, CodeDenied, "denied"},
		{"beside the prefix", denyWins, home, "mcp:other/read", `{}`, "", ""},

		{"a caller without a rule", narrowed, office, Read, `{"path":"/srv/site/a"}`, CodeDenied, "office-01 may use no tools"},
		{"a caller without a rule, all empty", emptyOnes, home, Read, `{"path":"a"}`, CodeDenied, "may use no tools"},
		{"not in the caller's list", narrowed, home, Write, `{"path":"/srv/site/a"}`, CodeDenied, "home-01 may not use write"},
		{"the caller's prefix", narrowed, home, "mcp:a/b", `{}`, "", ""},
		{"the node's deny", narrowed, home, "browser", `{}`, CodeDenied, "browser is denied"},
		{"the node's ceiling", ceiling, home, Exec, `{"command":"id"}`, CodeDenied, "exec is not allowed"},
		{"beneath the ceiling", ceiling, home, Read, `{"path":"/srv/a"}`, "", ""},
		{"callers alone", byCallers, home, Exec, `{"command":"id; id"}`, "", ""},
		{"callers alone, another tool", byCallers, home, Read, `{"path":"a"}`, CodeDenied, "may not use read"},
		{"a rule with an empty list", noLists, office, Read, `{"path":"a"}`, CodeDenied, "may not use read"},

		{"path in the root", narrowed, home, Read, `{"path":"/srv/site/a/b"}`, "", ""},
		{"relative path", narrowed, home, Read, `{"path":"a/../b"}`, "", ""},
		{"the root itself", narrowed, home, Read, `{"path":"/srv/site"}`, "", ""},
		{"a sibling with the same beginning", narrowed, home, Read, `{"path":"/srv/site2/a"}`, CodePath, "outside"},
		{"the node's root, not the caller's", narrowed, home, Read, `{"path":"/srv/a"}`, CodePath, "outside"},
		{"the caller's root, not the node's", narrowed, home, Read, `{"path":"/etc/passwd"}`, CodePath, "outside"},
		{"up and out", narrowed, home, Read, `{"path":"../a"}`, CodePath, "outside"},
		{"up and out, absolute", narrowed, home, Read, `{"path":"/srv/site/../a"}`, CodePath, "outside"},
		{"twice the same member", narrowed, home, Read, `{"path":"/srv/site/a","path":"/etc/passwd"}`, CodePath, "outside"},
		{"in other letters", narrowed, home, Read, `{"path":"/srv/site/a","PATH":"/etc/passwd"}`, CodePath, "outside"},
		{"no path", narrowed, home, Read, `{}`, CodeArguments, "is no path"},
		{"a zero byte", narrowed, home, Read, `{"path":"/srv/site/a\u0000"}`, CodeArguments, "is no path"},
		{"a path that is none", narrowed, home, Read, `{"path":{"a":1}}`, CodeArguments, "arguments of read"},
		{"no folder is granted", noLists, home, Read, `{"path":"a"}`, CodePath, "no folder"},
		{"a home path", all, home, Read, `{"path":"/home/me/x/y"}`, "", ""},
		{"without paths, the work folder", seed, home, Read, `{"path":"/home/me/.clawmatrix/work/a"}`, "", ""},
		{"without paths, nothing else", seed, home, Read, `{"path":"/home/me/.ssh/id_ed25519"}`, CodePath, "outside"},

		{"a command of the list", narrowed, home, Exec, `{"command":"git status"}`, "", ""},
		{"as argv", narrowed, home, Exec, `{"argv":["git","status"]}`, "", ""},
		{"another argument", narrowed, home, Exec, `{"command":"git push"}`, CodeCommand, "not among those"},
		{"more arguments", narrowed, home, Exec, `{"command":"git status -s"}`, CodeCommand, "not among those"},
		{"one star is one argument", narrowed, home, Exec, `{"command":"git log main"}`, "", ""},
		{"one star is not two", narrowed, home, Exec, `{"command":"git log main dev"}`, CodeCommand, "not among those"},
		{"a star is no option", narrowed, home, Exec, `{"command":"git log --output=/etc/x"}`, CodeCommand, "not among those"},
		{"two stars are options too", narrowed, home, Exec, `{"command":"ls -la /x"}`, "", ""},
		{"a word with a space", narrowed, home, Exec, `{"command":"echo 'a b'"}`, "", ""},
		{"not two words", narrowed, home, Exec, `{"command":"echo a b"}`, CodeCommand, "not among those"},
		{"another program of that name", narrowed, home, Exec, `{"command":"/tmp/git status"}`, CodeCommand, "not among those"},
		{"an absolute program", narrowed, home, Exec, `{"argv":["/bin/cat"]}`, "", ""},
		{"a shell's semicolon", narrowed, home, Exec, `{"command":"git status; id"}`, CodeCommand, "needs a shell"},
		{"a shell's substitution", narrowed, home, Exec, `{"command":"git log $(id)"}`, CodeCommand, "needs a shell"},
		{"a shell's substitution in quotes", narrowed, home, Exec, `{"command":"git log \"$(id)\""}`, CodeCommand, "needs a shell"},
		{"a shell's line", narrowed, home, Exec, `{"command":"git status\nid"}`, CodeCommand, "needs a shell"},
		{"a shell's variable", narrowed, home, Exec, `{"command":"A=b git status"}`, CodeCommand, "needs a shell"},
		{"a semicolon that is data", narrowed, home, Exec, `{"argv":["git","log","a;id"]}`, "", ""},
		{"variables", narrowed, home, Exec, `{"command":"git status","env":{"LD_PRELOAD":"x"}}`, CodeCommand, "variables cannot be set"},
		{"a folder outside", narrowed, home, Exec, `{"command":"git status","workdir":"/etc"}`, CodePath, "outside"},
		{"nothing to run", narrowed, home, Exec, `{}`, CodeArguments, "either command or argv"},
		{"two things to run", narrowed, home, Exec, `{"command":"git status","argv":["id"]}`, CodeArguments, "either command or argv"},
		{"an argument that exec does not have", narrowed, home, Exec, `{"command":"git status","host":"gateway"}`, CodeArguments, "host"},
		{"no commands", noLists, home, Exec, `{"command":"id"}`, CodeCommand, "not among those"},
		{"the node's commands bound the caller's", nodeCmds, home, Exec, `{"command":"id"}`, CodeCommand, "not among those"},
		{"a command of the node", nodeCmds, home, Exec, `{"command":"uptime"}`, "", ""},
	} {
		v := policy(t, c.cfg, true).Decide(c.caller, c.tool, json.RawMessage(c.args))
		switch {
		case v.Refusal == nil && c.code != "":
			t.Errorf("%s: allowed; want %s", c.name, c.code)
		case v.Refusal != nil && (v.Refusal.Code != c.code || !strings.Contains(v.Refusal.Message, c.reason)):
			t.Errorf("%s: %s, %q; want %q, %q", c.name, v.Refusal.Code, v.Refusal.Message, c.code, c.reason)
		}
	}
}

// Every caller with every tool: nobody gets what no rule names.
func TestNobodyGetsMoreThanIsNamed(t *testing.T) {
	t.Parallel()
	tools := []string{Exec, Read, Write, Edit, List, WebFetch, "browser", "mcp:a/b", "mcp:b/a", "*", "", "EXEC", "exec ", "ex"}
	args := map[string]string{Exec: `{"command":"git status"}`, Read: `{"path":"/srv/site/a"}`, Write: `{"path":"/srv/site/a"}`, Edit: `{"path":"/srv/site/a"}`}
	for _, cfg := range []string{off, empty, all, seed, denyWins, narrowed, byCallers, ceiling, nodeCmds, noLists, emptyOnes} {
		var raw Config
		if err := json.Unmarshal([]byte(cfg), &raw); err != nil {
			t.Fatal(err)
		}
		for _, verified := range []bool{true, false} {
			p := policy(t, cfg, verified)
			for _, caller := range []Caller{home, office, rumour, {}} {
				for _, name := range tools {
					arg := args[name]
					if arg == "" {
						arg = "{}"
					}
					v := p.Decide(caller, name, json.RawMessage(arg))
					if v.Refusal != nil {
						if v.Refusal.Message == "" || v.Refusal.Status < 400 {
							t.Errorf("%s: %s: %s is refused without a reason", cfg, caller, name)
						}
						continue
					}
					named := raw.Allow
					if raw.Callers != nil {
						pinned := map[key.ID]string{home.Key: "home-01", office.Key: "office-01"}[caller.Key]
						named = raw.Callers[pinned].Allow
					}
					if !raw.Enabled || verified && !caller.Verified || !covers(named, name) || covers(raw.Deny, name) {
						t.Errorf("%s (verified %t): %s may use %q", cfg, verified, caller, name)
					}
				}
			}
		}
	}
}

func TestRulesByKey(t *testing.T) {
	t.Parallel()
	p := policy(t, `{"enabled":true,"callers":{"`+rumour.Key.String()+`":{"allow":["x"]},"home-01":{"allow":["y"]}}}`, false)
	for _, c := range []struct {
		caller Caller
		tool   string
		want   bool
	}{{rumour, "x", true}, {rumour, "y", false}, {home, "y", true}, {home, "x", false}} {
		if got := p.Offers(c.caller, c.tool); got != c.want {
			t.Errorf("%s, %s: %t, want %t", c.caller.Key.Short(), c.tool, got, c.want)
		}
	}
}

func TestGrantSaysHowFar(t *testing.T) {
	t.Parallel()
	v := policy(t, narrowed, true).Decide(home, Exec, json.RawMessage(`{"command":"git log 'a b'"}`))
	if v.Grant.Shell || !slices.Equal(v.Grant.Argv, []string{"git", "log", "a b"}) || !slices.Equal(v.Grant.Roots, []string{"/srv/site"}) {
		t.Errorf("granted %+v", v.Grant)
	}
	v = policy(t, seed, true).Decide(home, Exec, json.RawMessage(`{"argv":["id"]}`))
	if !v.Grant.Shell || v.Grant.Argv != nil || v.Grant.Timeout != DefaultTimeout || v.Grant.MaxOutput != DefaultMaxOutput {
		t.Errorf("granted %+v", v.Grant)
	}
}

func TestFullPowerIsSaid(t *testing.T) {
	t.Parallel()
	for cfg, want := range map[string]string{
		seed:      "every node that this one trusts may run any command",
		byCallers: "home-01 may run any command",
		`{"enabled":true,"callers":{"home-01":{"allow":["exec"],"commands":["bash **"]}}}`:                   `may run "bash **"`,
		`{"enabled":true,"callers":{"home-01":{"allow":["exec"],"commands":["/usr/bin/Python3 *"]}}}`:        "can run anything",
		`{"enabled":true,"allow":["process"],"gateway":{"url":"http://127.0.0.1:1/x","tokenFile":"/t"}}`:     "the gateway's process",
		`{"enabled":true,"callers":{"home-01":{"allow":["exec"],"commands":["git status","bash -c true"]}}}`: "",
		`{"enabled":true,"deny":["exec"],"callers":{"home-01":{"allow":["*"],"commands":["*"]}}}`:            "",
		`{"allow":["*"]}`: "",
		narrowed:          "",
		`{"enabled":true,"callers":{"home-01":{"allow":["exec"],"commands":["git log **"]}}}`:                  `may run "git log **"`,
		`{"enabled":true,"callers":{"home-01":{"allow":["exec","edit"],"commands":["git status"]}}}`:           "runs what files say",
		`{"enabled":true,"deny":["edit"],"callers":{"home-01":{"allow":["exec","edit"],"commands":["make"]}}}`: "",
		nodeCmds: "",
		`{"enabled":true,"allow":["exec"],"commands":["/usr/bin/python3.12 *"]}`: "which can run anything",
	} {
		got := strings.Join(policy(t, cfg, true).FullPower(), "; ")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", cfg, got, want)
		}
	}
}

func TestNotes(t *testing.T) {
	t.Parallel()
	for cfg, want := range map[string]string{
		byCallers: "callers.nobody-01 matches nobody",
		narrowed:  "callers.home-01.paths",
		noLists:   "no command",
		`{"enabled":true,"allow":["*"],"deny":["exce"]}`:                                                    `toolProxy.deny: this node has no tool "exce" of its own; the nearest is "exec"`,
		`{"enabled":true,"allow":["*"],"approve":{"command":["ask"],"tools":["webfetch"]}}`:                 `toolProxy.approve.tools: this node has no tool "webfetch" of its own; the nearest is "web_fetch"`,
		`{"enabled":true,"allow":["browser"]}`:                                                              `this node has no tool "browser" of its own, and no toolProxy.gateway that might`,
		`{"enabled":true,"callers":{"home-01":{"allow":["mcp:file/*"]}},"mcp":{"files":{"command":["a"]}}}`: `toolProxy.callers.home-01.allow: "mcp:file/*" names no server of toolProxy.mcp`,
	} {
		if got := strings.Join(policy(t, cfg, true).Notes(), "; "); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", cfg, got, want)
		}
	}
}

func TestNamesThatAreWell(t *testing.T) {
	t.Parallel()
	for _, cfg := range []string{
		`{"enabled":true,"allow":["*"],"deny":["write","browser","web_*","mcp:*"]}`,
		`{"enabled":true,"allow":["read","mcp:files/*","mcp:f*"],"mcp":{"files":{"command":["a"]}}}`,
		`{"enabled":true,"allow":["browser","web_search","edit"],"gateway":{"url":"http://127.0.0.1:1","tokenFile":"/t"}}`,
	} {
		if got := policy(t, cfg, true).Notes(); len(got) > 0 {
			t.Errorf("%s: %q; want no note", cfg, got)
		}
	}
}

func TestBadConfigs(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"paths":["relative"]}`, `{"callers":{"a":{"paths":["~other/x"]}}}`, `{"maxOutputBytes":-1}`, `{"timeout":-1}`,
		`{"mcp":{"a/b":{"url":"http://x"}}}`, `{"mcp":{"a":{}}}`, `{"approve":{"tools":["exec"]}}`, `{"gateway":{"url":"http://127.0.0.1"}}`,
		`{"commands":[""]}`, `{"commands":["gi* status"]}`, `{"commands":["a ** b"]}`, `{"commands":[7]}`,
	} {
		var cfg Config
		err := json.Unmarshal([]byte(text), &cfg)
		if err == nil {
			_, err = NewPolicy(cfg, Place{})
		}
		if err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{
		`a b  c`: {"a", "b", "c"}, `a 'b c' "d e"`: {"a", "b c", "d e"}, `a ''`: {"a", ""}, `a\ b`: {"a b"},
		`a "b\"c" 'd\e'`: {"a", `b"c`, `d\e`}, `a "b\c"`: {"a", `b\c`}, `a'b'c`: {"abc"}, `a b~ c#d x=y`: {"a", "b~", "c#d", "x=y"},
		`a '$x;|&*'`: {"a", "$x;|&*"}, ``: nil,
	} {
		if got, err := split(line); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", line, got, err, want)
		}
	}
	for _, line := range []string{`a;b`, `a|b`, `a&`, `a>b`, `a<b`, "a\nb", "a`b`", `a $b`, `"$b"`, `a *`, `a ?`, `a [b]`, `a {b,c}`, `~/a`, `a #b`, `!a`, `a'`, `a"`, `a\`, "a\x00", `A=b c`, `(a)`} {
		if got, err := split(line); err == nil {
			t.Errorf("%s became %q", line, got)
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, line := range []string{`a 'b c' "d\"e" f\ g`, `a;b`, "a\xff"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := split(line)
		if err != nil {
			return
		}
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		again, err := split(strings.Join(quoted, " "))
		if err != nil || !slices.Equal(again, words) {
			t.Errorf("%q: %q, quoted %q (%v)", line, words, again, err)
		}
	})
}

// A pattern and an argument: what matches has the pattern's fixed parts in it, and
// an option is never matched by a bare star.
func FuzzWordMatches(f *testing.F) {
	f.Add("a*b", "a-x-b")
	f.Add("*", "-x")
	f.Fuzz(func(t *testing.T, pattern, word string) {
		if !wordMatches(pattern, word) {
			if pattern == word {
				t.Errorf("%q does not match itself", word)
			}
			return
		}
		if strings.HasPrefix(word, "-") && !strings.HasPrefix(pattern, "-") {
			t.Errorf("%q matches the option %q", pattern, word)
		}
		for part := range strings.SplitSeq(pattern, "*") {
			if !strings.Contains(word, part) {
				t.Errorf("%q matches %q", pattern, word)
			}
		}
	})
}
