package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// corpusHTTP is the server of a case.
type corpusHTTP struct {
	Routes []struct {
		Match struct {
			Method       string `json:"method"`
			Path         string `json:"path"`
			BodyContains string `json:"body_contains"`
		} `json:"match"`
		Respond struct {
			Status      int               `json:"status"`
			JSON        json.RawMessage   `json:"json"`
			Text        string            `json:"text"`
			Headers     map[string]string `json:"headers"`
			ContentType string            `json:"content_type"`
			DelayMS     int               `json:"delay_ms"`
		} `json:"respond"`
		Times *int `json:"times"`
	} `json:"routes"`
}

// corpusWorld is the place in which a case runs.
type corpusWorld struct {
	t    *testing.T
	c    *corpusCase
	work string
	url  string // of the server, or ""

	mu       sync.Mutex // guards the following, and the counts of the routes
	vars     map[string]string
	requests []any
}

func newCorpusWorld(t *testing.T, c *corpusCase) *corpusWorld {
	work, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &corpusWorld{t: t, c: c, work: work, vars: map[string]string{}}
	for _, dir := range []string{"home", "bin"} {
		if err := os.Mkdir(filepath.Join(work, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if c.HTTP != nil {
		server := httptest.NewUnstartedServer(w)
		w.url = "http://" + server.Listener.Addr().String()
		server.Start()
		t.Cleanup(server.Close)
	}
	w.put(c.Files)
	return w
}

// ServeHTTP notes the request and answers as the first live route that matches says.
func (w *corpusWorld) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Error(err)
	}
	w.note(r, body)
	i := w.route(r, string(body))
	if i < 0 {
		rw.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(rw, `{"error": "no route"}`)
		return
	}
	respond := w.c.HTTP.Routes[i].Respond
	select { // recorded: how slow the server was
	case <-time.After(time.Duration(respond.DelayMS) * time.Millisecond):
	case <-r.Context().Done():
		return
	}
	rw.Header().Set("Content-Type", cmp.Or(respond.ContentType, "application/json"))
	for k, v := range respond.Headers {
		rw.Header().Set(k, w.fill(v))
	}
	rw.WriteHeader(cmp.Or(respond.Status, http.StatusOK))
	text := respond.Text
	if respond.JSON != nil {
		text = pythonJSON(respond.JSON)
	}
	_, _ = io.WriteString(rw, w.fill(text)) // the client may be gone
}

// pythonJSON writes a document with the blanks that the recorder's server put after colons and commas.
func pythonJSON(doc json.RawMessage) string {
	var b bytes.Buffer
	inText, escaped := false, false
	var compact bytes.Buffer
	if json.Compact(&compact, doc) != nil {
		return string(doc)
	}
	for _, c := range compact.Bytes() {
		b.WriteByte(c)
		switch {
		case escaped:
			escaped = false
		case inText && c == '\\':
			escaped = true
		case c == '"':
			inText = !inText
		case !inText && (c == ':' || c == ','):
			b.WriteByte(' ')
		}
	}
	return b.String()
}

func (w *corpusWorld) note(r *http.Request, body []byte) {
	request := map[string]any{"method": r.Method, "path": r.URL.RequestURI()}
	if h := r.Header.Get("Authorization"); h != "" {
		request["authorization"] = h
	}
	if h := r.Header.Get("Content-Type"); h != "" {
		request["content_type"] = h
	}
	var doc any
	text := w.mark(string(body))
	if json.Unmarshal([]byte(text), &doc) == nil {
		request["body_json"] = doc
	} else {
		request["body_text"] = text
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, normaliseJSON(request, ""))
}

func (w *corpusWorld) route(r *http.Request, body string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.c.HTTP.Routes {
		route := &w.c.HTTP.Routes[i]
		m := route.Match
		if (route.Times != nil && *route.Times == 0) || (m.Method != "" && m.Method != r.Method) ||
			(m.Path != "" && m.Path != r.URL.RequestURI()) || !strings.Contains(body, m.BodyContains) {
			continue
		}
		if route.Times != nil {
			*route.Times--
		}
		return i
	}
	return -1
}

// fill replaces the marks of a recorded text by what they stand for here.
func (w *corpusWorld) fill(text string) string {
	_, port, _ := strings.Cut(strings.TrimPrefix(w.url, "http://"), ":")
	text = strings.NewReplacer("@@WORK@@", w.work, "@@HTTP@@", w.url, "@@PORT@@", port).Replace(text)
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, v := range w.vars {
		text = strings.ReplaceAll(text, "@@VAR:"+name+"@@", v)
	}
	return text
}

// mark is the reverse of fill.
func (w *corpusWorld) mark(text string) string {
	text = strings.ReplaceAll(text, w.work, "@@WORK@@")
	if w.url != "" {
		text = strings.ReplaceAll(text, w.url, "@@HTTP@@")
		text = strings.ReplaceAll(text, strings.TrimPrefix(w.url, "http://"), "@@HOSTPORT@@")
	}
	return text
}

// put writes files: a text, {content, mode} or {symlink}.
func (w *corpusWorld) put(files map[string]any) {
	for name, spec := range files {
		path := filepath.Join(w.work, w.fill(name))
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch spec := spec.(type) {
		case string:
			err = errors.Join(err, os.WriteFile(path, []byte(w.fill(spec)), 0o644))
		case map[string]any:
			err = errors.Join(err, w.putSpec(path, spec))
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *corpusWorld) putSpec(path string, spec map[string]any) error {
	if to, ok := spec["symlink"].(string); ok {
		return os.Symlink(to, path)
	}
	content, _ := spec["content"].(string)
	if err := os.WriteFile(path, []byte(w.fill(content)), 0o644); err != nil {
		return err
	}
	mode, ok := spec["mode"].(string)
	if !ok {
		return nil
	}
	bits, err := strconv.ParseUint(mode, 8, 32)
	if err != nil {
		return err
	}
	return os.Chmod(path, os.FileMode(bits))
}

// execute runs all invocations and returns what they did.
func (w *corpusWorld) execute(exe string) *observation {
	var o observation
	for _, s := range w.c.steps() {
		w.put(s.Files)
		for _, name := range s.Remove {
			if err := os.RemoveAll(filepath.Join(w.work, w.fill(name))); err != nil {
				w.t.Fatal(err)
			}
		}
		o.steps = append(o.steps, w.step(exe, s))
	}
	o.files = w.snapshots(w.c.ExpectFiles)
	for _, alt := range w.c.Alt {
		maps.Copy(o.files, w.snapshots(alt.ExpectFiles))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.c.HTTPUnordered {
		slices.SortFunc(w.requests, func(a, b any) int { return cmp.Compare(brief(a), brief(b)) })
		if want, ok := w.c.ExpectHTTP.([]any); ok {
			slices.SortFunc(want, func(a, b any) int { return cmp.Compare(brief(a), brief(b)) })
		}
	}
	o.http = append([]any{}, w.requests...)
	return &o
}

func (w *corpusWorld) step(exe string, s corpusStep) observedStep {
	cmd := exec.CommandContext(w.t.Context(), exe)
	for _, a := range s.Args {
		cmd.Args = append(cmd.Args, w.fill(a))
	}
	cmd.Dir, cmd.Env = filepath.Join(w.work, s.Cwd), w.environ(s)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if s.Stdin != nil {
		cmd.Stdin = strings.NewReader(w.fill(*s.Stdin))
	}
	if s.StdinTTY != nil {
		terminal, hangUp := openTerminal(w.t, w.fill(*s.StdinTTY))
		defer hangUp()
		cmd.Stdin = terminal
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	if s.Signal != nil {
		go w.signal(cmd.Process, s.Signal.Name, s.Signal.WhenFile, s.Signal.AfterMS)
	}
	err := cmd.Wait()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		w.t.Fatal(err)
	}
	return w.observe(s, cmd.ProcessState.ExitCode(), time.Since(start), stdout.String(), stderr.String())
}

func (w *corpusWorld) observe(s corpusStep, code int, took time.Duration, stdout, stderr string) observedStep {
	marked := w.mark(strings.ToValidUTF8(stdout, "\uFFFD"))
	o := observedStep{code: code, took: took, stdout: normaliseText(marked), stderr: normaliseText(w.mark(stderr)), files: w.snapshots(s.Expect.Files)}
	var doc any
	if json.Unmarshal([]byte(marked), &doc) == nil {
		o.doc, o.hasDoc = normaliseJSON(doc, ""), true
	}
	for name, pointer := range s.Capture {
		var raw any
		if err := json.Unmarshal([]byte(stdout), &raw); err != nil {
			o.captureFault = "stdout is not JSON, nothing captured"
			continue
		}
		v, ok := at(raw, pointer)
		if !ok {
			o.captureFault = fmt.Sprintf("could not capture %s at %s", name, pointer)
			continue
		}
		w.mu.Lock()
		w.vars[name] = v
		w.mu.Unlock()
	}
	return o
}

func at(doc any, pointer string) (string, bool) {
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		switch v := doc.(type) {
		case map[string]any:
			doc = v[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(v) {
				return "", false
			}
			doc = v[i]
		}
	}
	if text, ok := doc.(string); ok {
		return text, true
	}
	return brief(doc), doc != nil
}

func (w *corpusWorld) environ(s corpusStep) []string {
	env := map[string]string{
		"PATH": w.work + "/bin:/usr/local/bin:/usr/bin:/bin", "HOME": w.work + "/home", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", "TERM": "dumb",
		"LOBSTER_STATE_DIR": w.work + "/state", "LOBSTER_CACHE_DIR": w.work + "/cache",
	}
	for _, source := range []map[string]*string{w.c.Env, s.Env} {
		for k, v := range source {
			if delete(env, k); v != nil {
				env[k] = w.fill(*v)
			}
		}
	}
	var out []string
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	return out
}

// signal sends a signal some time after a file has appeared, as the recorder did.
func (w *corpusWorld) signal(p *os.Process, name, file string, after *float64) {
	numbers := map[string]syscall.Signal{"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM, "SIGHUP": syscall.SIGHUP, "SIGQUIT": syscall.SIGQUIT}
	for range 1000 {
		if _, err := os.Stat(filepath.Join(w.work, file)); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond) // polling for another process's file
	}
	ms := 100.0
	if after != nil {
		ms = *after
	}
	time.Sleep(time.Duration(ms) * time.Millisecond) // recorded: when the signal came
	if err := p.Signal(numbers[name]); err != nil && !errors.Is(err, os.ErrProcessDone) {
		w.t.Error(err)
	}
}

// snapshots reads the files that are named, normalised.
func (w *corpusWorld) snapshots(names map[string]any) map[string]any {
	out := map[string]any{}
	for name := range names {
		out[name] = w.snapshot(name)
	}
	return out
}

func (w *corpusWorld) snapshot(name string) any {
	path := filepath.Join(w.work, name)
	if strings.HasSuffix(name, "/") {
		entries, err := os.ReadDir(path)
		if err != nil {
			return map[string]any{"absent": true}
		}
		var names []string
		for _, e := range entries {
			names = append(names, normaliseName(e.Name()))
		}
		slices.Sort(names)
		listing := []any{}
		for _, n := range names {
			listing = append(listing, n)
		}
		return map[string]any{"listing": listing}
	}
	doc, err := os.ReadFile(path)
	if err != nil {
		return map[string]any{"absent": true}
	}
	text := w.mark(string(doc))
	var v any
	if strings.HasSuffix(name, ".json") && json.Unmarshal([]byte(text), &v) == nil {
		return map[string]any{"json": normaliseJSON(v, "")}
	}
	return map[string]any{"text": scrub(text)}
}
