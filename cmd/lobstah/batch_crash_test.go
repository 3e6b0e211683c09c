package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/grid/batch"
	"lobstah/internal/home"
	"lobstah/receipt"
)

// pacedEngine serves the model m: each answer takes a while, as on a machine of
// that speed.
type pacedEngine struct {
	*httptest.Server
	mu   sync.Mutex
	told map[string]int // guarded by mu; answers by what was asked
}

func newPacedEngine(t *testing.T, each time.Duration) *pacedEngine {
	e := &pacedEngine{told: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"object":"list","data":[{"id":"m","object":"model"}]}`)
	})
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		var q struct{ Messages []message }
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || len(q.Messages) != 1 {
			http.Error(w, "{}", http.StatusBadRequest)
			return
		}
		select {
		case <-time.After(each):
		case <-r.Context().Done():
			return
		}
		e.mu.Lock()
		e.told[q.Messages[0].Content]++
		e.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}`)
	})
	e.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		e.CloseClientConnections()
		e.Close()
	})
	return e
}

// machine is a home, and the process that uses it.
type machine struct {
	*testing.T
	home string
	cmd  *exec.Cmd
	log  *os.File
}

func newMachine(t *testing.T, name string) *machine {
	return &machine{T: t, home: filepath.Join(t.TempDir(), name)}
}

func (m *machine) command(args ...string) *exec.Cmd {
	m.Helper()
	program, err := exec.LookPath("lobstah")
	if err != nil {
		m.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "LOBSTAH_HOME="+m.home, "LOBSTAH_ENGINE_PORTS=1", "OLLAMA_HOST=127.0.0.1:1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

func (m *machine) run(args ...string) string {
	m.Helper()
	var errs bytes.Buffer
	cmd := m.command(args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		m.Fatalf("lobstah %v: %v\n%s", args, err, errs.String())
	}
	return strings.TrimSpace(string(out))
}

// start runs what serves, and waits until it does.
func (m *machine) start(args ...string) home.Holder {
	m.Helper()
	if m.log == nil {
		log, err := os.Create(filepath.Join(m.ArtifactDir(), filepath.Base(m.home)+".log"))
		if err != nil {
			m.Fatal(err)
		}
		m.log = log
		m.Cleanup(func() {
			m.kill()
			log.Close()
		})
	}
	m.cmd = m.command(args...)
	m.cmd.Stdout, m.cmd.Stderr = m.log, m.log
	if err := m.cmd.Start(); err != nil {
		m.Fatal(err)
	}
	var holder home.Holder
	m.eventually("the process serves", func() bool {
		h, running, err := home.Home{Dir: m.home}.Holder()
		holder = h
		return err == nil && running && h.PID == m.cmd.Process.Pid && (h.Router != "" || h.Worker != "")
	})
	return holder
}

// kill is kill -9.
func (m *machine) kill() {
	if m.cmd != nil {
		_ = m.cmd.Process.Kill() // it may have ended
		_ = m.cmd.Wait()         // says that it was killed
		m.cmd = nil
	}
}

func (m *machine) eventually(what string, ready func() bool) {
	m.Helper()
	deadline := time.After(patienceInTests)
	for !ready() {
		select {
		case <-deadline:
			m.Fatalf("%s: not within %s", what, patienceInTests)
		case <-time.After(pollInTests):
		}
	}
}

// receipts are those in the machine's ledger, by nonce.
func (m *machine) receipts() map[string]*receipt.Signed {
	m.Helper()
	all := map[string]*receipt.Signed{}
	lines := bufio.NewScanner(strings.NewReader(m.run("ledger", "export")))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		s, err := receipt.Open(bytes.Clone(lines.Bytes()))
		if err != nil {
			m.Fatal(err)
		}
		if all[s.Nonce] != nil {
			m.Errorf("the ledger of %s has the receipt %s twice", filepath.Base(m.home), s.Nonce)
		}
		all[s.Nonce] = s
	}
	return all
}

// portFor takes a port that a restarted process can have again.
func portFor(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

const (
	crashLines = 300
	crashSlots = 2 // of each worker
)

// A batch over three machines of different speed: the fastest is killed, then
// the router, then the machine comes back. No line is lost, none that was
// answered is asked again, and what was paid stands once in both ledgers.
func TestBatchSurvivesKills(t *testing.T) {
	t.Parallel()
	router := newMachine(t, "router")
	id := router.run("id")
	var engines []*pacedEngine
	var workers []*machine
	var starts [][]string
	for i, each := range []time.Duration{15 * time.Millisecond, 30 * time.Millisecond, 60 * time.Millisecond} {
		w := newMachine(t, fmt.Sprint("worker", i))
		e := newPacedEngine(t, each)
		key := w.run("id")
		w.run("allow", id, "router")
		start := []string{"worker", "start", "--engine", e.URL, "--port", portFor(t), "--concurrency", strconv.Itoa(crashSlots)}
		h := w.start(start...)
		router.run("peers", "add", key, h.Worker)
		engines, workers, starts = append(engines, e), append(workers, w), append(starts, start)
	}
	routing := []string{"router", "start", "--port", portFor(t)}
	base := router.start(routing...).Router

	input, output := filepath.Join(t.TempDir(), "requests.jsonl"), filepath.Join(t.TempDir(), "results.jsonl")
	var text strings.Builder
	for i := range crashLines {
		fmt.Fprintf(&text, `{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"%d"}]}}`+"\n", i, i)
	}
	if err := os.WriteFile(input, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	// Typed in another home, so that it does not start a router of its own.
	client := newMachine(t, "client").command("batch", "run", input, "-o", output, "--json", "--router", base)
	var said, errs bytes.Buffer
	client.Stdout, client.Stderr = &said, &errs
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	reach := func(lines int) {
		router.eventually(fmt.Sprint(lines, " lines are done"), func() bool { return doneLines(base) >= lines })
	}
	reach(crashLines / 4)
	workers[0].kill()
	reach(crashLines / 2)
	router.kill()
	if got := router.start(routing...).Router; got != base {
		t.Fatalf("the router came back at %s", got)
	}
	reach(crashLines * 3 / 4)
	workers[0].start(starts[0]...)
	if err := client.Wait(); err != nil {
		t.Fatalf("batch run: %v\n%s", err, errs.String())
	}
	var summary struct{ Total, Completed, Failed int }
	if err := json.Unmarshal(said.Bytes(), &summary); err != nil || summary.Completed != crashLines || summary.Failed != 0 {
		t.Errorf("summary %s, %v", said.String(), err)
	}
	checkResults(t, output)
	router.run("stop") // keeps the receipts that it has
	checkBooks(t, router, workers, engines)
}

func doneLines(base string) int {
	response, err := http.Get(base + "/v1/batches?limit=1")
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	var page struct{ Data []batch.Batch }
	if json.NewDecoder(response.Body).Decode(&page) != nil || len(page.Data) == 0 {
		return 0
	}
	return page.Data[0].RequestCounts.Completed
}

func checkResults(t *testing.T, output string) {
	t.Helper()
	text, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		var r struct {
			ID string `json:"custom_id"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil || seen[r.ID] {
			t.Errorf("line %q: %v, or a second time", line, err)
		}
		seen[r.ID] = true
	}
	if len(seen) != crashLines {
		t.Errorf("%d of %d lines have a result", len(seen), crashLines)
	}
}

func checkBooks(t *testing.T, router *machine, workers []*machine, engines []*pacedEngine) {
	t.Helper()
	ours := router.receipts()
	theirs := map[string]*receipt.Signed{}
	for _, w := range workers {
		for nonce, s := range w.receipts() {
			theirs[nonce] = s
		}
	}
	for nonce, s := range ours {
		if other := theirs[nonce]; other == nil || !bytes.Equal(other.Envelope(), s.Envelope()) {
			t.Errorf("the receipt %s stands in the router's ledger and not in its worker's", nonce)
		}
	}
	// What may have been asked twice, or have lost its receipt on the way, was in
	// flight at one of the two kills.
	inFlight := 2 * 3 * crashSlots * 2
	told, answers := map[string]int{}, 0
	for _, e := range engines {
		for content, n := range e.told {
			told[content] += n
			answers += n
		}
	}
	if len(told) != crashLines || answers > crashLines+inFlight {
		t.Errorf("%d answers to %d lines; at most %d were in flight at the kills", answers, len(told), inFlight)
	}
	if n := len(theirs); n < crashLines || n > answers {
		t.Errorf("the workers gave %d receipts for %d answers", n, answers)
	}
	if n := len(ours); n < crashLines-inFlight || n > len(theirs) {
		t.Errorf("the router has %d receipts, its workers %d", n, len(theirs))
	}
	t.Logf("%d lines: %d answers, %d receipts at the workers, %d at the router", crashLines, answers, len(theirs), len(ours))
}
