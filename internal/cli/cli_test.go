package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestReport(t *testing.T) {
	t.Parallel()
	wrapped := fmt.Errorf("start: %w", Hintf(fs.ErrNotExist, "make it\nwith care"))
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{nil, OK, ""},
		{errors.New("no"), Failure, "error: no\n"},
		{wrapped, Failure, "error: start: file does not exist\nhint: make it\n      with care\n"},
		{Hintf(wrapped, "first"), Failure, "error: start: file does not exist\nhint: first\nhint: make it\n      with care\n"},
		{errors.Join(wrapped, nil), Failure, "error: start: file does not exist\nhint: make it\n      with care\n"},
		{Usagef("bad %s", "flag"), Misuse, "error: bad flag\n"},
		{Hintf(Usagef("bad"), "try"), Misuse, "error: bad\nhint: try\n"},
		{fmt.Errorf("ask: %w", refused("ask again")), Failure, "error: ask: refused\nhint: ask again\n"},
		{refused(""), Failure, "error: refused\n"},
		{Exit(1), Failure, ""},
		{fmt.Errorf("a: %w", Exit(2)), Misuse, ""},
		{errors.New("\x1b[2Jgone"), Failure, "error: [2Jgone\n"},
	} {
		var out bytes.Buffer
		code := IO{Err: &out}.Report(c.err)
		if code != c.code || out.String() != c.text {
			t.Errorf("Report(%v) = %d, %q; want %d, %q", c.err, code, out.String(), c.code, c.text)
		}
	}
	if Hintf(nil, "x") != nil {
		t.Error("a hint made an error of nil")
	}
}

// refused is an error of another package that knows what can be done.
type refused string

func (refused) Error() string    { return "refused" }
func (r refused) Advice() string { return string(r) }

func TestGetenv(t *testing.T) {
	t.Parallel()
	io := IO{Env: []string{"A=1", "AB=2", "A=3", "E="}}
	for name, want := range map[string]string{"A": "3", "AB": "2", "E": "", "X": ""} {
		if got := io.Getenv(name); got != want {
			t.Errorf("Getenv(%q) = %q; want %q", name, got, want)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"0":                 Count(0),
		"999":               Count(999),
		"1,000":             Count(1000),
		"-12,345,678":       Count(int64(-12345678)),
		"+7":                Signed(7),
		"0 models":          Plural(0, "model"),
		"1 model":           Plural(1, "model"),
		"12 ms":             Duration(12345 * time.Microsecond),
		"1.4 s":             Duration(1432 * time.Millisecond),
		"59 s":              Duration(59 * time.Second),
		"2 min 5 s":         Duration(125 * time.Second),
		"3 h":               Duration(3 * time.Hour),
		"4 d 1 h":           Duration(97 * time.Hour),
		"-1.0 s":            Duration(-time.Second),
		"a b":               CleanLine("a\n\tb\x1b\x07"),
		"evil[31m":          Clean("evil\x1b[31m\u202e"),
		"credit,edit":       strings.Join(Nearest("cedit", []string{"queue", "credit", "edit"}), ","),
		"worker.queue":      strings.Join(Nearest("queue", []string{"worker.queue", "log.level"}), ","),
		"(nothing is near)": "(nothing is near)" + strings.Join(Nearest("zzz", []string{"queue"}), ","),
	} {
		if got != want && !(want == "credit,edit" && got == "edit,credit") {
			t.Errorf("got %q; want %q", got, want)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	table := Table{Right: []int{1}}
	table.Row("name", "tokens")
	table.Row("a long name", "7")
	table.Row("é\x1b", "12,345", "self")
	var out bytes.Buffer
	if err := table.Print(&out, "  "); err != nil {
		t.Fatal(err)
	}
	want := "  name         tokens\n  a long name       7\n  é            12,345  self\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for wait, want := range map[time.Duration]string{
			500 * time.Millisecond:  "",
			3500 * time.Millisecond: "looking ...\n",
		} {
			var out bytes.Buffer
			done := IO{Err: &out}.Progress("looking")
			time.Sleep(wait) // virtual
			done()
			if out.String() != want {
				t.Errorf("after %v: %q; want %q", wait, out.String(), want)
			}
		}
	})
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		time.AfterFunc(2500*time.Millisecond, func() { close(stop) })
		progress(&out, true, "looking", stop)
	})
	if got := strings.Split(out.String(), "\r\x1b[K"); !slices.Equal(got, []string{"", "looking (1.0 s)", "looking (2.0 s)", ""}) {
		t.Errorf("on a terminal: %q", got)
	}
}
