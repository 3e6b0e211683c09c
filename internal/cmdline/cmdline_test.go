package cmdline

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"lobstah/internal/cli"
)

// boat is a program with a command of commands, an enum, and something hidden.
type boat struct {
	Sail struct {
		Where string `arg:"" help:"The port."`
		Speed string `enum:"slow,fast" default:"slow" help:"How fast."`
		Quiet bool   `help:"Say nothing."`
	} `cmd:"" help:"Go somewhere."`
	Crew struct {
		List struct{} `cmd:"" help:"Who is aboard."`
		Add  struct {
			Name string `arg:""`
		} `cmd:"" help:"Take somebody aboard."`
	} `cmd:"" help:"The people."`
	Secret struct{} `cmd:"" hidden:""`
}

var program = &Program{Name: "boat", Intro: "boat sails.", Outro: "That is all."}

// launch parses a command line, and returns what was printed.
func launch(t *testing.T, args ...string) (parser *kong.Kong, printed string, helped bool, err error) {
	t.Helper()
	var out bytes.Buffer
	parser, err = program.New(&boat{}, cli.IO{Out: &out, Err: &out}, &helped)
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(args)
	return parser, out.String(), helped, err
}

func TestRewrite(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"": "--help", "help": "--help", "-h": "--help", "help crew add": "crew add --help",
		"-v": "version", "--version": "version", "sail there -v": "sail there -v",
	} {
		if got := strings.Join(Rewrite(strings.Fields(typed)), " "); got != want {
			t.Errorf("%q becomes %q, want %q", typed, got, want)
		}
	}
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ typed, message, hint string }{
		{"sai there", "unknown command: sai", "did you mean: boat sail"},
		{"zzzzzzzz", "unknown command: zzzzzzzz", "boat --help lists the commands"},
		{"sail", "expected", "boat sail --help shows how it is used"},
		{"crew add Ann --loud", "unknown flag --loud", "boat crew add --help shows how it is used"},
		{"sail there --speed warp", "must be one of", "boat sail --help shows how it is used"},
	} {
		args := strings.Fields(test.typed)
		parser, _, _, err := launch(t, args...)
		if err == nil {
			t.Errorf("%q is accepted", test.typed)
			continue
		}
		var printed bytes.Buffer
		streams := cli.IO{Out: &printed, Err: &printed}
		code := streams.Report(program.Misuse(parser, args, err))
		if code != cli.Misuse || !strings.Contains(printed.String(), test.message) || !strings.Contains(printed.String(), "hint: "+test.hint) {
			t.Errorf("%q: code %d and %q, want %q and the hint %q", test.typed, code, &printed, test.message, test.hint)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	_, all, helped, _ := launch(t, "--help") // which is no command, as kong says after it
	for _, want := range []string{"boat sails.", "Go somewhere.", "The people.", "That is all."} {
		if !strings.Contains(all, want) {
			t.Errorf("--help does not say %q:\n%s", want, all)
		}
	}
	if strings.Contains(all, "secret") || !helped {
		t.Errorf("helped is %t, and --help says\n%s", helped, all)
	}
	_, one, _, _ := launch(t, "sail", "--help")
	for _, want := range []string{"Usage: boat sail <where>", "Arguments:", "The port.", "--speed", "How fast (default slow)."} {
		if !strings.Contains(one, want) {
			t.Errorf("sail --help does not say %q:\n%s", want, one)
		}
	}
}

func TestComplete(t *testing.T) {
	t.Parallel()
	ports := func(at Place) []Word {
		if Path(at.Command) == "sail" && len(at.Arguments) == 0 {
			return []Word{{"haven", "a\nport"}}
		}
		return nil
	}
	for typed, want := range map[string]string{
		"":               "sail crew",
		"-- s":           "sail",
		"cr":             "crew",
		"crew ":          "list add",
		"crew a":         "add",
		"sail ":          "haven",
		"sail haven ":    "",
		"sail --sp":      "--speed",
		"sail --speed ":  "slow fast",
		"sail --speed f": "fast",
		"sail --quiet h": "haven",
	} {
		parser, _, _, _ := launch(t, "crew", "list")
		var out bytes.Buffer
		Complete(&out, parser, strings.Split(typed, " "), ports)
		var words []string
		for line := range strings.Lines(out.String()) {
			word, _, _ := strings.Cut(line, "\t")
			words = append(words, word)
		}
		if got := strings.Join(slices.Compact(words), " "); got != want {
			t.Errorf("after %q come %q, want %q", typed, got, want)
		}
	}
}

func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if script := program.CompletionScript(shell); !strings.Contains(script, "boat __complete") || strings.Contains(script, "PROG") {
			t.Errorf("%s: %s", shell, script)
		}
	}
}
