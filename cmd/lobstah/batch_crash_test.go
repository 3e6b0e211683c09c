package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
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
	"testing"
	"time"

	"lobstah/grid/batch"
	"lobstah/internal/testport"
	"lobstah/receipt"
)

// pacedEngine serves the model m: each answer takes a while, as on a machine of
// that speed, and waits for its turn.
type pacedEngine struct {
	*httptest.Server
	turns *turns
	mu    sync.Mutex
	told  map[string]int // guarded by mu; answers by what was asked
}

// turns let engines answer up to a limit together, so that a test can do
// something in the middle however fast or slow the machine is. The zero value
// knows no limit.
type turns struct {
	mu      sync.Mutex
	taken   int           // guarded by mu
	most    int           // guarded by mu; 0 means no limit
	changed chan struct{} // guarded by mu; closed with the next limit
}

// limit lets n answers be given, those that were given included; 0 lets all.
func (u *turns) limit(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.most = n
	if u.changed != nil {
		close(u.changed)
		u.changed = nil
	}
}

// take waits for a turn, and reports false when ctx was done before.
func (u *turns) take(ctx context.Context) bool {
	for {
		u.mu.Lock()
		if u.most == 0 || u.taken < u.most {
			u.taken++
			u.mu.Unlock()
			return true
		}
		if u.changed == nil {
			u.changed = make(chan struct{})
		}
		changed := u.changed
		u.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

func newPacedEngine(t *testing.T, each time.Duration) *pacedEngine {
	return newTurnsEngine(t, each, new(turns))
}

func newTurnsEngine(t *testing.T, each time.Duration, turns *turns) *pacedEngine {
	e := &pacedEngine{turns: turns, told: map[string]int{}}
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
		if !e.turns.take(r.Context()) {
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

// exported are the receipts in the machine's ledger, by nonce.
func (m *machine) exported() map[string]*receipt.Signed {
	m.t.Helper()
	all := map[string]*receipt.Signed{}
	lines := bufio.NewScanner(strings.NewReader(m.command("ledger", "export")))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		s, err := receipt.Open(bytes.Clone(lines.Bytes()))
		if err != nil {
			m.t.Fatal(err)
		}
		if all[s.Nonce] != nil {
			m.t.Errorf("the ledger of %v has the receipt %s twice", m.args, s.Nonce)
		}
		all[s.Nonce] = s
	}
	return all
}

const (
	crashLines = 300
	crashSlots = 2 // of each worker

	// What may have been asked twice, or have lost its receipt on the way, was in
	// flight at one of the two kills.
	crashInFlight = 2 * 3 * crashSlots * 2
)

// A batch over three machines of different speed: the fastest is killed, then
// the router, then the machine comes back. No line is lost, none that was
// answered is asked again, and what was paid stands once in both ledgers.
func TestBatchSurvivesKills(t *testing.T) {
	t.Parallel()
	router := newMachine(t, "router", "start", "--port", testport.Free())
	id := router.command("id")
	var engines []*pacedEngine
	var workers []*machine
	together := new(turns)
	for _, each := range []time.Duration{15 * time.Millisecond, 30 * time.Millisecond, 60 * time.Millisecond} {
		e := newTurnsEngine(t, each, together)
		w := newMachine(t, "worker", "start", "--engine", e.URL, "--port", testport.Free(), "--concurrency", strconv.Itoa(crashSlots))
		key := w.command("id")
		w.command("allow", id, "router")
		w.start()
		router.command("peers", "add", key, w.base)
		engines, workers = append(engines, e), append(workers, w)
	}
	router.start()
	base := router.base

	input, output := filepath.Join(t.TempDir(), "requests.jsonl"), filepath.Join(t.TempDir(), "results.jsonl")
	var text strings.Builder
	for i := range crashLines {
		fmt.Fprintf(&text, `{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"%d"}]}}`+"\n", i, i)
	}
	if err := os.WriteFile(input, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	together.limit(crashInFlight)
	// Typed in another home, so that it does not start a router of its own.
	client := typed(t, newMachine(t), "batch", "run", input, "-o", output, "--json", "--router", base)
	var said, errs bytes.Buffer
	client.Stdout, client.Stderr = &said, &errs
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	reach := func(lines int) {
		together.limit(lines + crashInFlight) // whose answers may be lost
		router.await(fmt.Sprint(lines, " lines are done"), func() bool { return doneLines(base) >= lines })
	}
	reach(crashLines / 4)
	workers[0].kill()
	reach(crashLines / 2)
	router.kill()
	router.start()
	reach(crashLines * 3 / 4)
	workers[0].start()
	together.limit(0)
	if err := client.Wait(); err != nil {
		t.Fatalf("batch run: %v\n%s", err, errs.String())
	}
	var summary struct{ Total, Completed, Failed int }
	if err := json.Unmarshal(said.Bytes(), &summary); err != nil || summary.Completed != crashLines || summary.Failed != 0 {
		t.Errorf("summary %s, %v", said.String(), err)
	}
	checkResults(t, output)
	router.await("the router has every receipt", func() bool {
		ours := router.exported()
		return !slices.ContainsFunc(workers, func(w *machine) bool {
			for nonce := range w.exported() {
				if ours[nonce] == nil {
					return true
				}
			}
			return false
		})
	})
	router.command("stop")
	checkBooks(t, router, workers, engines)
}

// typed is a command in a machine's home, not yet run.
func typed(t *testing.T, m *machine, args ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath("lobstah")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = m.env()
	return cmd
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
	ours := router.exported()
	theirs := map[string]*receipt.Signed{}
	for _, w := range workers {
		maps.Copy(theirs, w.exported())
	}
	for nonce, s := range ours {
		if other := theirs[nonce]; other == nil || !bytes.Equal(other.Envelope(), s.Envelope()) {
			t.Errorf("the receipt %s stands in the router's ledger and not in its worker's", nonce)
		}
	}
	told, answers := map[string]int{}, 0
	for _, e := range engines {
		e.mu.Lock()
		defer e.mu.Unlock()
		for content, n := range e.told {
			told[content] += n
			answers += n
		}
	}
	if len(told) != crashLines || answers > crashLines+crashInFlight {
		t.Errorf("%d answers to %d lines; at most %d were in flight at the kills", answers, len(told), crashInFlight)
	}
	if n := len(theirs); n < crashLines || n > answers {
		t.Errorf("the workers gave %d receipts for %d answers", n, answers)
	}
	for nonce, s := range theirs {
		if ours[nonce] == nil {
			t.Errorf("the receipt %s of %s stands in a worker's ledger and not in the router's", nonce, s.CompletedAt)
		}
	}
	t.Logf("%d lines: %d answers, %d receipts at the workers, %d at the router", crashLines, answers, len(theirs), len(ours))
}
