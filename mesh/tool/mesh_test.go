package tool_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
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

	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/link"
	"lobstah/mesh/tool"
	"lobstah/mesh/tool/audit"
	"lobstah/mesh/tool/native"
)

// A wire is the way between two nodes. It can be cut at once, or after some more
// bytes in one direction, and mended.
type wire struct {
	t      testing.TB
	target string
	listen net.Listener

	mu       sync.Mutex
	down     bool // guarded by mu, as what follows
	conns    map[net.Conn]bool
	up, back int64 // bytes until the cut in each direction
}

const never = math.MaxInt64

func newWire(t testing.TB, target string) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, target: target, listen: l, conns: map[net.Conn]bool{}, up: never, back: never}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepting.Go(func() { w.join(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.cut()
		accepting.Wait()
	})
	return w
}

func (w *wire) join(a net.Conn) {
	b, err := net.Dial("tcp", w.target)
	if err != nil {
		a.Close()
		return
	}
	if !w.keep(a) || !w.keep(b) {
		a.Close()
		b.Close()
		return
	}
	var copies sync.WaitGroup
	copies.Go(func() { w.copy(b, a, &w.up) })
	copies.Go(func() { w.copy(a, b, &w.back) })
	copies.Wait()
}

func (w *wire) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[c] = true
	return !w.down
}

func (w *wire) copy(to, from net.Conn, left *int64) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		w.mu.Lock()
		if *left != never {
			*left -= int64(n)
		}
		over := *left < 0
		w.mu.Unlock()
		if over {
			w.cut()
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = true
	for c := range w.conns {
		c.Close()
	}
	clear(w.conns)
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down, w.up, w.back = false, never, never
}

func (w *wire) isDown() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down
}

// cutAfter cuts when n more bytes have gone up (to the executor) or back.
func (w *wire) cutAfter(up, back int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up, w.back = up, back
}

var secret = sync.OnceValue(func() link.Secret {
	s, err := link.NewSecret("6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b")
	if err != nil {
		panic(err)
	}
	return s
})

func startNode(t testing.TB, n byte, handler http.Handler, peers ...string) (*mesh.Node, string) {
	t.Helper()
	cfg := mesh.Config{Pair: key.FromSeed([32]byte{n}), Name: fmt.Sprint("node-", n), Secrets: []link.Secret{secret()}}
	for _, p := range peers {
		cfg.Peers = append(cfg.Peers, mesh.Peer{URL: p})
	}
	node, err := mesh.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	outer := httptest.NewServer(node)
	server := &http.Server{Handler: handler}
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { _ = node.Run(ctx) })
	parts.Go(func() { _ = server.Serve(node.Listener()) })
	t.Cleanup(func() {
		cancel()
		server.Close()
		parts.Wait()
		outer.Close()
	})
	return node, outer.Listener.Addr().String()
}

// pair is two real nodes with a relay between them: home calls, office runs. The
// wire is between home and the relay.
type pair struct {
	t      testing.TB
	home   *mesh.Node
	client *tool.Client
	office tool.Node
	wire   *wire
	dir    string // granted
	log    string
}

func newPair(t testing.TB, change func(*tool.Config)) *pair {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("POSIX programs are called")
	}
	dir, own := t.TempDir(), t.TempDir()
	id := func(n byte) key.ID { return key.FromSeed([32]byte{n}).ID() }
	cfg := tool.Config{Enabled: true, Paths: []string{dir}, Callers: map[string]tool.Rule{
		id(3).String(): {Allow: []string{"*"}, Paths: []string{dir}, Commands: []tool.Pattern{{"*"}}},
		id(4).String(): {Allow: []string{"read"}, Paths: []string{dir}},
	}}
	if change != nil {
		change(&cfg)
	}
	policy, err := tool.NewPolicy(cfg, tool.Place{Verified: true})
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{t: t, dir: dir, log: filepath.Join(own, "audit.jsonl")}
	log, err := audit.Open(p.log)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := tool.OpenMemory(filepath.Join(own, "calls.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := tool.NewServer(tool.Options{
		Self: tool.Executor{Node: "office-01", Key: id(2)}, Policy: policy, Audit: log, Memory: memory,
		Backends: []tool.Backend{native.New(native.Config{Work: own, Env: os.Environ()})},
		Identify: func(r *http.Request) (tool.Caller, error) {
			id, err := mesh.Caller(r)
			if _, measuring := t.(*testing.B); measuring { // without the limits of one caller
				id = key.ID([]byte(rand.Text() + rand.Text())[:32])
			}
			return tool.Caller{Key: id, Verified: true}, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(server.Close(), memory.Close(), log.Close()); err != nil {
			t.Error(err)
		}
	})
	_, hub := startNode(t, 1, http.NotFoundHandler())
	p.wire = newWire(t, hub)
	startNode(t, 2, server, "ws://"+hub)
	p.home, _ = startNode(t, 3, http.NotFoundHandler(), "ws://"+p.wire.listen.Addr().String())
	p.office = tool.Node{Key: id(2), Name: "office-01", Verified: true}
	p.client = &tool.Client{Transport: p.home}
	p.client.SetWait(func(ctx context.Context, _ time.Duration) error { return p.reached(ctx) })
	p.ready()
	return p
}

// reached returns when office answers home, asking again and again: the links are
// of other goroutines' making.
func (p *pair) reached(ctx context.Context) error {
	once := &tool.Client{Transport: p.home}
	once.SetWait(func(context.Context, time.Duration) error { return errors.New("once") })
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	for {
		_, err := once.Tools(ctx, p.office)
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (p *pair) ready() {
	p.t.Helper()
	if err := p.reached(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

// outcome is what a caller learned of a call.
type outcome struct {
	output string
	last   *tool.Event
	err    error
}

func (p *pair) call(ctx context.Context, r tool.Request, on func(*tool.Event)) (o outcome) {
	o.err = p.client.Invoke(ctx, p.office, r, false, func(e *tool.Event) error {
		o.output += string(e.Data())
		o.last = e
		if on != nil {
			on(e)
		}
		return nil
	})
	return o
}

func request(t testing.TB, name, idempotencyKey string, args any) tool.Request {
	t.Helper()
	data, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	return tool.Request{Tool: name, Args: data, IdempotencyKey: idempotencyKey}
}

func code(err error) string {
	if e, ok := errors.AsType[*tool.Error](err); ok {
		return e.Code
	}
	return ""
}

type object = map[string]any

func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 90 s", what)
		}
	}
}

func dead(pid int) bool {
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err != nil || strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}

// runs counts the lines that calls have written.
func (p *pair) runs() int {
	data, err := os.ReadFile(filepath.Join(p.dir, "runs"))
	if err != nil {
		return 0
	}
	return strings.Count(string(data), "\n")
}

// The commands that the phases below are cut in: each leaves a trace when it
// begins.
func (p *pair) line(rest string) object {
	return object{"command": "echo run >> " + filepath.Join(p.dir, "runs") + "; " + rest}
}

func TestToolsThroughARelay(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	o := p.call(t.Context(), request(t, "exec", "", object{"command": "echo out; echo err >&2; exit 3"}), nil)
	if o.err != nil || o.last.Executor.Key != p.office.Key || !strings.Contains(string(o.last.Result.Details), `"exitCode":3`) {
		t.Fatalf("%+v", o)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "a"), []byte("fine"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Another node, with less granted.
	guest, _ := startNode(t, 4, http.NotFoundHandler(), "ws://"+p.wire.listen.Addr().String())
	q := &pair{t: t, home: guest, office: p.office, client: &tool.Client{Transport: guest}, dir: p.dir}
	q.ready()
	if o := q.call(t.Context(), request(t, "read", "", object{"path": "a"}), nil); o.err != nil || o.last.Result.String() != "fine" {
		t.Errorf("read: %+v", o)
	}
	if o := q.call(t.Context(), request(t, "exec", "", object{"command": "id"}), nil); code(o.err) != tool.CodeDenied {
		t.Errorf("exec: %+v", o)
	}
	l, err := q.client.Tools(t.Context(), q.office)
	if err != nil || len(l.Tools) != 1 || l.Tools[0].Name != "read" {
		t.Errorf("tools: %+v, %v", l, err)
	}
}

// The caller leaves: what it began ends with all that it started.
func TestCallerLeavesOverTheMesh(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "key-1"} {
		p := newPair(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		pid := 0
		o := p.call(ctx, request(t, "exec", name, object{"command": "sleep 1000 & echo $!; wait"}), func(e *tool.Event) {
			if e.Type == tool.EventOutput {
				pid, _ = strconv.Atoi(strings.TrimSpace(string(e.Data())))
				cancel()
			}
		})
		if !errors.Is(o.err, context.Canceled) || pid == 0 {
			t.Fatalf("%q: pid %d, %+v", name, pid, o)
		}
		until(t, "the command's child ends", func() bool { return dead(pid) })
	}
}

// A phase of a call, and how the way is cut in it.
type phase struct {
	name   string
	before func(*pair)
	args   func(*pair) object
	on     func(*pair, *tool.Event) // for each event
	code   string                   // of what a caller without a key is told
	most   int                      // runs without a key
	pid    bool                     // the command hangs, and has written its number
}

var (
	large  = slices.Repeat([]string{strings.Repeat("x", 100_000)}, 8) // more than buffers on the way hold
	phases = []phase{
		{
			name: "before the call", before: func(p *pair) { p.wire.cut() },
			args: func(p *pair) object { return p.line("echo done") }, code: tool.CodeUnreachable,
		}, {
			name: "in the middle of the request", before: func(p *pair) { p.wire.cutAfter(300_000, never) },
			args: func(p *pair) object {
				return object{"argv": append([]string{"sh", "-c", p.line("echo done")["command"].(string)}, large...)}
			}, code: tool.CodeUnreachable,
		}, {
			name: "before the answer begins", before: func(p *pair) { p.wire.cutAfter(never, 0) },
			args: func(p *pair) object { return p.line("echo done") }, code: tool.CodeUnreachable, most: 1,
		}, {
			name: "when it has begun", args: func(p *pair) object { return p.line(waits()) },
			on: func(p *pair, e *tool.Event) {
				if e.Type == tool.EventStarted && !p.mended() {
					until(p.t, "the command runs", func() bool { return exists(p, "pid") })
					p.wire.cut()
				}
			}, code: tool.CodeOutcome, most: 1, pid: true,
		}, {
			name: "in the middle of its output", args: func(p *pair) object { return p.line("echo half; " + waits()) },
			on: func(p *pair, e *tool.Event) {
				if e.Type == tool.EventOutput && exists(p, "pid") && !p.mended() {
					p.wire.cut()
				}
			}, code: tool.CodeOutcome, most: 1, pid: true,
		}, {
			name: "in the middle of its result", before: func(p *pair) { p.wire.cutAfter(never, 300_000) },
			args: func(p *pair) object { return p.line("head -c 900000 /dev/zero | tr '\\0' x; echo done") }, code: tool.CodeOutcome, most: 1,
		},
	}
)

// waits is a command that says its number and waits for the gate.
func waits() string {
	return "echo $$ > pid.tmp; mv pid.tmp pid; echo begun; while [ ! -e gate ]; do sleep 0.02; done; echo done"
}

// mended says that the way was cut and mended: it is cut once.
func (p *pair) mended() bool { return exists(p, "gate") }

func exists(p *pair, name string) bool {
	_, err := os.Stat(filepath.Join(p.dir, name))
	return err == nil
}

// The way is cut in every phase of a call without a key: the caller is told, the
// call has run at most once, and what runs is ended.
func TestCutWithoutAKey(t *testing.T) {
	t.Parallel()
	for _, c := range phases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, nil)
			o := p.cutIn(c, "")
			if code(o.err) != c.code || o.last != nil && o.last.Type == tool.EventResult || !p.wire.isDown() {
				t.Errorf("%v, last event %+v, cut %t; want %s", o.err, o.last, p.wire.isDown(), c.code)
			}
			if c.pid {
				data, err := os.ReadFile(filepath.Join(p.dir, "pid"))
				if err != nil {
					t.Fatal(err)
				}
				pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
				if err != nil {
					t.Fatal(err)
				}
				until(t, "the command ends", func() bool { return dead(pid) })
			}
			p.wire.mend()
			p.ready() // whatever was on its way has arrived or never will
			if n := p.runs(); n > c.most {
				t.Errorf("ran %d times", n)
			}
		})
	}
}

func (p *pair) cutIn(c phase, idempotencyKey string) outcome {
	if c.before != nil {
		c.before(p)
	}
	return p.call(p.t.Context(), request(p.t, "exec", idempotencyKey, c.args(p)), func(e *tool.Event) {
		if c.on != nil {
			c.on(p, e)
		}
	})
}

// Under a key the same cuts are mended: the call has run exactly once, and its
// result arrives.
func TestCutUnderAKey(t *testing.T) {
	t.Parallel()
	for _, c := range phases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, nil)
			cuts := 0
			p.client.SetWait(func(ctx context.Context, _ time.Duration) error {
				cuts++
				p.wire.mend()
				return errors.Join(os.WriteFile(filepath.Join(p.dir, "gate"), nil, 0o600), p.reached(ctx))
			})
			o := p.cutIn(c, "key-1")
			if o.err != nil || o.last == nil || o.last.Type != tool.EventResult || !strings.HasSuffix(o.last.Result.String(), "done\n") {
				t.Errorf("%v, last event %+v", o.err, o.last)
			}
			if n := p.runs(); n != 1 || cuts == 0 {
				t.Errorf("ran %d times, cut %d times", n, cuts)
			}
		})
	}
}

// An answer in another node's name is no answer.
func TestAnotherExecutor(t *testing.T) {
	t.Parallel()
	other := key.FromSeed([32]byte{9}).ID()
	answer := fmt.Sprintf("{\"type\":\"started\",\"executor\":{\"node\":\"x\",\"key\":%q}}\n", other)
	c := &tool.Client{Transport: trip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Status: "200 OK", Body: io.NopCloser(strings.NewReader(answer))}, nil
	})}
	err := c.Invoke(t.Context(), tool.Node{Key: key.ID{1}, Name: "office-01"}, tool.Request{Tool: "exec"}, false, func(*tool.Event) error { return nil })
	if code(err) != tool.CodeExecutor || !strings.Contains(err.Error(), "office-01") {
		t.Error(err)
	}
}

// An executor is another person's program: what it sends is bounded, and its
// statuses are not passed on as they come.
func TestHostileExecutor(t *testing.T) {
	t.Parallel()
	id := key.FromSeed([32]byte{9}).ID()
	line := fmt.Sprintf("{\"type\":\"output\",\"text\":%q}\n", strings.Repeat("x", 1<<20))
	answers := map[string]struct {
		body io.Reader
		code string
	}{
		"nothing":              {strings.NewReader(""), tool.CodeOutcome},
		"more output than any": {repeat(line, 100), tool.CodeFailed},
		"no events":            {strings.NewReader("<html>\n"), tool.CodeOutcome},
		"an empty end":         {strings.NewReader("{\"type\":\"result\"}\n"), tool.CodeOutcome},
	}
	for name, a := range answers {
		c := &tool.Client{Transport: trip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Status: "200 OK", Body: io.NopCloser(a.body)}, nil
		})}
		got := 0
		err := c.Invoke(t.Context(), tool.Node{Key: id, Name: "office-01"}, tool.Request{Tool: "exec"}, false, func(e *tool.Event) error {
			got += len(e.Data())
			return nil
		})
		if code(err) != a.code || got > 64<<20 {
			t.Errorf("%s: %v after %d bytes; want %s", name, err, got, a.code)
		}
	}
	for _, status := range []string{"0", "7", "99", "200", "1000", "-1"} {
		rec := httptest.NewRecorder()
		c := &tool.Client{Transport: trip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 500, Status: "500", Body: io.NopCloser(strings.NewReader(`{"error":{"message":"m","code":"tool_denied","status":` + status + `}}`))}, nil
		})}
		nodes := oneNode{tool.Node{Key: id, Name: "office-01", Verified: true}}
		server, err := tool.NewServer(tool.Options{Self: tool.Executor{Node: "x", Key: key.ID{1}}, Policy: new(tool.Policy), Identify: func(*http.Request) (tool.Caller, error) { return tool.Caller{}, nil }, Audit: nothing{}})
		if err != nil {
			t.Fatal(err)
		}
		tool.NewLocal(server, nodes, c).ServeHTTP(rec, httptest.NewRequest("POST", "/v1/nodes/office-01/tools/invoke", strings.NewReader(`{"tool":"exec"}`)))
		if rec.Code != http.StatusForbidden {
			t.Errorf("status %s became %d", status, rec.Code)
		}
	}
}

func repeat(text string, n int) io.Reader {
	var all []io.Reader
	for range n {
		all = append(all, strings.NewReader(text))
	}
	return io.MultiReader(all...)
}

type oneNode struct{ tool.Node }

func (o oneNode) Find(string) (tool.Node, error) { return o.Node, nil }
func (o oneNode) Tagged(string) []tool.Node      { return nil }

type nothing struct{}

func (nothing) Append(audit.Entry) error { return nil }

type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Without a key and with effects, one attempt is all; what only reads is tried
// again.
func TestRepetitions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key      string
		readOnly bool
		want     int
	}{{"", false, 1}, {"", true, 5}, {"k", false, 5}} {
		n := 0
		client := &tool.Client{Transport: trip(func(r *http.Request) (*http.Response, error) {
			n++
			return nil, errors.New("broken pipe")
		})}
		client.SetWait(func(context.Context, time.Duration) error { return nil })
		err := client.Invoke(t.Context(), tool.Node{Key: key.ID{1}}, tool.Request{Tool: "x", IdempotencyKey: c.key}, c.readOnly, func(*tool.Event) error { return nil })
		if n != c.want || code(err) != tool.CodeUnreachable {
			t.Errorf("%+v: %d attempts, %v", c, n, err)
		}
	}
}

// A call of a tool through a relay, beside what the connection itself costs.
func BenchmarkReadThroughARelay(b *testing.B) {
	p := newPair(b, func(c *tool.Config) { c.Allow, c.Callers = []string{"*"}, nil })
	if err := os.WriteFile(filepath.Join(p.dir, "a"), []byte("fine"), 0o600); err != nil {
		b.Fatal(err)
	}
	b.Run("hello", func(b *testing.B) {
		for b.Loop() {
			if err := p.client.Cancel(b.Context(), p.office, "none"); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, r := range map[string]tool.Request{"read": request(b, "read", "", object{"path": "a"}), "exec": request(b, "exec", "", object{"argv": []string{"true"}})} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if o := p.call(b.Context(), r, nil); o.err != nil {
					b.Fatal(o.err)
				}
			}
		})
	}
}
