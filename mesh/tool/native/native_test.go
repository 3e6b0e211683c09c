package native

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/mesh/tool"
	"lobstah/mesh/tool/tooltest"
)

func codeOf(err error) string {
	if e, ok := errors.AsType[*tool.Error](err); ok {
		return e.Code
	}
	return ""
}

func args(t *testing.T, v any) json.RawMessage {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// bench is the tools with one granted folder.
type bench struct {
	*Tools
	t     *testing.T
	dir   string
	grant tool.Grant
}

func newBench(t *testing.T) *bench {
	t.Parallel()
	dir := t.TempDir()
	env := append(os.Environ(), "OPENAI_API_KEY=hunter2", "GREETING=hello")
	return &bench{
		Tools: New(Config{Work: filepath.Join(t.TempDir(), "work"), Env: env, Pass: []string{"GREETING"}}), t: t, dir: dir,
		grant: tool.Grant{Roots: []string{dir}, Shell: true, Timeout: time.Minute, MaxOutput: 1 << 20},
	}
}

func (b *bench) call(ctx context.Context, name string, in any, progress tool.Progress) (*tool.Result, error) {
	b.t.Helper()
	return b.Call(ctx, &tool.Call{Tool: name, Args: args(b.t, in), Grant: b.grant}, progress)
}

func (b *bench) do(name string, in any) (string, error) {
	b.t.Helper()
	r, err := b.call(b.t.Context(), name, in, func(string, []byte) {})
	if err != nil {
		return "", err
	}
	return r.String(), nil
}

func (b *bench) put(name, content string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) get(name string) string {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

type object = map[string]any

func TestReadLines(t *testing.T) {
	b := newBench(t)
	b.put("a", "one\ntwo\nthree\n")
	b.put("open", "no end")
	b.put("none", "")
	for _, c := range []struct {
		in   object
		want string
	}{
		{object{"path": "a"}, "one\ntwo\nthree\n"},
		{object{"path": filepath.Join(b.dir, "a")}, "one\ntwo\nthree\n"},
		{object{"path": "a", "offset": 2}, "two\nthree\n"},
		{object{"path": "a", "offset": 2, "limit": 1}, "two\n"},
		{object{"path": "a", "limit": 9}, "one\ntwo\nthree\n"},
		{object{"path": "open"}, "no end"},
		{object{"path": "none"}, ""},
		{object{"path": "a", "encoding": "base64"}, base64.StdEncoding.EncodeToString([]byte("one\ntwo\nthree\n"))},
	} {
		if got, err := b.do(tool.Read, c.in); got != c.want || err != nil {
			t.Errorf("%v: %q, %v; want %q", c.in, got, err, c.want)
		}
	}
	for _, c := range []struct {
		in   object
		want string
	}{
		{object{"path": "missing"}, "does not exist"},
		{object{"path": "."}, "no regular file"},
		{object{"path": "a", "offset": 9}, "has 3 lines"},
		{object{"path": "a", "offset": -1}, "begin at 1"},
		{object{"path": "a", "lines": 1}, "lines"},
		{object{"path": "a", "encoding": "utf-16"}, "encoding is"},
	} {
		if got, err := b.do(tool.Read, c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %q, %v; want %q", c.in, got, err, c.want)
		}
	}
}

// A large file is read in pieces that say where the next begins.
func TestReadInPieces(t *testing.T) {
	b := newBench(t)
	var whole strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&whole, "line %d of the file\n", i)
	}
	b.put("a", whole.String())
	b.grant.MaxOutput = 10_000
	var got strings.Builder
	for offset := 1; offset > 0; {
		r, err := b.call(t.Context(), tool.Read, object{"path": "a", "offset": offset}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var details struct{ NextOffset int }
		if err := json.Unmarshal(r.Details, &details); err != nil {
			t.Fatal(err)
		}
		offset = details.NextOffset
		text, _, _ := strings.Cut(r.String(), "[more follows")
		if len(text) > b.grant.MaxOutput {
			t.Fatalf("a piece of %d bytes", len(text))
		}
		got.WriteString(text)
	}
	if got.String() != whole.String() {
		t.Error("the pieces are not the file")
	}
	b.put("long", strings.Repeat("x", 20_000))
	if _, err := b.do(tool.Read, object{"path": "long"}); err == nil || !strings.Contains(err.Error(), "line 1 alone") {
		t.Errorf("a line without an end: %v", err)
	}
}

// A caller who leaves is not read for to the end of the file, whatever stands in it.
func TestReadEndsWithItsCaller(t *testing.T) {
	b := newBench(t)
	text := strings.Repeat("x", binaryHint)
	b.put("a", text)
	if err := os.Truncate(filepath.Join(b.dir, "a"), 1<<40); err != nil { // a hole without a line's end
		t.Skip("no sparse files here:", err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("the caller left"))
	defer cancel()
	if r, err := b.call(ctx, tool.Read, object{"path": "a", "offset": 2}, nil); err == nil || !strings.Contains(err.Error(), "the caller left") {
		t.Errorf("%+v, %v", r, err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	in := while{ctx, strings.NewReader("content")}
	if n, err := in.Read(make([]byte, 3)); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	cancel()
	if n, err := in.Read(make([]byte, 3)); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d, %v", n, err)
	}
}

func TestReadBinary(t *testing.T) {
	b := newBench(t)
	png := "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
	b.put("a.png", png)
	b.put("b.bin", "a\x00b")
	r, err := b.call(t.Context(), tool.Read, object{"path": "a.png"}, nil)
	if err != nil || len(r.Content) != 1 || r.Content[0].Type != "image" || r.Content[0].MIMEType != "image/png" || r.Content[0].Data != base64.StdEncoding.EncodeToString([]byte(png)) {
		t.Errorf("an image: %+v, %v", r, err)
	}
	if _, err := b.do(tool.Read, object{"path": "b.bin"}); err == nil || !strings.Contains(err.Error(), "base64") {
		t.Errorf("a binary file: %v", err)
	}
	// A character across the edge of what is looked at is no reason to call a text binary.
	b.put("c", strings.Repeat("x", binaryHint-1)+"é rest")
	if got, err := b.do(tool.Read, object{"path": "c"}); err != nil || !strings.HasSuffix(got, "xé rest") {
		t.Errorf("text: %v", err)
	}
}

// A file of any size is read in parts, which tell whether they are of one file.
func TestReadParts(t *testing.T) {
	b := newBench(t)
	b.grant.MaxOutput = 12 // as base64: nine bytes
	b.put("a", "0123456789abcdefghi\x00")
	var got []byte
	var versions []string
	for start := int64(0); ; {
		r, err := b.call(t.Context(), tool.Read, object{"path": "a", "encoding": "base64", "start": start}, nil)
		if err != nil {
			t.Fatal(err)
		}
		part, err := base64.StdEncoding.DecodeString(r.String())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, part...)
		var details struct {
			Size, NextStart int64
			Modified        string
		}
		if err := json.Unmarshal(r.Details, &details); err != nil || details.Size != 20 {
			t.Fatalf("the details are %s, %v; want the size 20", r.Details, err)
		}
		versions = append(versions, details.Modified)
		if details.NextStart == 0 {
			break
		}
		start = details.NextStart
	}
	if string(got) != "0123456789abcdefghi\x00" || len(versions) != 3 || versions[0] != versions[2] || versions[0] == "" {
		t.Errorf("got %q in parts of %q; want it whole, in three parts of one version", got, versions)
	}
	for _, in := range []object{
		{"path": "a", "start": 0}, {"path": "a", "encoding": "base64", "start": -1}, {"path": "a", "encoding": "base64", "start": 21},
		{"path": "a", "encoding": "base64", "start": 1, "offset": 1},
	} {
		if _, err := b.do(tool.Read, in); err == nil || !strings.Contains(err.Error(), "start") {
			t.Errorf("%v: %v; want an error about start", in, err)
		}
	}
	if _, err := b.do(tool.Read, object{"path": "a", "encoding": "base64"}); err == nil || !strings.Contains(err.Error(), `"start"`) {
		t.Errorf("a file that is too large at once: %v; want what to do", err)
	}
}

// Links are judged where the file is opened: what leads out is refused whatever
// the path looks like, for every tool.
func TestLinksOutOfTheRoot(t *testing.T) {
	b := newBench(t)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(b.dir, "folder")); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	rel, err := filepath.Rel(b.dir, filepath.Join(outside, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"absolute": filepath.Join(outside, "secret"), "relative": rel, "twice": "folder/secret"} {
		if err := os.Symlink(target, filepath.Join(b.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"absolute", "relative", "twice", "folder/secret", "folder/../folder/secret"} {
		for name, in := range map[string]object{
			tool.Read: {"path": path}, tool.Edit: {"path": path, "oldText": "hunter2", "newText": "x"}, tool.Write: {"path": path, "content": "x"},
		} {
			if got, err := b.do(name, in); codeOf(err) != tool.CodePath {
				t.Errorf("%s %s: %q, %v; want %s", name, path, got, err, tool.CodePath)
			}
		}
	}
	if got, err := b.do(tool.List, object{"path": "folder"}); codeOf(err) != tool.CodePath {
		t.Errorf("list: %q, %v", got, err)
	}
	if got, err := b.do(tool.Exec, object{"command": "cat secret", "workdir": "folder"}); codeOf(err) != tool.CodePath {
		t.Errorf("exec: %q, %v", got, err)
	}
	if data, err := os.ReadFile(filepath.Join(outside, "secret")); string(data) != "hunter2" || err != nil {
		t.Errorf("the file outside is %q, %v", data, err)
	}
	b.put("inside", "fine")
	if err := os.Symlink("inside", filepath.Join(b.dir, "link")); err != nil {
		t.Fatal(err)
	}
	if got, err := b.do(tool.Read, object{"path": "link"}); got != "fine" || err != nil {
		t.Errorf("a link within: %q, %v", got, err)
	}
}

// Somebody exchanges a folder for a link out while files in it are read and
// written. Nothing outside is ever touched.
func TestRaceWithLinks(t *testing.T) {
	b := newBench(t)
	outside := t.TempDir()
	for dir, content := range map[string]string{outside: "hunter2", filepath.Join(b.dir, "real"): "fine"} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "a"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := filepath.Join(b.dir, "at")
	done := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			_ = os.RemoveAll(at) // a write may have made a folder of this name
			target := outside
			if n%2 == 0 {
				target = "real"
			}
			_ = os.Symlink(target, at) // or has made it again meanwhile
		}
	})
	for range 300 {
		if got, err := b.do(tool.Read, object{"path": "at/a"}); err == nil && got == "hunter2" {
			t.Fatal("read what lies outside")
		}
		_, _ = b.do(tool.Write, object{"path": "at/new", "content": "x"}) // either outcome is fine, but not outside
	}
	close(done)
	swapping.Wait()
	if names, err := os.ReadDir(outside); len(names) != 1 || err != nil {
		t.Errorf("outside lies %v, %v", names, err)
	}
}

func TestPipesAndDevicesAreNotOpened(t *testing.T) {
	b := newBench(t)
	mkfifo, err := exec.LookPath("mkfifo")
	if err != nil {
		t.Skip("no mkfifo here")
	}
	if err := exec.Command(mkfifo, filepath.Join(b.dir, "pipe")).Run(); err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]object{tool.Read: {"path": "pipe"}, tool.Write: {"path": "pipe", "content": ""}, tool.Edit: {"path": "pipe", "oldText": "a"}} {
		if _, err := b.do(name, in); err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWrite(t *testing.T) {
	b := newBench(t)
	if _, err := b.do(tool.Write, object{"path": "new/deep/a", "content": "one"}); err != nil || b.get("new/deep/a") != "one" {
		t.Errorf("a new file: %v", err)
	}
	if err := os.Chmod(filepath.Join(b.dir, "new/deep/a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := b.do(tool.Write, object{"path": "new/deep/a", "content": "AP8=", "encoding": "base64"}); err != nil || b.get("new/deep/a") != "\x00\xff" {
		t.Errorf("bytes: %v", err)
	}
	info, err := os.Stat(filepath.Join(b.dir, "new/deep/a"))
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o755 {
		t.Errorf("the permissions became %v, %v", info.Mode(), err)
	}
	names, err := os.ReadDir(filepath.Join(b.dir, "new/deep"))
	if len(names) != 1 || err != nil {
		t.Errorf("left behind: %v, %v", names, err)
	}
	for _, in := range []object{{"path": "a"}, {"path": "new", "content": ""}, {"path": ".", "content": ""}, {"path": "a", "content": "%", "encoding": "base64"}, {"path": "a", "content": "", "mode": 1}} {
		if _, err := b.do(tool.Write, in); err == nil {
			t.Errorf("%v was written", in)
		}
	}
}

func TestEdit(t *testing.T) {
	b := newBench(t)
	edits := func(pairs ...string) []object {
		var out []object
		for pair := range slices.Chunk(pairs, 2) {
			out = append(out, object{"oldText": pair[0], "newText": pair[1]})
		}
		return out
	}
	for _, c := range []struct {
		before string
		in     object
		after  string // empty: refused
		why    string
	}{
		{"a b c", object{"oldText": "b", "newText": "x"}, "a x c", ""},
		{"a b c", object{"edits": edits("c", "a", "a", "c")}, "c b a", ""},
		{"a\r\nb\r\n", object{"oldText": "a\nb", "newText": "c\nd\ne"}, "c\r\nd\r\ne\r\n", ""},
		{"a b a", object{"oldText": "a", "newText": "x"}, "", "more than once"},
		{"aaa", object{"oldText": "aa", "newText": "x"}, "", "more than once"},
		{"a b c", object{"edits": edits("a b", "x", "b c", "y")}, "", "overlap"},
		{"a b c", object{"edits": edits("a", "x", "q", "y")}, "", "does not occur"},
		{"a b c", object{"edits": edits("", "y")}, "", "empty"},
		{"a b c", object{}, "", "0 edits"},
		{"a\x00b", object{"oldText": "a", "newText": "x"}, "", "no UTF-8"},
	} {
		b.put("f", c.before)
		c.in["path"] = "f"
		_, err := b.do(tool.Edit, c.in)
		switch {
		case c.after == "" && (err == nil || !strings.Contains(err.Error(), c.why) || b.get("f") != c.before):
			t.Errorf("%q %v: %v, now %q", c.before, c.in, err, b.get("f"))
		case c.after != "" && (err != nil || b.get("f") != c.after):
			t.Errorf("%q %v: %v, now %q; want %q", c.before, c.in, err, b.get("f"), c.after)
		}
	}
}

// Two callers who edit one file at once both find their change in it.
func TestEditsAtOnce(t *testing.T) {
	b := newBench(t)
	var text strings.Builder
	for i := range 20 {
		fmt.Fprintf(&text, "<%d>", i)
	}
	b.put("f", text.String())
	var editing sync.WaitGroup
	for i := range 20 {
		editing.Go(func() {
			if _, err := b.do(tool.Edit, object{"path": "f", "oldText": fmt.Sprintf("<%d>", i), "newText": "x"}); err != nil {
				t.Error(err)
			}
		})
	}
	editing.Wait()
	if got := b.get("f"); got != strings.Repeat("x", 20) {
		t.Errorf("the file is %q", got)
	}
}

func TestList(t *testing.T) {
	b := newBench(t)
	b.put("b", "12")
	b.put("a", "")
	if err := os.Mkdir(filepath.Join(b.dir, "c"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := b.do(tool.List, object{}); got != "a\nb\nc/\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := b.do(tool.List, object{"path": ".", "limit": 1}); !strings.HasSuffix(got, "[there are more]\n") || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := b.do(tool.List, object{"path": "a"}); err == nil || !strings.Contains(err.Error(), "no folder") {
		t.Error(err)
	}
}

func TestExec(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a POSIX shell is used")
	}
	b := newBench(t)
	for _, c := range []struct {
		in   object
		want string
	}{
		{object{"command": "echo a | tr a b"}, "b\n"},
		{object{"argv": []string{"echo", "a | b"}}, "a | b\n"},
		{object{"command": `echo "$OPENAI_API_KEY $GREETING $EXTRA"`, "env": object{"EXTRA": "x"}}, " hello x\n"},
		{object{"command": "echo err >&2"}, "err\n"},
	} {
		if got, err := b.do(tool.Exec, c.in); got != c.want || err != nil {
			t.Errorf("%v: %q, %v; want %q", c.in, got, err, c.want)
		}
	}
	dir, err := filepath.EvalSymlinks(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(b.dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := b.do(tool.Exec, object{"command": "pwd -P", "workdir": "sub"}); got != filepath.Join(dir, "sub")+"\n" || err != nil {
		t.Errorf("runs in %q, %v", got, err)
	}
	for want, in := range map[string]object{
		"at most 60 seconds": {"command": "true", "timeout": 61}, "timeout is -1": {"command": "true", "timeout": -1},
		"executable file not found": {"argv": []string{"no-such-program"}}, "no name of a variable": {"command": "true", "env": object{"A=B": "x"}},
	} {
		if _, err := b.do(tool.Exec, in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v; want %q", in, err, want)
		}
	}
}

// What the policy has parsed is what runs, whatever command says.
func TestExecOfAGrantedCommand(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("POSIX programs are used")
	}
	b := newBench(t)
	b.grant.Shell, b.grant.Argv = false, []string{"echo", "$HOME;x"}
	if got, err := b.do(tool.Exec, object{"command": "anything"}); got != "$HOME;x\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	b.put("echo", "#!/bin/sh\necho hijacked\n")
	b.grant.Argv = []string{"./echo"}
	if _, err := b.do(tool.Exec, object{"command": "anything"}); err == nil || !strings.Contains(err.Error(), "absolute path") {
		t.Errorf("a program from the folder: %v", err)
	}
	b.grant.Argv = nil
	if _, err := b.do(tool.Exec, object{"command": "echo"}); codeOf(err) != tool.CodeCommand {
		t.Errorf("without a grant: %v", err)
	}
}

func TestExecExitAndTimeout(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a POSIX shell is used")
	}
	b := newBench(t)
	r, err := b.call(t.Context(), tool.Exec, object{"command": "echo a; exit 7"}, func(string, []byte) {})
	var d execDetails
	if err != nil || json.Unmarshal(r.Details, &d) != nil || d.ExitCode != 7 || d.Status != "completed" || r.IsError {
		t.Errorf("%+v, %v", d, err)
	}
	for limit := 0.2; ; limit *= 2 { // until it is long enough for a shell to begin, on a loaded machine too
		r, err = b.call(t.Context(), tool.Exec, object{"command": "echo begun; sleep 1000", "timeout": limit}, func(string, []byte) {})
		if err != nil || json.Unmarshal(r.Details, &d) != nil || d.Status != "timed_out" || !r.IsError {
			t.Fatalf("%+v, %v", d, err)
		}
		if strings.HasPrefix(r.String(), "begun\n") {
			break
		}
		if limit > 20 {
			t.Fatalf("what it wrote before its time was over is lost: %q", r.String())
		}
	}
}

// The beginning and the end of a large output are kept, and the beginning comes
// while the command runs.
func TestExecOutputIsCut(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a POSIX shell is used")
	}
	b := newBench(t)
	b.grant.MaxOutput = 1000
	streamed := 0
	r, err := b.call(t.Context(), tool.Exec, object{"command": `i=0; while [ $i -lt 2000 ]; do echo "line $i"; i=$((i+1)); done`}, func(_ string, data []byte) { streamed += len(data) })
	if err != nil {
		t.Fatal(err)
	}
	text := r.String()
	if !strings.HasPrefix(text, "line 0\n") || !strings.HasSuffix(text, "line 1999\n") || !strings.Contains(text, "bytes left out") || len(text) > 1100 || streamed > 1100 {
		t.Errorf("%d bytes, streamed %d: %q", len(text), streamed, text)
	}
	if r.Cut == nil || r.Cut.Total != 18890 || r.Cut.Omitted != 17890 {
		t.Errorf("cut %+v", r.Cut)
	}
}

func TestExecEndsWithItsCaller(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a POSIX shell is used")
	}
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pid := 0
	_, err := b.call(ctx, tool.Exec, object{"command": "sleep 1000 & echo $!; wait"}, func(_ string, data []byte) {
		pid, _ = strconv.Atoi(strings.TrimSpace(string(data)))
		cancel()
	})
	if !errors.Is(err, context.Canceled) || pid == 0 {
		t.Fatalf("pid %d, %v", pid, err)
	}
	deadline := time.Now().Add(90 * time.Second)
	for {
		out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
		if err != nil || strings.HasPrefix(strings.TrimSpace(string(out)), "Z") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the command's child is alive")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestSuite(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a POSIX program is run")
	}
	b := newBench(t)
	tooltest.Backend(t, b.Tools, tool.Call{Tool: tool.Exec, Args: args(t, object{"argv": []string{"true"}}), Grant: b.grant})
}

// Schemas and arguments say the same.
func TestSchemasFitTheArguments(t *testing.T) {
	t.Parallel()
	infos, err := New(Config{}).Tools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		var schema struct{ Properties map[string]json.RawMessage }
		if err := json.Unmarshal(info.Parameters, &schema); err != nil {
			t.Errorf("%s: %v", info.Name, err)
		}
		into := map[string]any{tool.Exec: &tool.ExecArgs{}, tool.Read: &readArgs{}, tool.Write: &writeArgs{}, tool.Edit: &editArgs{}, tool.List: &listArgs{}, tool.WebFetch: &webArgs{}}[info.Name]
		all := object{}
		for name := range schema.Properties {
			all[name] = nil
		}
		if err := tool.ReadArgs(args(t, all), into); err != nil {
			t.Errorf("%s: %v", info.Name, err)
		}
		err := tool.ReadArgs(json.RawMessage(`{"no such argument":1}`), into)
		e, _ := errors.AsType[*tool.Error](err)
		if e == nil || len(strings.Split(e.Hint, ", ")) != len(all) {
			t.Errorf("%s knows %v, its schema %v", info.Name, e, all)
		}
	}
}

func FuzzApply(f *testing.F) {
	f.Add("a b\r\nc", "b\n", "x", "a", "y")
	f.Fuzz(func(t *testing.T, text, old1, new1, old2, new2 string) {
		changed, at, err := apply([]byte(text), []replacement{{old1, new1}, {old2, new2}})
		if err != nil {
			return
		}
		if at > len(text) || len(changed) > len(text)+2*len(new1)+2*len(new2) {
			t.Errorf("%q became %q at %d", text, changed, at)
		}
	})
}
