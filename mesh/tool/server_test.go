package tool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/key"
	"lobstah/mesh/tool/audit"
)

// logged is an audit log in memory.
type logged struct {
	mu      sync.Mutex
	entries []audit.Entry
	broken  bool
}

func (l *logged) Append(e audit.Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return errors.New("the disk is full")
	}
	l.entries = append(l.entries, e)
	return nil
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, e := range l.entries {
		all = append(all, strings.TrimSuffix(e.Phase+" "+e.Tool+" "+e.Outcome, " "))
	}
	return strings.Join(all, ", ")
}

// fake is a backend that counts its calls.
type fake struct {
	tools map[string]func(ctx context.Context, call *Call, progress Progress) (*Result, error)
	ran   atomic.Int32
}

func (f *fake) Tools(context.Context) ([]Info, error) {
	var all []Info
	for name := range f.tools {
		all = append(all, Info{Name: name})
	}
	return all, nil
}

func (f *fake) Has(_ context.Context, name string) (bool, error) { return f.tools[name] != nil, nil }

func (f *fake) Call(ctx context.Context, call *Call, progress Progress) (*Result, error) {
	f.ran.Add(1)
	return f.tools[call.Tool](ctx, call, progress)
}

func echo(_ context.Context, call *Call, progress Progress) (*Result, error) {
	progress("stdout", call.Args)
	return Text(string(call.Args), nil)
}

// hang waits until it is ended and says why it was.
func hang(ctx context.Context, _ *Call, progress Progress) (*Result, error) {
	progress("stdout", []byte("begun"))
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

const callerHeader = "Test-Caller"

var self = Executor{Node: "office-01", Key: office.Key}

type world struct {
	*Server
	backend *fake
	log     *logged
}

func newWorld(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	w := &world{log: new(logged), backend: &fake{tools: map[string]func(context.Context, *Call, Progress) (*Result, error){
		"echo": echo, "hang": hang,
		"panic": func(context.Context, *Call, Progress) (*Result, error) { panic("oh") },
		"fail":  func(context.Context, *Call, Progress) (*Result, error) { return nil, errors.New("no luck") },
		"large": func(context.Context, *Call, Progress) (*Result, error) {
			return Text(strings.Repeat("é", 2<<20), map[string]string{"a": "b"})
		},
	}}}
	opt := Options{
		Self: self, Policy: policy(t, `{"enabled":true,"allow":["*"],"deny":["denied"]}`, true), Backends: []Backend{w.backend}, Audit: w.log,
		Identify: func(r *http.Request) (Caller, error) {
			id, err := key.ParseID(r.Header.Get(callerHeader))
			return Caller{Key: id, Name: "home-01", Verified: id == home.Key}, err
		},
	}
	for _, c := range change {
		c(&opt)
	}
	var err error
	if w.Server, err = NewServer(opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// invoke runs a request to its last event.
func (w *world) invoke(ctx context.Context, r Request) (events []Event, err error) {
	if r.Args == nil {
		r.Args = json.RawMessage("{}")
	}
	err = w.Invoke(ctx, home, &r, func(e *Event) error {
		events = append(events, *e)
		return nil
	})
	return events, err
}

func types(events []Event) string {
	var all []string
	for _, e := range events {
		all = append(all, e.Type)
	}
	return strings.Join(all, " ")
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

func TestInvoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	events, err := w.invoke(t.Context(), Request{Tool: "echo", Args: json.RawMessage(`{"a":1}`)})
	if err != nil || types(events) != "started output result" {
		t.Fatalf("%s, %v", types(events), err)
	}
	last := events[2]
	if *last.Executor != self || last.Result.String() != `{"a":1}` || string(events[1].Data()) != `{"a":1}` {
		t.Errorf("ended with %+v", last)
	}
	for name, code := range map[string]string{"panic": CodeFailed, "fail": CodeFailed} {
		events, err := w.invoke(t.Context(), Request{Tool: name})
		if err != nil || types(events) != "started error" || events[1].Error.Code != code || events[1].Error.Node != "office-01" {
			t.Errorf("%s: %s, %v", name, types(events), err)
		}
	}
	if events, _ := w.invoke(t.Context(), Request{Tool: "fail"}); strings.Contains(events[1].Error.Message, "no luck") {
		t.Errorf("a caller learned %q, which was not made for callers", events[1].Error.Message)
	}
	for name, code := range map[string]string{"denied": CodeDenied, "nosuch": CodeUnknown} {
		if events, err := w.invoke(t.Context(), Request{Tool: name}); codeOf(err) != code || events != nil {
			t.Errorf("%s: %s, %v", name, types(events), err)
		}
	}
	want := "began echo, ended echo ok, "
	if got := w.log.String(); !strings.HasPrefix(got, want) || strings.Count(got, "ended panic tool_failed") != 1 || strings.Count(got, "refused denied tool_denied") != 1 {
		t.Errorf("kept %s", got)
	}
}

func TestOutputIsCapped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	events, err := w.invoke(t.Context(), Request{Tool: "large"})
	if err != nil {
		t.Fatal(err)
	}
	r := events[len(events)-1].Result
	if n := len(r.String()); n > DefaultMaxOutput+100 || r.Cut == nil || r.Cut.Total != 4<<20 || !strings.Contains(r.String(), "bytes left out") {
		t.Errorf("%d bytes, cut %+v", n, r.Cut)
	}
}

// What cannot be kept is not run.
func TestNoCallWithoutAudit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.log.broken = true
	events, err := w.invoke(t.Context(), Request{Tool: "echo"})
	if err != nil || types(events) != "started error" || events[1].Error.Code != CodeAudit || w.backend.ran.Load() != 0 {
		t.Errorf("%s, %v, ran %d", types(events), err, w.backend.ran.Load())
	}
}

func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := w.Invoke(ctx, home, &Request{Tool: "hang", Args: json.RawMessage("{}")}, func(e *Event) error {
		if e.Type == EventOutput {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := w.log.String(); got != "began hang, ended hang "+CodeLeft { // it has ended when Invoke returns
		t.Errorf("kept %s", got)
	}
}

// A caller that is revoked loses what it runs, under a key too, and nobody else does.
func TestDrop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"", "k"} {
		w.Drop(office.Key)
		err := w.Invoke(t.Context(), home, &Request{Tool: "hang", Args: json.RawMessage("{}"), IdempotencyKey: name}, func(e *Event) error {
			if e.Type == EventOutput {
				w.Drop(home.Key)
			}
			if e.Type == EventError && e.Error.Code != CodeUnverified {
				t.Errorf("ended by %v", e.Error)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// A request that was under way when its node was forgotten does not begin.
func TestNotVerifiedByThen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Verified = func(id key.ID) bool { return id != home.Key } })
	_, err := w.invoke(t.Context(), Request{Tool: "echo"})
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeUnverified || !strings.Contains(w.log.String(), "refused echo") {
		t.Errorf("%v, kept %s; want a refusal", err, w.log.String())
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		events, err := w.invoke(t.Context(), Request{Tool: "hang", DeadlineMS: 5000})
		if err != nil || types(events) != "started output error" || events[2].Error.Code != CodeTimeout {
			t.Errorf("%s, %v", types(events), err)
		}
		w.Close()
	})
}

func TestStoppingEndsCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	err := w.Invoke(t.Context(), home, &Request{Tool: "hang", Args: json.RawMessage("{}")}, func(e *Event) error {
		if e.Type == EventOutput {
			go w.Close()
		}
		if e.Type == EventError && e.Error.Code != CodeStopping {
			t.Errorf("ended by %v", e.Error)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	w.Close()
	if _, err := w.invoke(t.Context(), Request{Tool: "echo"}); codeOf(err) != CodeStopping {
		t.Errorf("a stopped server: %v", err)
	}
}

func TestCallsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	begun := make(chan struct{}, maxCallsOfCaller)
	for range maxCallsOfCaller {
		calls.Go(func() {
			_ = w.Invoke(ctx, home, &Request{Tool: "hang", Args: json.RawMessage("{}")}, func(e *Event) error {
				if e.Type == EventStarted {
					begun <- struct{}{}
				}
				return nil
			})
		})
	}
	for range maxCallsOfCaller {
		<-begun
	}
	if _, err := w.invoke(t.Context(), Request{Tool: "echo"}); codeOf(err) != CodeBusy {
		t.Errorf("one more: %v", err)
	}
	other := Caller{Key: key.ID{9}, Verified: true}
	if err := w.Invoke(t.Context(), other, &Request{Tool: "echo", Args: json.RawMessage("{}")}, func(*Event) error { return nil }); err != nil {
		t.Errorf("another caller: %v", err)
	}
	cancel()
	calls.Wait()
}

// A flood of refusals neither fills the log nor is free.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		busy := 0
		for range 3000 {
			if _, err := w.invoke(t.Context(), Request{Tool: "denied"}); codeOf(err) == CodeBusy {
				busy++
			}
		}
		if n := len(w.log.entries); n != refusalsAtOnce || busy != 3000-asksAtOnce {
			t.Errorf("%d entries, %d refused for being too many", n, busy)
		}
		time.Sleep(time.Minute)
		_, _ = w.invoke(t.Context(), Request{Tool: "denied"})
		if last := w.log.entries[len(w.log.entries)-1]; last.Unlogged != 3000-refusalsAtOnce {
			t.Errorf("the next entry says that %d are missing", last.Unlogged)
		}
		w.Close()
	})
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "calls.jsonl")
	memory, err := OpenMemory(path)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *Options) { o.Memory = memory })
	one := Request{Tool: "echo", Args: json.RawMessage(`{"a":1}`), IdempotencyKey: "k1"}
	other := Request{Tool: "echo", Args: json.RawMessage(`{"a":2}`), IdempotencyKey: "k1"}
	last := func(w *world, r Request) Event {
		t.Helper()
		events, err := w.invoke(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return events[len(events)-1]
	}
	if e := last(w, one); e.Replayed || e.Result.String() != `{"a":1}` {
		t.Errorf("first: %+v", e)
	}
	if e := last(w, one); !e.Replayed || e.Result.String() != `{"a":1}` {
		t.Errorf("again: %+v", e)
	}
	if e := last(w, other); e.Type != EventError || e.Error.Code != CodeConflict {
		t.Errorf("another call: %+v", e)
	}
	if n := w.backend.ran.Load(); n != 1 {
		t.Errorf("ran %d times", n)
	}
	// Another caller's keys are its own.
	err = w.Invoke(t.Context(), Caller{Key: key.ID{9}, Verified: true}, &other, func(e *Event) error {
		if e.Replayed || e.Type == EventError {
			t.Errorf("another caller: %+v", e)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := memory.Close(); err != nil {
		t.Fatal(err)
	}
	if memory, err = OpenMemory(path); err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	w = newWorld(t, func(o *Options) { o.Memory = memory })
	if e := last(w, one); !e.Replayed || e.Result.String() != `{"a":1}` || w.backend.ran.Load() != 0 {
		t.Errorf("after a restart: %+v", e)
	}
}

// A process that died in the middle of a call does not run it again.
func TestCrashDuringACall(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "calls.jsonl")
	memory, err := OpenMemory(path)
	if err != nil {
		t.Fatal(err)
	}
	r := Request{Tool: "echo", Args: json.RawMessage("{}"), IdempotencyKey: "k"}
	if _, err := memory.begin(callKey{home.Key, "k"}, callDigest(&Call{Tool: r.Tool, Args: r.Args})); err != nil {
		t.Fatal(err)
	}
	if memory, err = OpenMemory(path); err != nil { // as the next process would
		t.Fatal(err)
	}
	w := newWorld(t, func(o *Options) { o.Memory = memory })
	events, err := w.invoke(t.Context(), r)
	if err != nil || events[1].Type != EventError || events[1].Error.Code != CodeOutcome || w.backend.ran.Load() != 0 {
		t.Errorf("%+v, %v", events, err)
	}
}

// Under a key a call outlives its connection for a while: who comes back joins it,
// and when nobody does it is ended.
func TestLinger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		w.backend.tools["wait"] = func(ctx context.Context, _ *Call, progress Progress) (*Result, error) {
			select {
			case <-release:
				return Text("done", nil)
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		leave := func(tool, key string) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_ = w.Invoke(ctx, home, &Request{Tool: tool, Args: json.RawMessage("{}"), IdempotencyKey: key}, func(*Event) error {
				cancel()
				return nil
			})
		}
		leave("wait", "a")
		time.Sleep(DefaultLinger / 2)
		done := make(chan []Event)
		go func() {
			events, err := w.invoke(t.Context(), Request{Tool: "wait", IdempotencyKey: "a"})
			if err != nil {
				t.Error(err)
			}
			done <- events
		}()
		synctest.Wait()
		time.Sleep(2 * DefaultLinger) // it is waited for, so it goes on
		close(release)
		if events := <-done; events[len(events)-1].Result.String() != "done" || w.backend.ran.Load() != 1 {
			t.Errorf("joined: %+v, ran %d times", events, w.backend.ran.Load())
		}
		leave("hang", "b")
		time.Sleep(DefaultLinger + time.Second)
		synctest.Wait()
		events, err := w.invoke(t.Context(), Request{Tool: "hang", IdempotencyKey: "b"})
		if err != nil || events[len(events)-1].Error.Code != CodeLeft {
			t.Errorf("nobody came back: %+v, %v", events, err)
		}
		w.Close()
	})
}

// approver answers with what it is.
type approver struct{ err error }

func (a *approver) Approve(context.Context, Question) error { return a.err }

// A call that was not approved has not run, and may be asked for again under its
// key.
func TestApproval(t *testing.T) {
	t.Parallel()
	a := &approver{refuse(CodeApproval, "", "no")}
	w := newWorld(t, func(o *Options) { o.Approve = a })
	r := Request{Tool: "echo", IdempotencyKey: "k"}
	events, err := w.invoke(t.Context(), r)
	if err != nil || events[1].Error.Code != CodeApproval || w.backend.ran.Load() != 0 || w.log.String() != "refused echo approval_denied" {
		t.Errorf("%+v, %v, %s", events, err, w.log)
	}
	a.err = nil
	if events, err := w.invoke(t.Context(), r); err != nil || events[len(events)-1].Type != EventResult {
		t.Errorf("%+v, %v", events, err)
	}
}

func post(t *testing.T, h http.Handler, as key.ID, path, body string) (int, string) {
	t.Helper()
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set(callerHeader, as.String())
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		as     key.ID
		body   string
		status int
		want   string
	}{
		{home.Key, `{"tool":"echo","args":{"a":1}}`, 200, `"executor":{"node":"office-01","key":"` + office.Key.String() + `"},"result":{"content":[{"type":"text","text":"{\"a\":1}"}]}`},
		{home.Key, `{"tool":"fail"}`, 500, `"code":"tool_failed"`},
		{home.Key, `{"tool":"denied"}`, 403, `"type":"permission_error","param":null,"code":"tool_denied","hint":"the owner`},
		{home.Key, `{"tool":"nosuch"}`, 404, `"hint":"clawmatrix tools office-01 lists them","node":"office-01"`},
		{home.Key, `{"tool":"echo","args":[]}`, 400, "no JSON object"},
		{home.Key, `{"tool":"echo","stram":true}`, 400, "stram"},
		{home.Key, `{"tool":""}`, 400, "no name"},
		{home.Key, `{`, 400, "bad_arguments"},
		{home.Key, `{"tool":"echo"} {}`, 400, "bad_arguments"},
		{home.Key, `{"tool":"echo","args":{"a":"` + strings.Repeat("x", MaxRequest) + `"}}`, 413, "larger than"},
		{key.ID{9}, `{"tool":"echo"}`, 403, `"code":"caller_unverified"`},
		{key.ID{}, `{"tool":"echo"}`, 403, "nodes of the mesh"},
	} {
		status, body := post(t, w, c.as, Path+"/invoke", c.body)
		if status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%.60s: %d %.400s; want %d with %s", c.body, status, body, c.status, c.want)
		}
	}
	status, body := post(t, w, home.Key, Path+"/invoke", `{"tool":"echo","stream":true}`)
	var events []Event
	err := ReadEvents(strings.NewReader(body), func(e *Event) error {
		events = append(events, *e)
		return nil
	})
	if status != 200 || err != nil || types(events) != "started output result" {
		t.Errorf("%d, %s, %v", status, types(events), err)
	}
	if status, body := post(t, w, home.Key, Path+"/cancel", `{"idempotencyKey":"none"}`); status != 200 || !strings.Contains(body, "false") {
		t.Errorf("%d %s", status, body)
	}
}

func TestListOfTools(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.Policy = policy(t, `{"enabled":true,"callers":{"home-01":{"allow":["echo","hang"]}}}`, true)
	})
	for _, c := range []struct {
		caller Caller
		names  []string
		why    string
	}{
		{home, []string{"echo", "hang"}, ""}, {office, nil, "may use no tools"}, {rumour, nil, "not verified"},
	} {
		infos, problems := w.List(t.Context(), c.caller)
		var names []string
		for _, i := range infos {
			names = append(names, i.Name)
		}
		if !slices.Equal(names, c.names) || !strings.Contains(strings.Join(problems, ""), c.why) {
			t.Errorf("%s: %v, %v", c.caller, names, problems)
		}
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add([]byte(`{"tool":"exec","args":{"command":"id"},"stream":true}`))
	f.Add([]byte(`{"tool":"a","deadlineMs":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ReadRequest(data)
		if err != nil {
			if codeOf(err) != CodeArguments {
				t.Errorf("%q: %v", data, err)
			}
			return
		}
		if !json.Valid(r.Args) || r.Args[0] != '{' || r.Tool == "" || r.deadline() < 0 {
			t.Errorf("%q became %+v", data, r)
		}
	})
}

func FuzzReadEvents(f *testing.F) {
	f.Add([]byte("{\"type\":\"started\"}\n{\"type\":\"result\",\"result\":{\"content\":[]}}\n"))
	f.Add([]byte("{\"type\":\"error\"}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var last Event
		err := ReadEvents(bytes.NewReader(data), func(e *Event) error {
			last = *e
			return nil
		})
		if (err == nil) != last.last() {
			t.Errorf("%q: %v after %+v", data, err, last)
		}
		if last.Type == EventResult && last.Result == nil || last.Type == EventError && last.Error == nil {
			t.Errorf("%q: an empty end", data)
		}
	})
}

func FuzzOutput(f *testing.F) {
	f.Add([]byte("abc"), []byte("def"), 4)
	f.Fuzz(func(t *testing.T, a, b []byte, limit int) {
		if limit < 2 || limit > 1000 {
			return
		}
		var streamed int
		o := NewOutput(limit, func(_ string, data []byte) { streamed += len(data) })
		for range 3 {
			o.Add("stdout", a)
			o.Add("stderr", b)
		}
		whole := bytes.Repeat(append(bytes.Clone(a), b...), 3)
		head, tail, cut := o.Bytes()
		if cut == nil && !bytes.Equal(head, whole) || len(head)+len(tail) > limit {
			t.Errorf("%d bytes kept of %d, limit %d", len(head)+len(tail), len(whole), limit)
		}
		if cut != nil && (!bytes.HasPrefix(whole, head) || !bytes.HasSuffix(whole, tail) || int(cut.Omitted) != len(whole)-len(head)-len(tail)) {
			t.Errorf("%q became %q, %q, %+v", whole, head, tail, cut)
		}
		o.Finish()
		if cut == nil && streamed != len(whole) {
			t.Errorf("streamed %d of %d", streamed, len(whole))
		}
	})
}

// deadlines is an answer that keeps its write deadlines.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

// A caller who does not read is given up, and silence between two events is not.
func TestDeadlinesAreForWritesOnly(t *testing.T) {
	t.Parallel()
	d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	a := &streamed{w: d, control: http.NewResponseController(d)}
	for range 2 {
		if err := a.send(&Event{Type: EventStarted}); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.set) != 4 || d.set[0].IsZero() || !d.set[1].IsZero() || d.set[2].IsZero() || !d.set[3].IsZero() {
		t.Errorf("deadlines %v", d.set)
	}
}

// The memory is bounded: keys for each caller, and the bytes of results.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m, err := OpenMemory(filepath.Join(t.TempDir(), "calls.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	now := time.Now()
	m.now = func() time.Time { return now }
	for i := range maxKeysOfCaller {
		id := callKey{home.Key, string(rune('a'+i%26)) + strings.Repeat("x", i/26)}
		m.apply(memoryLine{Caller: id.caller, Key: id.key, At: now, Outcome: &Outcome{Result: &Result{}}})
	}
	id := callKey{home.Key, "one more"}
	if _, err := m.begin(id, "d"); codeOf(err) != CodeBusy {
		t.Errorf("one key more: %v", err)
	}
	if _, err := m.begin(callKey{office.Key, "k"}, "d"); err != nil {
		t.Errorf("another caller: %v", err)
	}
	now = now.Add(rememberFor + time.Second)
	if known, err := m.begin(id, "d"); known != nil || err != nil {
		t.Errorf("a day later: %v, %v", known, err)
	}
	large, err := Text(strings.Repeat("x", 10*maxOutcome), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.end(id, "d", &Outcome{Result: large}); err != nil {
		t.Fatal(err)
	}
	if k, err := m.begin(id, "d"); err != nil || len(k.outcome.Result.String()) > maxOutcome+100 || k.outcome.Result.Cut == nil {
		t.Errorf("kept %d bytes, %v", len(k.outcome.Result.String()), err)
	}
	if len(large.String()) != 10*maxOutcome {
		t.Error("the caller's result was cut too")
	}
}

func FuzzMemory(f *testing.F) {
	f.Add([]byte(`{"caller":"lob1` + strings.Repeat("a", 64) + `","key":"k","digest":"d","at":"2026-01-01T00:00:00Z"}` + "\n{"))
	f.Add([]byte("null\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "calls.jsonl")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := OpenMemory(path)
		if err != nil {
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, data) {
				t.Errorf("a damaged file was changed: %q, %v", now, err)
			}
			return
		}
		for id, k := range m.calls {
			if k.outcome == nil {
				t.Errorf("%v runs in a new process", id)
			}
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
}

func FuzzReadError(f *testing.F) {
	f.Add(500, []byte(`{"error":{"message":"m","code":"c","status":99}}`))
	f.Add(302, []byte("<html>"))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := ReadError(&http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(body))})
		rec := httptest.NewRecorder()
		writeError(rec, e) // panics on a status that is none
		if rec.Code < 400 || e.Message == "" {
			t.Errorf("%d %q became %d %q", status, body, rec.Code, e.Message)
		}
	})
}

func FuzzPattern(f *testing.F) {
	f.Add([]byte(`"git log *"`), "git\x00log\x00x")
	f.Add([]byte(`["a b","**"]`), "a b\x00-c")
	f.Fuzz(func(t *testing.T, data []byte, line string) {
		var p Pattern
		if json.Unmarshal(data, &p) != nil {
			return
		}
		argv := strings.Split(line, "\x00")
		if p.matches(argv) && argv[0] != p[0] {
			t.Errorf("%q matches %q", p, argv)
		}
		text, err := json.Marshal(p)
		var again Pattern
		if err != nil || json.Unmarshal(text, &again) != nil || !slices.Equal(p, again) {
			t.Errorf("%q is written as %s, which is %q", p, text, again)
		}
	})
}
