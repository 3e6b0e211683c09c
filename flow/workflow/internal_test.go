package workflow

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lobstah/flow/interp"
	"lobstah/flow/state"
	"lobstah/flow/value"
)

func TestCoreSchemaScalars(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"012": "12", "0o14": "12", "0x1F": "31", "1_000": `"1_000"`, "yes": `"yes"`, "no": `"no"`, "on": `"on"`, "2020-01-01": `"2020-01-01"`, "~": "null",
		"": "null", "Null": "null", "nULL": `"nULL"`, "TRUE": "true", "tRUE": `"tRUE"`, "0b11": `"0b11"`, "1e3": "1000", "12e03": "12000", "1.": "1",
		".5": "0.5", "+1": "1", "-0": "0", "99999999999999999999": "100000000000000000000", "1:30": `"1:30"`, "1e": `"1e"`, "-": `"-"`, ".": `"."`,
		"0x": `"0x"`, "1 2": `"1 2"`, "-.5e1": "-5", "0o8": `"0o8"`,
	}
	for text, want := range tests {
		if got := resolvePlain(text).JSON(); got != want {
			t.Errorf("%q resolves to %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]float64{".inf": math.Inf(1), "-.INF": math.Inf(-1), "+.Inf": math.Inf(1), "1e999": math.Inf(1)} {
		if got, _ := resolvePlain(text).AsNumber(); got != want {
			t.Errorf("%q resolves to %v, want %v", text, got, want)
		}
	}
	if got, ok := resolvePlain(".nan").AsNumber(); !ok || !math.IsNaN(got) {
		t.Errorf(".nan resolves to %v", got)
	}
}

func TestYAMLDocuments(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, source, want string }{
		{"scalars in place", "a: 012\nb: \"012\"\nc: '~'\nd: !!str 5\ne: ! 6\n", `{"a":12,"b":"012","c":"~","d":"5","e":"6"}`},
		{"blocks", "a: |\n  one\n  two\nb: >-\n  x\n  y\nc: plain\n  more\n", `{"a":"one\ntwo\n","b":"x y","c":"plain more"}`},
		{"anchors", "a: &x {k: [1]}\nb: *x\n", `{"a":{"k":[1]},"b":{"k":[1]}}`},
		{"no merge", "a: &x {k: 1}\nb:\n  <<: *x\n  z: 2\n", `{"a":{"k":1},"b":{"<<":{"k":1},"z":2}}`},
		{"keys are text", "1: a\ntrue: b\n? c\n: d\n1.50: e\n", `{"1":"a","true":"b","c":"d","1.5":"e"}`},
		{"flow", "{\"a\":[1,{\"b\":null}]}", `{"a":[1,{"b":null}]}`},
		{"comment and mark", "\uFEFF# hi\n%YAML 1.2\n---\na: 1 # x\n...\n", `{"a":1}`},
		{"directive", "%YAML 1.2\n---\na: 1\n", `{"a":1}`},
		{"empty", "# nothing\n", `null`},
		{"windows", "a: 1\r\nb: |\r\n  x\r\n  y\r\n", `{"a":1,"b":"x\ny\n"}`},
		{"tabs within text", "a: x\ty \t z\nb:\tc\nd: |\n  p\tq\ne: \"r\ts\"\nf: [t\tu]\n", `{"a":"x\ty \t z","b":"c","d":"p\tq\n","e":"r\ts","f":["t\tu"]}`},
		{"old directive", "%YAML 1.1\n---\na: yes\n", `{"a":"yes"}`},
		{"tags of other schemas", "a: !!set {x, y}\nb: !!timestamp 2024-01-05\nc: !!binary aGk=\n", `{"a":{"x":null,"y":null},"b":"2024-01-05","c":"aGk="}`},
		{"two documents", "a: 1\n---\nb: 2\n", ""},
		{"unknown alias", "a: *nope\n", ""},
		{"own alias", "a: &a [*a]\n", ""},
		{"duplicate", "a: 1\na: 2\n", ""},
		{"list as key", "? [a, b]\n: 1\n", ""},
		{"reserved", "a: @x\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n, err := parseYAML(tt.source)
			if tt.want == "" {
				if err == nil {
					t.Errorf("accepted as %s", n.value.JSON())
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := n.value.JSON(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestSyntaxErrorShowsTheLine(t *testing.T) {
	t.Parallel()
	_, err := parseYAML("steps:\n  - id: a\n    run: echo '{\"b\" : 1}'\n")
	want := "Nested mappings are not allowed in compact mappings at line 3, column 10:\n\n    run: echo '{\"b\" : 1}'\n         ^\n"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	long := caret(strings.Repeat("a", 200), 1, 150)
	top, bottom, _ := strings.Cut(long, "\n")
	if value.Len16(top) > 81 || top[:3] != "…" || len(bottom) != 41 {
		t.Errorf("long line shown as\n%s", long)
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	doc, err := value.Parse(`{"n":5,"str":"abc","num":"7","t":true,"f":false,"z":null,"l":[1,2],"o":{"k":"v","a":1},"p":{"a":1,"k":"v"},"e":"","neg":-2.5}`)
	if err != nil {
		t.Fatal(err)
	}
	done := &results{}
	done.set("s", value.Record(value.F("json", doc), value.F("stdout", value.String("x"))))
	done.set("my-step_1", value.Record(value.F("skipped", value.True)))
	sc := scope{value.Undefined, done}
	tests := map[string]string{
		"$s.json.f": "false", "$s.json.missing": "false", "$s.json.e": "false", "$s.json.o": "true", "$s.json.l": "true", "!$s.json.t": "false", "!!$s.json.t": "true",
		"$s.json.num == 7": "false", `$s.json.num == "7"`: "true", "$s.json.str == abc": "true", "$s.json.z == null": "true", "$s.json.missing == null": "false",
		"$s.json.missing != null": "true", "$s.json.num < 10": "true", "$s.json.t > 0": "false", "$s.json.z >= 0": "false", "$s.json.e < 1": "false",
		"$s.json.t || $s.json.f && $s.json.f": "true", "($s.json.t || $s.json.f) && $s.json.f": "false", "!$s.json.n == 5": "false", "$s.json.o == $s.json.p": "true",
		"$s.json.l == $s.json.l": "true", "$s.json.l.1 == 2": "true", "$s.json.l.length == 2": "false", "$s.json.l.9 == 1": "false", "$s.json.neg == -2.5": "true",
		`"a" == a`: "true", `'it\'s' == "it's"`: "true", "$s.json.n==5&&$s.json.t": "true", "-1": "true", "0": "false", `""`: "false", "null": "false",
		"$my-step_1.skipped": "true", "$s.skipped == false": "false", "$s.json.str.length == 3": "false", "  true  ": "true", "!(1 > 2)": "true",
		"$ghost.json": "Unknown step reference: ghost.json", "true || $ghost.json": "Unknown step reference: ghost.json",
		"abc": "Unsupported condition: abc", "abc == abc": "Unsupported condition: abc == abc", "": "Unsupported condition: ", "   ": "Unsupported condition: ",
		"$s": "Unsupported condition: $s", "1 < 2 == true": "Unsupported condition: 1 < 2 == true", "true false": "Unsupported condition: true false",
		"$s.json.n ==": "Unsupported condition: $s.json.n ==", `"open`: `Unsupported condition: "open`, "(true": "Unsupported condition: (true", "true)": "Unsupported condition: true)",
		"1 = 1": "Unsupported condition: 1 = 1", "a & b": "Unsupported condition: a & b", "§": "Unsupported condition: §",
	}
	for text, want := range tests {
		ok, err := sc.allows(value.String(text))
		got := map[bool]string{true: "true", false: "false"}[ok]
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	deep := strings.Repeat("(", 100000) + "1" + strings.Repeat(")", 100000)
	if _, err := parseCondition(deep); err == nil {
		t.Error("100000 brackets were accepted")
	}
	if _, err := parseCondition(strings.Repeat("!", 100000) + "1"); err == nil {
		t.Error("100000 negations were accepted")
	}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	args, _ := value.Parse(`{"who":"Kim","n":3,"o":{"k":1},"l":[1,null,"x"],"z":null,"ref":"$a.json.k","q":"o","l1":"q","dotted":"o.q.1","none":"x1"}`)
	const whole = `{"k":"deep","o":{"q":[1,"x"]},"t":true,"z":null}`
	res, _ := value.Parse(`{"id":"a","stdout":"line\n","json":{"k":"deep","o":{"q":[1,"x"]},"t":true,"z":null}}`)
	done := &results{}
	done.set("a", res)
	sc := scope{args, done}
	tests := map[string]string{
		"hi ${who}, ${n} ${o} ${l} ${z}":                            "hi Kim, 3 [object Object] 1,,x null",
		"${nope} $HOME ${who":                                       "${nope} $HOME ${who",
		"$a.json.k|$a.json.o.q.1|$a.json.o":                         `deep|x|{"q":[1,"x"]}`,
		"[$a.stdout]":                                               "[line\n]",
		"$a.stdout. done $a.json.t.":                                "line\n. done true.",
		"$a.approved $a.skipped $a.error $a.json.z|":                "false false  |",
		"$ghost.json $a":                                            "$ghost.json $a",
		"$a.json.${q} $a.json.o.${l1}.1 $a.json.${dotted}":          `{"q":[1,"x"]} x x`,
		"$a.json.${none}|$a.json.none.${q}|$a.json.o.q.${n}|":       "|||",
		"$a.json.k.${q} $a.stdout${q} $a.json.${nope} $b.json.${q}": "deep.o line\no " + whole + ".${nope} $b.json.o",
		"$a.json.${ref}":                                            whole + ".$a.json.k",
		"${ref} $${who}.json":                                       "$a.json.k $Kim.json", // what an argument puts in is not read again
	}
	for text, want := range tests {
		if got := sc.fill(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestArgVariables(t *testing.T) {
	t.Parallel()
	tests := map[string]string{"who": "WHO", "my-arg.x": "MY_ARG_X", "__a__": "A", "é": "", "a  b": "A_B", "9": "9"}
	for name, want := range tests {
		if got := argVar(name); got != want {
			t.Errorf("argVar(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestDiffShowsWhatChanged(t *testing.T) {
	t.Parallel()
	got := diff("a\nb\nc\nd", "a\nB\nC\nd")
	if want := "@@ line 2 @@\n- b\n- c\n+ B\n+ C"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := diff("a\na\na", "a\na"); got != "@@ line 3 @@\n- a" {
		t.Errorf("a shorter text differs by\n%s", got)
	}
}

func FuzzCondition(f *testing.F) {
	for _, seed := range []string{"$a.json.n > 4 && !$b.skipped", `'x\'' == "y"`, "((1))", "!= 5", "-1.5e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCondition(text)
		at := condFault(text)
		if at < 0 || at > len(text) {
			t.Fatalf("fault at %d of %d", at, len(text))
		}
		if err == nil {
			_, _ = c.eval(func(reference) (value.Value, error) { return value.Null, nil }) // only that it ends
		}
	})
}

func FuzzTemplate(f *testing.F) {
	f.Add("a ${who} $a.json.k.0 $$ ${", "$a.stdout")
	f.Fuzz(func(t *testing.T, text, arg string) {
		done := &results{}
		done.set("a", value.Record(value.F("stdout", value.String("out"))))
		sc := scope{value.Record(value.F("who", value.String(value.Clean(arg)))), done}
		_ = sc.fill(text)
		if _, isRef := asReference(text); isRef && len(references(value.Trim(text))) != 1 {
			t.Fatalf("%q is one reference and is not", text)
		}
	})
}

func FuzzFile(f *testing.F) {
	f.Add("steps: [{id: a, run: ls, when: $a.json}]", false)
	f.Add("args: {x: {default: 1}}\nsteps:\n  - id: l\n    for_each: $a.json\n    steps: [{id: b, pipeline: head}]\n", false)
	f.Add(`{"steps":[{"id":"a","run":"ls","retry":{"max":2}}]}`, true)
	f.Add("a: &a [*a, *b]\n? {x: 1}\n: - - |\n  x\n", false)
	f.Fuzz(func(t *testing.T, source string, isJSON bool) {
		name := "x.yaml"
		if isJSON {
			name = "x.json"
		}
		file, err := Parse(name, source)
		problems := CheckSource(name, source, nil)
		if err != nil {
			if !hasFault(problems) {
				t.Fatalf("check finds nothing, but loading says %v", err)
			}
			return
		}
		for _, p := range problems {
			_ = p.Report(name, source)
		}
		for _, format := range Formats {
			if _, err := Graph(file, value.Undefined, format); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func hasFault(problems []Problem) bool {
	for _, p := range problems {
		if p.Severity == Fault {
			return true
		}
	}
	return false
}

func TestScripts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"ls -l a/b":                              "",
		"./build.sh --all x/y":                   "./build.sh",
		"cd x && MODE=1 bash -eu 'deploy.sh' a":  "deploy.sh",
		"exec --json './list.py 3' | head":       "./list.py",
		"python3 -u a.py; node b.js\n. ./env.sh": "a.py b.js ./env.sh",
		"sh $script; bash -c \"$X\"":             "",
		"if ./ready; then sudo /opt/go; fi":      "./ready /opt/go",
		"":                                       "",
	} {
		if got := strings.Join(scripts(text), " "); got != want {
			t.Errorf("scripts(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestPartsOfStepsAreInTheJournal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kid.lobster"), []byte("steps: [{id: c, pipeline: head}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Parse(filepath.Join(dir, "x.lobster"), "steps:\n- {id: p, parallel: {branches: [{id: b, pipeline: nothing-like-it}]}, on_error: continue}\n"+
		"- {id: l, for_each: $list.json, steps: [{id: s, pipeline: nothing-like-it}], on_error: continue}\n- {id: n, workflow: kid.lobster, on_error: continue}\n")
	if err != nil {
		t.Fatal(err)
	}
	journal := state.OpenJournal(filepath.Join(dir, "journal"))
	opts := Options{Env: &interp.Env{Commands: interp.NewRegistry(), Mode: interp.Tool}, Journal: journal}
	r, err := newRunner(f, shared(opts), value.Record(), "run")
	if err != nil {
		t.Fatal(err)
	}
	r.done.set("list", value.Record(value.F("json", value.List(value.Int(1), value.Int(2)))))
	if _, err := r.steps(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for e, err := range journal.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if e.Event == "part.end" {
			got = append(got, e.Step+" "+e.Kind+" "+e.Status)
		}
	}
	if want := "p/b pipeline error, l[0]/s pipeline error, n/c pipeline error"; strings.Join(got, ", ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPartsAreBounded(t *testing.T) {
	t.Parallel()
	var p parts
	written, last := 0, ""
	for range maxParts + 50 {
		if e := (state.Event{Status: "ok"}); p.admit(&e) {
			written, last = written+1, e.Status
		}
	}
	if written != maxParts+1 || !strings.Contains(last, "not listed") {
		t.Errorf("%d entries were written, the last with %q", written, last)
	}
}

func TestHiddenScripts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"echo $A > $B":                    "",
		"./deploy.sh $TARGET":             "",
		"sh ${dir}/deploy.sh":             "",
		`sh "$DIR/deploy.sh"`:             "$DIR/deploy.sh",
		"true; $TOOL --all":               "$TOOL",
		"cd sub && ./deploy.sh":           "./deploy.sh",
		"cd sub && ls && make":            "",
		"cd sub; python3 gen.py":          "gen.py",
		"cd sub; /opt/deploy.sh":          "",
		"exec --shell 'bash $X' | head":   "$X",
		"if ./ready; then `which go`; fi": "`which",
	} {
		if got, hidden := hiddenScript(text); got != want || hidden != (want != "") {
			t.Errorf("hiddenScript(%q) = %q, %v, want %q", text, got, hidden, want)
		}
	}
}

// A model that does not say what it used costs nothing, and nobody is warned that its price is unknown.
func TestAnswersWithoutUsageAreFree(t *testing.T) {
	t.Parallel()
	var warnings strings.Builder
	m := newMeter(&interp.Env{Stderr: &warnings}, nil)
	used := value.Record(value.F("inputTokens", value.Int(1e6)), value.F("outputTokens", value.Int(0)))
	for _, usage := range []value.Value{value.Null, value.Undefined, used} {
		a := m.account("s")
		a.answer(interp.Answer{Item: value.Record(value.F("model", value.String("gpt-4o")), value.F("usage", usage))})
		a.answer(interp.Answer{Item: value.Record(value.F("model", value.String("unheard-of")), value.F("usage", value.Null))})
		a.settle()
	}
	if got := m.summary(); len(got.Charges) != 1 || got.USD != 2.5 || warnings.String() != "" {
		t.Errorf("got %+v and %q, want one charge of 2.5 USD and no warning", got, warnings.String())
	}
}
