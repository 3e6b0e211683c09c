package format

import (
	"errors"
	"strings"
	"testing"
)

func TestFile(t *testing.T) {
	t.Parallel()
	const messy = `# top
name:   demo   # trailing
args:
    who: {default: "x"}


steps:
-   id: a
    run: |
       echo hi
         there
  # before b
-   id:  b
    pipeline: "exec   echo"
    env:
          A:   '1'
    when: >-
       $a.approved
       && true
-   {id: c, run: echo}
`
	const tidy = `# top
name: demo # trailing

args:
  who: {default: "x"}

steps:
  - id: a
    run: |
      echo hi
        there

  # before b
  - id: b
    pipeline: "exec   echo"
    env:
      A: '1'
    when: >-
      $a.approved
      && true

  - {id: c, run: echo}
`
	got, err := File("x.lobster", messy)
	if err != nil {
		t.Fatal(err)
	}
	if got != tidy {
		t.Errorf("got:\n%s\nwant:\n%s", got, tidy)
	}
	again, err := File("x.lobster", got)
	if err != nil || again != got {
		t.Errorf("formatting twice: got %v and\n%s\nwant:\n%s", err, again, got)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	got, err := File("x.json", `{"steps":[{"id":"a","run":"echo"}]}`)
	want := "{\n  \"steps\": [\n    {\n      \"id\": \"a\",\n      \"run\": \"echo\"\n    }\n  ]\n}\n"
	if err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func FuzzFile(f *testing.F) {
	f.Add("steps:\n- id: a\n  run: |\n    x\n")
	f.Add("a: [1, {b: c}] # d\n")
	f.Add("- - a\n  - b\n-\n  c: d\n")
	f.Fuzz(func(t *testing.T, source string) {
		out, err := File("x.yaml", source)
		if err != nil {
			return
		}
		again, err := File("x.yaml", out)
		if errors.Is(err, ErrLossy) || (err == nil && again != out) {
			t.Errorf("not stable:\n%q\n%q (%v)", out, again, err)
		}
	})
}

func TestDeepFile(t *testing.T) {
	t.Parallel()
	if _, err := File("deep.yaml", "a: "+strings.Repeat("[", 1<<20)); err == nil || !strings.Contains(err.Error(), "deeper than 1000") {
		t.Errorf("got %v, want an error about depth", err)
	}
}
