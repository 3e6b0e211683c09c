package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/internal/home"
	"lobstah/internal/testport"
	"lobstah/ledger"
	"lobstah/ledger/sqlite"
)

// A machine is a home in which the real program runs, is killed and starts
// again.
type machine struct {
	t    *testing.T
	dir  string
	args []string
	cmd  *exec.Cmd
	log  bytes.Buffer
	base string // of what it serves
}

// environ is the environment without what it tells lobstah and says of engines:
// what its owner uses is no business of a test.
func environ() []string {
	own := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, "LOBSTAH_") || strings.HasPrefix(entry, "OLLAMA_HOST=")
	})
	return append(own, "LOBSTAH_ENGINE_PORTS=1")
}

func newMachine(t *testing.T, args ...string) *machine {
	m := &machine{t: t, dir: filepath.Join(t.TempDir(), "home"), args: args}
	t.Cleanup(m.kill)
	return m
}

func (m *machine) env() []string {
	return append(environ(), "LOBSTAH_HOME="+m.dir, "GORACE=atexit_sleep_ms=0")
}

// command runs the program to its end.
func (m *machine) command(args ...string) string {
	m.t.Helper()
	program, err := exec.LookPath("lobstah")
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = m.env()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		m.t.Fatalf("lobstah %v: %v\n%s", args, err, errs.String())
	}
	return strings.TrimSpace(out.String())
}

// start runs the program and waits until it serves.
func (m *machine) start() {
	m.t.Helper()
	program, err := exec.LookPath("lobstah")
	if err != nil {
		m.t.Fatal(err)
	}
	m.cmd = exec.Command(program, m.args...)
	m.cmd.Env = m.env()
	m.cmd.Stdout, m.cmd.Stderr = &m.log, &m.log
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.await("it serves", func() bool {
		h, running, err := home.Home{Dir: m.dir}.Holder()
		m.base = h.Router + h.Worker
		return err == nil && running && h.PID == m.cmd.Process.Pid && m.base != ""
	})
}

// kill ends the program as a loss of power would.
func (m *machine) kill() {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Kill() // it may have ended
	_ = m.cmd.Wait()
	m.cmd = nil
	if m.t.Failed() {
		m.t.Logf("%s %v:\n%s", m.dir, m.args, m.log.String())
	}
}

func (m *machine) await(what string, ready func() bool) {
	m.t.Helper()
	deadline := time.After(patienceInTests)
	for !ready() {
		select {
		case <-deadline:
			m.t.Fatalf("%s: not within %s", what, patienceInTests)
		case <-time.After(pollInTests):
		}
	}
}

// ask makes a request and reads the JSON of its answer; 0 when nobody answers.
func (m *machine) ask(method, path, body string, out any) int {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patienceInTests)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, m.base+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0
	}
	if out != nil && response.StatusCode < 300 {
		if err := json.Unmarshal(text, out); err != nil {
			m.t.Fatalf("%s %s: %s: %v", method, path, text, err)
		}
	}
	return response.StatusCode
}

// submit keeps a job that asks n.
func (m *machine) submit(n int) (id string) {
	m.t.Helper()
	var record grid.Job
	body := fmt.Sprintf(`{"model":"slow","messages":[{"role":"user","content":"job %d"}],"max_tokens":4}`, n)
	m.await("a job is accepted", func() bool { return m.ask("POST", "/v1/jobs", body, &record) == 202 })
	return record.ID
}

func (m *machine) job(id string) (record grid.Job) {
	m.t.Helper()
	if status := m.ask("GET", "/v1/jobs/"+id, "", &record); status != 200 && status != 0 {
		m.t.Fatalf("job %s: status %d", id, status)
	}
	return record
}

func (m *machine) jobCounts() grid.JobCounts {
	var c grid.Capacity
	m.ask("GET", "/capacity", "", &c)
	return c.JobCounts
}

// receipts are the nonces of a machine's ledger by the job they are for. A job
// that was billed twice is an error.
func (m *machine) receipts() map[string]string {
	m.t.Helper()
	l, err := sqlite.OpenReadOnly(m.t.Context(), filepath.Join(m.dir, "ledger.db"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer l.Close()
	list, err := l.List(m.t.Context(), ledger.Filter{Limit: 10_000})
	if err != nil {
		m.t.Fatal(err)
	}
	jobs := map[string]string{}
	for _, e := range list {
		if before, twice := jobs[e.Signed.RequestHash]; twice {
			m.t.Errorf("a request was billed twice: %s and %s", before, e.Signed.Nonce)
		}
		jobs[e.Signed.RequestHash] = e.Signed.Nonce
	}
	report, err := l.Verify(m.t.Context())
	if err != nil || !report.OK() {
		m.t.Errorf("the ledger: %+v, %v", report, err)
	}
	return jobs
}

// gate is an engine whose answers wait until it is opened.
type gate struct {
	*httptest.Server
	open  chan struct{}
	once  sync.Once
	mu    sync.Mutex
	begun map[string]int // guarded by mu; calls by question
	left  int            // guarded by mu; calls that were given up
}

func newGate(t *testing.T) *gate {
	g := &gate{open: make(chan struct{}), begun: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"object":"list","data":[{"id":"slow","object":"model"}]}`)
	})
	mux.HandleFunc("POST /v1/chat/completions", g.answer)
	g.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		g.release()
		g.CloseClientConnections()
		g.Close()
	})
	return g
}

func (g *gate) release() { g.once.Do(func() { close(g.open) }) }

func (g *gate) answer(w http.ResponseWriter, r *http.Request) {
	var question struct {
		Messages []message `json:"messages"`
	}
	if err := json.NewDecoder(r.Body).Decode(&question); err != nil || len(question.Messages) == 0 {
		http.Error(w, "bad", http.StatusBadRequest)
		return
	}
	text := question.Messages[0].Content
	g.mu.Lock()
	g.begun[text]++
	g.mu.Unlock()
	select {
	case <-g.open:
	case <-r.Context().Done():
		g.mu.Lock()
		g.left++
		g.mu.Unlock()
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"id":"c","object":"chat.completion","created":1,"model":"slow","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],`+
		`"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`, "answer to "+text)
}

func (g *gate) calls() (begun, left int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range g.begun {
		begun += n
	}
	return begun, g.left
}

// A pair of machines: one lends its engine to the other, which asks.
func newPair(t *testing.T, engine ...string) (worker, router *machine) {
	t.Helper()
	port := testport.Free() // which a worker that is started again can have again
	worker = newMachine(t, append([]string{"worker", "start", "--port", port}, engine...)...)
	router = newMachine(t, "router", "start", "--port", "0")
	router.command("peers", "add", worker.command("id"), "127.0.0.1:"+port, "lender")
	worker.command("allow", router.command("id"), "asker")
	worker.start()
	router.start()
	router.await("the router knows the model", func() bool {
		var list struct{ Data []grid.Model }
		return router.ask("GET", "/v1/models", "", &list) == 200 && len(list.Data) > 0
	})
	return worker, router
}

// TestJobsSurviveKills kills either program, or both, in each phase of a job's
// life. No job is lost, none is billed twice, and both ledgers agree.
func TestJobsSurviveKills(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts and kills some forty programs")
	}
	for _, test := range []struct {
		name string
		act  func(t *testing.T, g *gate, worker, router *machine) (ids []string)
	}{
		{"worker while one job runs and one waits", func(t *testing.T, g *gate, worker, router *machine) []string {
			ids := runOneQueueOne(t, g, worker, router)
			worker.kill()
			worker.start()
			g.release()
			return ids
		}},
		{"router while one job runs and one waits", func(t *testing.T, g *gate, worker, router *machine) []string {
			ids := runOneQueueOne(t, g, worker, router)
			router.kill()
			router.start()
			g.release()
			return ids
		}},
		{"both while one job runs and one waits", func(t *testing.T, g *gate, worker, router *machine) []string {
			ids := runOneQueueOne(t, g, worker, router)
			router.kill()
			worker.kill()
			router.start()
			worker.start()
			g.release()
			return ids
		}},
		{"worker by a stop that does not wait for what runs", func(t *testing.T, g *gate, worker, router *machine) []string {
			ids := runOneQueueOne(t, g, worker, router)
			worker.command("stop")
			worker.kill() // which has ended by itself
			worker.start()
			g.release()
			return ids
		}},
		{"router before anybody has the job", func(t *testing.T, g *gate, worker, router *machine) []string {
			worker.kill()
			ids := []string{router.submit(1), router.submit(2)}
			router.kill()
			router.start()
			worker.start()
			g.release()
			return ids
		}},
		{"worker when the job is done and nobody has fetched it", func(t *testing.T, g *gate, worker, router *machine) []string {
			ids := runOneQueueOne(t, g, worker, router)
			router.kill()
			g.release()
			worker.await("the worker finishes alone", func() bool { return worker.jobCounts().Done == 2 })
			worker.kill()
			worker.start()
			router.start()
			return ids
		}},
		{"router when the job is done and its client has not fetched it", func(t *testing.T, g *gate, worker, router *machine) []string {
			ids := runOneQueueOne(t, g, worker, router)
			g.release()
			for _, id := range ids {
				router.await("the router has it", func() bool { return router.job(id).Status == "done" })
			}
			router.kill()
			worker.kill() // nobody is there any more who could be asked again
			router.start()
			for _, id := range ids {
				if got := router.job(id); got.Status != "done" || len(got.Result) == 0 {
					t.Errorf("after the restart: %+v", got)
				}
			}
			worker.start()
			return ids
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t)
			worker, router := newPair(t, "--engine", g.URL, "--drain-timeout", "100ms")
			ids := test.act(t, g, worker, router)
			for i, id := range ids {
				router.await("the job is done", func() bool { return router.job(id).Status == "done" })
				if got, want := string(router.job(id).Result), fmt.Sprintf("answer to job %d", i+1); !strings.Contains(got, want) {
					t.Errorf("job %d: %s; want %s", i+1, got, want)
				}
			}
			lent, owed := worker.receipts(), router.receipts()
			if len(lent) != len(ids) || !maps.Equal(lent, owed) {
				t.Errorf("%d jobs: the worker's receipts %v, the router's %v", len(ids), lent, owed)
			}
		})
	}
}

// runOneQueueOne submits two jobs to a worker that runs one at a time.
func runOneQueueOne(t *testing.T, g *gate, worker, router *machine) []string {
	t.Helper()
	ids := []string{router.submit(1)}
	router.await("the first runs", func() bool { begun, _ := g.calls(); return begun == 1 })
	ids = append(ids, router.submit(2))
	router.await("one runs and one waits", func() bool {
		begun, _ := g.calls()
		c := worker.jobCounts()
		return begun == 1 && c.Running == 1 && c.Queued == 1
	})
	return ids
}

// TestJobStorm kills machines at random while many jobs go through the demo
// engine.
func TestJobStorm(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("kills programs for half a minute")
	}
	worker, router := newPair(t, "--engine", "demo", "--concurrency", "2")
	const jobs = 40
	ids := map[string]bool{}
	for n := range jobs {
		var record grid.Job
		body := fmt.Sprintf(`{"model":"lobstah-demo","messages":[{"role":"user","content":"storm %d"}],"max_tokens":200}`, n)
		router.await("a job is accepted", func() bool { return router.ask("POST", "/v1/jobs", body, &record) == 202 })
		ids[record.ID] = true
		if n%8 == 7 {
			victim := []*machine{worker, router}[rand.IntN(2)]
			victim.kill()
			victim.start()
		}
	}
	if len(ids) != jobs {
		t.Fatalf("%d ids for %d jobs", len(ids), jobs)
	}
	for id := range ids {
		router.await("the job is done", func() bool {
			record := router.job(id)
			if record.Error != nil {
				t.Fatalf("job %s: %+v", id, *record.Error)
			}
			return record.Status == "done"
		})
	}
	lent, owed := worker.receipts(), router.receipts()
	if len(lent) != jobs || !maps.Equal(lent, owed) {
		t.Errorf("%d jobs: %d receipts at the worker, %d at the router", jobs, len(lent), len(owed))
	}
}

// A job that runs is stopped in the engine when its client cancels it, and
// costs nothing; one that waits never begins.
func TestJobCancel(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	worker, router := newPair(t, "--engine", g.URL)
	ids := runOneQueueOne(t, g, worker, router)
	for _, id := range slices.Backward(ids) {
		var answer grid.Job
		if status := router.ask("DELETE", "/v1/jobs/"+id, "", &answer); status != 200 || answer.ID != id || answer.Error == nil || answer.Error.Type != "cancelled" {
			t.Errorf("cancel %s: %d %+v", id, status, answer)
		}
		if got := router.job(id); got.Status != "error" || got.Error == nil || got.Error.Type != "cancelled" {
			t.Errorf("afterwards: %+v", got)
		}
	}
	router.await("the engine is stopped", func() bool { _, left := g.calls(); return left == 1 })
	worker.await("the worker has nothing left", func() bool { return worker.jobCounts() == (grid.JobCounts{Error: 2}) })
	if begun, _ := g.calls(); begun != 1 {
		t.Errorf("%d jobs were begun", begun)
	}
	if status := router.ask("DELETE", "/v1/jobs/"+ids[0], "", nil); status != 409 {
		t.Errorf("cancel again: %d; want 409", status)
	}
	if lent, owed := worker.receipts(), router.receipts(); len(lent)+len(owed) != 0 {
		t.Errorf("cancelled jobs were billed: %v %v", lent, owed)
	}
}
