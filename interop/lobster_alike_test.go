package interop

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// values are items of every kind, as the corners of JavaScript's rules need them.
const values = `[{},{"v":null},{"v":true},{"v":0},{"v":5},{"v":-2.345},{"v":1e21},{"v":1.005},{"v":""},{"v":" "},{"v":"0x10"},{"v":"1e3"},{"v":"abc"},
{"v":"a,b,,c"},{"v":"😀é ß"},{"v":[]},{"v":[5]},{"v":[1,null,"x",[2],{"k":1}]},{"v":{}},{"v":{"k":[1]}},{"v":"10"},{"v":9},{"v":10},{"v":1.5},{"v":"B"},
{"v":"2024-03-05T06:07:08Z"},{"v":1709618828000},{"v":"1709618828000"},{"v":"a.b$&c"},{"v":"one\ntwo"},"s",7,null,[1,2]]`

// dates are texts as people and programs write them.
const dates = `["Jan 5 2024","2024","2024-13-01","2024-02-30","2024-1-5","2024/01/05","5 Jan 2024 10:20 GMT","Tue Mar 05 2024 06:07:08 GMT+0200 (EET)","2024-03-05 06:07",
"2024-03-05T24:00:00Z","2024-03-05T6:07:08Z","2024-03-05T06:07:08.Z","12:30","Jan 5 24","Jan 5 70","1/2/3","now"," 2024-03-05 ","Mar 5 2024 06:07:08 PST","-5","1.5","March 7","2024.03.05",
"2024-Mar-05","(x) Mar 5 2024","Foo 5 2024","Mar 5, 2024, 1:02:03 pm","Mar 5 2024 GMT-0530","x2024","8640000000000001"]`

// alike are pipelines that both programs must answer with the same bytes.
var alike = []string{
	"where v==5", "where v=0", "where v!=null", "where v<10", "where v>=abc", "where v=", "where v.length=4", "where v.0=5", "where v=0x10",
	"sort --key v", "sort --key v --desc", "sort", "sort --desc", "sort --key v.length", "dedupe --key v", "dedupe", "groupBy --key v | pick key,count", "groupBy --key length",
	"pick v,length", "pick ,", "pick", "head --n 2.5", "head --n -1", "head --n", "map --wrap w", "map --unwrap v", "map x={{v}} y={{x}}", "map v={{v.0}}",
	"map --unwrap v | table", "map --unwrap v | exec --stdin jsonl cat", "map --unwrap v | exec --stdin raw cat", "map --unwrap v | state.set k | state.get k", "diff.last --key",
	`template --text "{{v | truncate 2}}|{{v | length}}|{{v | first}}|{{v | last}}|{{v | join -}}|{{v | json}}"`,
	`template --text "{{v | round}}|{{v | round 2}}|{{v | upper}}|{{v | default}}|{{v | default 'a''b'}}"`,
	"template --text '{{v | replace b \"$`\"}}|{{v | replace \"\" -}}|{{v | replace . \"$&$&\"}}|{{v | split \",\" | last}}'",
	`template --text "{{v | date}}|{{v | date YYYY/MM/DD}}"`, `template --text "{{v | nope}}"`, `template --text "{{v.k.0}}{{.}}{{ }}{{}}"`,
	"approve --prompt ''", "approve --preview-from-stdin --limit 1", "ask --schema", "ask --schema []", "ask --emit", "email.triage", "email.triage --limit 0",
	"gog.gmail.send --dry-run", "openclaw.agent --agent a --timeout x hi", "openclaw.invoke --url ftp://x --tool t --action a", "llm.invoke p", "workflows.run nope", "exec --stdin= cat", "nope",
}

// TestBothAnswerAlike gives pipelines to both programs, in tool mode, and compares what they print.
func TestBothAnswerAlike(t *testing.T) {
	original, ours := bothLobsters(t)
	cases := map[string]string{`template --text "{{. | date}}"`: dates}
	for _, pipeline := range alike {
		cases[pipeline] = values
	}
	for pipeline, items := range cases {
		t.Run(pipeline, func(t *testing.T) {
			t.Parallel()
			if pipeline == "llm.invoke p" && routerHere() {
				t.Skip("a router that runs on this machine would answer ours")
			}
			if want, got := printed(t, original, pipeline, items), printed(t, ours, pipeline, items); got != want {
				t.Errorf("over %s\ngot  %s\nwant %s", items, got, want)
			}
		})
	}
}

// routerHere reports whether something listens where routers of this machine do,
// which llm.invoke asks when nothing else is named; the original knows none.
func routerHere() bool {
	for _, port := range []string{"17475", "19001"} {
		if conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port)); err == nil {
			conn.Close()
			return true
		}
	}
	return false
}

// random is what differs between two runs.
var random = regexp.MustCompile(`"(resumeToken|approvalId|description)": ".*"`)

// printed is what a program prints for a pipeline, without what is random in it.
func printed(t *testing.T, program, pipeline, items string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "items.json"), []byte(items), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "run", "--mode", "tool", "exec --json=true cat items.json | "+pipeline)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TZ=UTC", "LOBSTER_STATE_DIR=" + filepath.Join(dir, "state")}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return random.ReplaceAllString(string(out), `"$1": "..."`) + stderr.String() + cmd.ProcessState.String()
}
