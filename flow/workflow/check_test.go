package workflow_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lobstah/flow/interp"
	"lobstah/flow/stdlib"
	"lobstah/flow/workflow"
)

func TestCheckReports(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, source, want string }{
		{"clean", "steps:\n  - id: a\n    run: ls\n  - id: b\n    run: cat\n    stdin: $a.stdout\n", ""},
		{"syntax", "steps:\n  - id: a\n    run: echo a: b\n", "3:10 error Nested mappings are not allowed in compact mappings"},
		{"duplicate key", "name: a\nname: b\nsteps: [{id: a, run: ls}]\n", "2:1 error Map keys must be unique"},
		{"all steps", "steps:\n  - id: a\n    timeout_ms: 0\n    run: ls\n  - run: ls\n  - id: a\n    run: ls\n", "3:17 error Workflow step a timeout_ms must be a positive integer between 1 and 2147483647\n" +
			"5:5 error Workflow step requires an id\n6:9 error Duplicate workflow step id: a"},
		{"misspelt key", "steps:\n  - id: a\n    run: ls\n    on_eror: stop\n", "4:5 warning step has no key on_eror; it is ignored (did you mean on_error?)"},
		{"misspelt inner key", "steps:\n  - id: a\n    run: ls\n    retry: {maximum: 3, max: 2}\n", "4:13 warning retry has no key maximum; it is ignored"},
		{"key of other programs", "steps:\n  - id: a\n    run: ls\n    if: $a.x\n    retry: {attempts: 2}\n    needs: b\n", "4:5 warning step has no key if; it is ignored (did you mean when?)\n" +
			"5:13 warning retry has no key attempts; it is ignored (did you mean max?)\n6:5 warning step has no key needs; it is ignored (write nothing: steps run in the order of the file)"},
		{"key of steps in a branch", "steps:\n  - id: p\n    parallel: {branches: [{id: b, run: ls, if: x}]}\n", "3:44 warning branch has no key if; it is ignored (a branch has no when; its keys are id, run, command, pipeline, env, cwd, stdin, name, description)"},
		{"key of a step that does nothing", "steps:\n  - id: a\n    cmd: ls\n", "2:5 error Workflow step a requires run, command, pipeline, workflow, parallel, for_each, approval, or input\n3:5 warning step has no key cmd; it is ignored (did you mean run?)"},
		{"list as text", "steps:\n  - id: a\n    run: [ls, -l]\n", "3:10 error Workflow step a requires run, command, pipeline, workflow, parallel, for_each, approval, or input (run takes text, such as run: exec date)"},
		{"tab", "steps:\n\t- id: a\n", "2:1 error Found character '\t' that cannot start any token (indent with blanks; YAML takes no tabs there)"},
		{"open quote", "steps:\n  - id: a\n    run: \"ls\n", "3:10 error Could not find end character of double-quoted text (end the text with the quote that it begins with)"},
		{"filter", "steps:\n  - id: a\n    pipeline: exec ls | template '{{. | uper}} {{. | upper}}'\n", "3:25 error Unknown template filter: uper (did you mean upper?)"},
		{"filter by argument", "args: {f: {default: upper}}\nsteps:\n  - id: a\n    pipeline: exec ls | template '{{. | ${f}}}'\n", "4:41 warning the value of ${f} is pasted"},
		{"variable of no argument", "args: {target: {default: x}}\nsteps:\n  - id: a\n    run: rm -r \"$LOBSTER_ARG_TAGET/x\" ${HOME} ${tarket} ${TARGET}\n", "4:18 warning LOBSTER_ARG_TAGET belongs to no argument that the file names (did you mean LOBSTER_ARG_TARGET?)\n" +
			"4:47 warning the file names no argument tarket, so ${tarket} is left to the shell (did you mean target?)"},
		{"variable without arguments", "steps:\n  - id: a\n    run: echo $LOBSTER_ARG_X ${x}\n", ""},
		{"condition", "steps:\n  - {id: a, run: ls}\n  - id: b\n    run: ls\n    when: $a.json.n >> 5\n", "5:22 error Unsupported condition: $a.json.n >> 5"},
		{"quoted condition", "steps:\n  - {id: a, run: ls}\n  - id: b\n    run: ls\n    when: \"$a.json.n && $c.json\"\n", "5:25 error Unknown step reference: c.json (did you mean a?)"},
		{"later step", "steps:\n  - id: a\n    run: cat\n    stdin: $b.json\n  - {id: b, run: ls}\n", "4:12 error step b runs later, so it has no result yet"},
		{"no such field", "steps:\n  - {id: a, run: ls}\n  - {id: b, run: cat, stdin: $a.output}\n", "3:30 warning a step's result has no field output"},
		{"injection", "args: {who: {default: x}}\nsteps:\n  - id: a\n    run: |\n      echo hello\n      echo ${who} ${HOME}\n", "6:12 warning the value of ${who} is pasted into shell text, so it can run commands (use \"$LOBSTER_ARG_WHO\", which the shell never reads as code)"},
		{"injection of output", "steps:\n  - {id: a, run: ls}\n  - id: b\n    run: echo $a.stdout $a.approved\n", "4:15 warning the value of $a.stdout is pasted into shell text"},
		{"pipeline", "steps:\n  - id: a\n    pipeline: head | wher x=1\n", "3:22 error Unknown command: wher (did you mean where?)"},
		{"pipeline quote", "steps:\n  - id: a\n    pipeline: \"exec 'open\"\n", "3:21 error Unclosed quote"},
		{"gate after effect", "steps:\n  - id: a\n    run: rm x\n    approval: sure?\n", "4:15 warning the step runs first and asks for approval afterwards"},
		{"prompt", "args: {e: {default: x}}\nsteps:\n  - {id: a, run: ls}\n  - id: g\n    approval: Go to ${e} with $a.json.n?\n", "5:21 warning prompts are shown as they are written, so ${e} is not filled in\n5:31 warning prompts"},
		{"loop", "steps:\n  - {id: a, run: ls}\n  - id: l\n    for_each: $a.json\n    steps:\n      - {id: s, pipeline: head, stdin: $item.json}\n      - {id: t, pipeline: head, stdin: $s.json}\n      - {id: u, pipeline: head, stdin: $x.json}\n", "8:40 error Unknown step reference: x.json"},
		{"loop over text", "steps:\n  - {id: l, for_each: \"[1]\", steps: [{id: s, run: ls}]}\n", "2:23 error for_each must be a reference such as $step.json"},
		{"nested", "steps:\n  - {id: n, workflow: nowhere.lobster}\n", "2:23 error workflow file not found: nowhere.lobster"},
		{"nested by a step", "steps:\n  - {id: a, run: ls}\n  - {id: n, workflow: x/$a.stdout}\n", "3:25 warning the file's name depends on a step"},
		{"not a file", "hello", "1:1 error Workflow file must be a JSON/YAML object"},
		{"deep", strings.Repeat("[", 1500), "1:1001 error Nested too deeply"},
		{"aliases", "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n" +
			"e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\nsteps: [{id: a, run: ls}]\n", "6:7 error Aliases expand to too many values"},
	}
	commands := interp.NewRegistry(stdlib.Commands()...)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, p := range workflow.CheckSource("x.lobster", tt.source, commands) {
				line := fmt.Sprintf("%d:%d %s %s", p.Line, p.Column, p.Severity, p.Message)
				if p.Hint != "" && strings.Contains(tt.want, "(") {
					line += " (" + p.Hint + ")"
				}
				got = append(got, line)
			}
			have := strings.Join(got, "\n")
			if tt.want == "" && have != "" || !strings.HasPrefix(have, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", have, tt.want)
			}
		})
	}
}

func TestReportHasCaret(t *testing.T) {
	t.Parallel()
	source := "steps:\n  - id: a\n    run: ls\n\t\n    on_error: later\n"
	source = strings.Replace(source, "\t\n", "", 1)
	problems := workflow.CheckSource("x.yaml", source, nil)
	if len(problems) != 1 {
		t.Fatalf("problems %+v", problems)
	}
	want := "x.yaml:4:15: error: Workflow step a on_error must be \"stop\", \"continue\", or \"skip_rest\"\n      on_error: later\n                ^\n"
	if got := problems[0].Report("x.yaml", source); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCheckJSON(t *testing.T) {
	t.Parallel()
	source := "{\n  \"steps\": [\n    {\"id\": \"a\", \"run\": \"ls\", \"timeout_ms\": -1},\n    {\"id\": \"b\"}\n  ]\n}\n"
	var got []string
	for _, p := range workflow.CheckSource("x.json", source, nil) {
		got = append(got, fmt.Sprintf("%d:%d", p.Line, p.Column))
	}
	if fmt.Sprint(got) != "[3:44 4:5]" {
		t.Errorf("places %v, want [3:44 4:5]", got)
	}
}

func TestCheckReadsFiles(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "x.txt")
	if err := os.WriteFile(name, []byte("steps: []"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := workflow.Check(name, nil); err == nil || err.Error() != "Workflow file must end in .lobster, .yaml, .yml, or .json" {
		t.Errorf("Check = %v", err)
	}
}

// A file with very many faults is read in a moment, and the exit code knows of those that are not listed.
func TestCheckListsSoManyProblems(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("args: {x: {}}\nsteps:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "  - {id: s%d, run: 'echo ${x}', for_each_item: 1}\n", i)
	}
	file := b.String()
	for last, want := range map[string]workflow.Severity{"": workflow.Warning, "  - {id: z, run: ls, when: $none.json}\n": workflow.Fault} {
		problems := workflow.CheckSource("x.yaml", file+last, nil)
		got := problems[len(problems)-1]
		if len(problems) != 201 || got.Severity != want || !strings.Contains(got.Message, "more problems than 200") {
			t.Errorf("%q: %d problems, the last %+v, want 201 and %s", last, len(problems), got, want)
		}
	}
}
