package jobs_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/grid/engine"
	"lobstah/grid/jobs"
	"lobstah/grid/worker"
	"lobstah/key"
	"lobstah/ledger"
	"lobstah/ledger/sqlite"
	"lobstah/openai"
	"lobstah/receipt"
)

// The keys of the recordings, so that what was recorded verifies.
var (
	workerPair = key.FromSeed([32]byte(bytes.Repeat([]byte{0x11}, 32)))
	routerPair = key.FromSeed([32]byte(bytes.Repeat([]byte{0x22}, 32)))
	otherPair  = key.FromSeed([32]byte(bytes.Repeat([]byte{0x33}, 32)))
)

// book is a real ledger as worker and jobs see it.
type book struct{ *sqlite.Ledger }

func (b book) Earn(ctx context.Context, s *receipt.Signed, change func(context.Context, *sql.Conn) error) error {
	return b.AppendWith(ctx, ledger.Worker, s, change)
}

func (b book) Record(ctx context.Context, s *receipt.Signed) error {
	return b.Append(ctx, ledger.Worker, s)
}

func (b book) Since(context.Context, key.ID, int64, int) ([]*receipt.Signed, int64, error) {
	return nil, 0, errors.New("not asked here")
}

// list is an allow list that changes while it is used.
type list struct {
	mu      sync.Mutex
	allowed map[key.ID]bool
	legacy  key.ID
}

func (l *list) Allowed(id key.ID) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return "friend", l.allowed[id]
}

func (l *list) MayUse(id key.ID, model grid.Model) bool { return model.ID != "private" }

func (l *list) Legacy(addr netip.Addr, id key.ID) bool { return id == l.legacy && addr.IsLoopback() }

func (l *list) remove(id key.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.allowed, id)
}

// ollama answers as the engine behind the recorded worker did. SLOW waits.
type ollama struct {
	answer string
	open   chan struct{}
	mu     sync.Mutex
	calls  []engine.Call // guarded by mu
	cut    int           // guarded by mu; calls whose context ended
}

func (*ollama) Name() string { return "fake" }

func (*ollama) Models(context.Context) ([]grid.Model, error) {
	return []grid.Model{{ID: "llama3.1:8b"}, {ID: "private"}}, nil
}

func (o *ollama) Do(ctx context.Context, call engine.Call) (*engine.Answer, error) {
	o.mu.Lock()
	o.calls = append(o.calls, call)
	o.mu.Unlock()
	if strings.Contains(string(call.Body), "SLOW") {
		select {
		case <-o.open:
		case <-ctx.Done():
			o.mu.Lock()
			o.cut++
			o.mu.Unlock()
			return nil, ctx.Err()
		}
	}
	if strings.Contains(string(call.Body), "FAIL") {
		return nil, openai.ParseError(500, []byte(`{"error":{"message":"fake failure"}}`))
	}
	return &engine.Answer{Status: 200, ContentType: "application/json", Body: io.NopCloser(strings.NewReader(o.answer))}, nil
}

func (o *ollama) count() (calls, cut int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.calls), o.cut
}

// stand is a worker with its jobs, on a real port and a real ledger.
type stand struct {
	t       *testing.T
	url     string
	engine  *ollama
	book    book
	allowed *list
	jobs    *jobs.Service
	all     map[string]exchange
}

type exchange struct{ Request, Response string }

func newStand(t *testing.T, change func(*worker.Config)) *stand {
	t.Helper()
	raw, err := os.ReadFile("testdata/recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ HTTP map[string]exchange }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	s := &stand{t: t, all: file.HTTP, engine: &ollama{open: make(chan struct{})}, allowed: &list{allowed: map[key.ID]bool{routerPair.ID(): true, otherPair.ID(): true}}}
	var done grid.Job
	s.recorded("worker_job_poll_done", &done)
	s.engine.answer = string(done.Result)
	l, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"), workerPair)
	if err != nil {
		t.Fatal(err)
	}
	s.book = book{l}
	s.jobs = jobs.New(jobs.Config{Side: jobs.ForOthers, Database: s.book, Logger: slog.New(slog.DiscardHandler)})
	c := worker.Config{Identity: workerPair, Engine: s.engine, Ledger: s.book, Admission: s.allowed, JobCounts: s.jobs.Counts, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&c)
	}
	w := worker.New(c)
	s.jobs.Backend = w
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { w.Run(ctx) })
	run.Go(func() { s.jobs.Run(ctx) })
	server := httptest.NewServer(s.jobs.Before(w))
	s.url = server.URL
	t.Cleanup(func() {
		cancel()
		run.Wait()
		server.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// recorded reads the original's answer of that name.
func (s *stand) recorded(name string, out any) (status int) {
	s.t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(s.all[name].Response)), nil)
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	return response.StatusCode
}

// replay sends the recorded bytes of a request, with another job's id.
func (s *stand) replay(name, recordedID, id string, out any) (status int) {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	request := s.all[name].Request
	if recordedID != "" {
		request = strings.Replace(request, recordedID, id, 1)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		s.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(body, out); err != nil {
		s.t.Fatalf("%s: %s", name, body)
	}
	return response.StatusCode
}

// ask makes a request that pair signs; none signs it for the zero pair.
func (s *stand) ask(pair key.Pair, method, path, body string, out any) (status int) {
	s.t.Helper()
	r, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if !pair.IsZero() {
		r.Header.Set(receipt.RequesterHeader, pair.ID().String())
		r.Header.Set(receipt.SignatureHeader, receipt.Request{
			Method: method, Path: r.URL.Path, Worker: workerPair.ID(), Requester: pair.ID(), BodyHash: sha256.Sum256([]byte(body)),
		}.Sign(pair, time.Now()).String())
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			s.t.Fatalf("%s %s: %s", method, path, text)
		}
	}
	return response.StatusCode
}

func (s *stand) submit(pair key.Pair, body string) string {
	s.t.Helper()
	var record grid.Job
	if status := s.ask(pair, "POST", "/v1/jobs", body, &record); status != 202 {
		s.t.Fatalf("submit %s: %d", body, status)
	}
	return record.ID
}

// ended waits for a job's end.
func (s *stand) ended(pair key.Pair, id string) (record grid.Job) {
	s.t.Helper()
	for record.CompletedAt == 0 {
		if status := s.ask(pair, "GET", "/v1/jobs/"+id+"?wait=20", "", &record); status != 200 {
			s.t.Fatalf("job %s: %d", id, status)
		}
	}
	return record
}

// running waits until a job runs.
func (s *stand) running(pair key.Pair, id string) (record grid.Job) {
	s.t.Helper()
	for record.Status != "running" {
		if status := s.ask(pair, "GET", "/v1/jobs/"+id+"?wait=20&seen=queued", "", &record); status != 200 || record.CompletedAt != 0 {
			s.t.Fatalf("job %s: %d %+v", id, status, record)
		}
	}
	return record
}

const (
	quick = `{"model":"llama3.1:8b","messages":[{"role":"user","content":"hi"}]}`
	slow  = `{"model":"llama3.1:8b","messages":[{"role":"user","content":"SLOW"}]}`
	fails = `{"model":"llama3.1:8b","messages":[{"role":"user","content":"FAIL"}]}`
)

// What the original's clients sent to its worker, against ours: the answers have
// its members. Where they differ, docs/differences.md says why.
func TestOriginalsJobs(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.allowed.legacy = routerPair.ID() // as the owner does for programs that do not sign
	const recordedID = "0adcc34f-c9f2-42ac-a91f-a164efd35d7f"
	var want, got map[string]any
	members := func(m map[string]any) (names []string) {
		for name := range m {
			names = append(names, name)
		}
		slices.Sort(names)
		return names
	}
	status := s.replay("worker_job_submit", "", "", &got)
	if wanted := s.recorded("worker_job_submit", &want); status != wanted || !slices.Equal(members(got), members(want)) || got["status"] != "queued" {
		t.Fatalf("submit: %d %v; the original %d %v", status, got, wanted, want)
	}
	id := got["jobId"].(string)
	s.ended(key.Pair{}, id)
	clear(got)
	clear(want)
	status = s.replay("worker_job_poll_done", recordedID, id, &got)
	wanted := s.recorded("worker_job_poll_done", &want)
	for name := range want {
		if got[name] == nil {
			t.Errorf("done: no member %s", name)
		}
	}
	if status != wanted || got["status"] != want["status"] || fmt.Sprint(got["result"]) != fmt.Sprint(want["result"]) || fmt.Sprint(got["metadata"]) != fmt.Sprint(want["metadata"]) {
		t.Errorf("done: %d %v; the original %d %v", status, got, wanted, want)
	}
	envelope, err := json.Marshal(got["signedReceipt"])
	if err != nil {
		t.Fatal(err)
	}
	signed, err := receipt.Open(envelope)
	if err != nil || signed.JobID != id || signed.Requester != routerPair.ID().String() || signed.InputTokens != 7 || signed.OutputTokens != 2 {
		t.Errorf("the receipt: %+v, %v", signed, err)
	}
	for name, differs := range map[string]int{
		"worker_job_404":            0,
		"worker_job_cancel_done":    0,
		"worker_job_cancel_unknown": 404, // which says more than 409
		"worker_job_invalid":        0,   // of another shape
	} {
		var want, got struct {
			Error struct{ Type string }
		}
		status := s.replay(name, recordedID, id, &got)
		wanted := s.recorded(name, &want)
		if differs != 0 {
			wanted = differs
		} else if want.Error.Type != "" && got.Error.Type != want.Error.Type {
			t.Errorf("%s: type %q; the original %q", name, got.Error.Type, want.Error.Type)
		}
		if status != wanted {
			t.Errorf("%s: %d; want %d", name, status, wanted)
		}
	}
	var failed, record grid.Job
	s.replay("worker_job_engine_error", "", "", &record)
	s.recorded("worker_job_poll_error", &failed)
	if got := s.ended(key.Pair{}, record.ID); got.Status != failed.Status || got.Error.Type != failed.Error.Type || !strings.Contains(failed.Error.Message, got.Error.Message) {
		t.Errorf("engine error: %+v; the original %+v", got.Error, failed.Error)
	}
}

// A job's receipt is bound to the submission and to the bytes of the result, and
// its debt has two signatures.
func TestReceiptOfAJob(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	body := `{"model":"llama3.1:8b","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true},"metadata":{"a":"b"},"seed":1}`
	record := s.ended(routerPair, s.submit(routerPair, body))
	signed, err := receipt.Open(record.Receipt)
	if err != nil {
		t.Fatal(err)
	}
	if signed.Countersigned() != nil || signed.RequestHash != receipt.HashBody([]byte(body)) || signed.ResponseHash != receipt.HashBody(record.Result) ||
		signed.RequestPath != "/v1/jobs" || signed.Requester != routerPair.ID().String() {
		t.Errorf("%+v: %v", signed.Receipt, signed.Countersigned())
	}
	call := s.engine.calls[0]
	if want := `{"model":"llama3.1:8b","messages":[{"role":"user","content":"hi"}],"seed":1}`; string(call.Body) != want || call.Path != "/v1/chat/completions" {
		t.Errorf("the engine got %s %s; want %s", call.Path, call.Body, want)
	}
	sum, err := s.book.Balances(t.Context())
	if err != nil || sum.Receipts != 1 || sum.Self.Earned != 9 {
		t.Errorf("%+v, %v", sum, err)
	}
}

// Who may not ask for an answer may not leave a job, and who may not any more
// is not served when its turn comes.
func TestAdmissionOfJobs(t *testing.T) {
	t.Parallel()
	stranger := key.FromSeed([32]byte{9})
	s := newStand(t, func(c *worker.Config) { c.Credit = 10 })
	for _, test := range []struct {
		name   string
		pair   key.Pair
		body   string
		status int
	}{
		{"a model that is not lent", routerPair, strings.Replace(quick, "llama3.1:8b", "private", 1), 403},
		{"a model that is not there", routerPair, strings.Replace(quick, "llama3.1:8b", "none", 1), 404},
		{"no messages", routerPair, `{"model":"llama3.1:8b"}`, 400},
		{"no model", routerPair, `{"messages":[]}`, 400},
		{"no JSON", routerPair, `{`, 400},
		{"notes that are no texts", routerPair, `{"model":"llama3.1:8b","messages":[],"metadata":{"n":1}}`, 400},
		{"an unsigned program on this machine", key.Pair{}, quick, 202},
		{"a key on this machine", stranger, quick, 202},
	} {
		if got := s.ask(test.pair, "POST", "/v1/jobs", test.body, nil); got != test.status {
			t.Errorf("%s: %d; want %d", test.name, got, test.status)
		}
	}
	if record := s.ended(routerPair, s.submit(routerPair, quick)); record.Status != "done" { // 9 tokens of 10
		t.Errorf("with credit: %+v", record.Error)
	}
	block := s.submit(otherPair, slow)
	s.running(otherPair, block)
	late := s.submit(routerPair, quick)
	now := time.Now()
	spent, err := receipt.Sign(workerPair, receipt.Receipt{
		JobID: receipt.NewJobID(), Nonce: receipt.NewNonce(), Requester: routerPair.ID().String(), Worker: workerPair.ID(), Model: "llama3.1:8b",
		InputTokens: 1, StartedAt: now, CompletedAt: now,
	})
	if err == nil {
		err = s.book.Record(t.Context(), spent)
	}
	if err != nil {
		t.Fatal(err)
	}
	close(s.engine.open)
	if record := s.ended(otherPair, block); record.Status != "done" {
		t.Errorf("%+v", record.Error)
	}
	if record := s.ended(routerPair, late); record.Status != "error" || record.Error.Type != "insufficient_credit" {
		t.Errorf("its credit was spent before its turn came: %s %+v", record.Status, record.Error)
	}
	if got := s.ask(routerPair, "POST", "/v1/jobs", quick, nil); got != 402 {
		t.Errorf("without credit: %d; want 402", got)
	}
}

// The id is not enough for a job whose submission was signed, and a signature
// that does not hold is none.
func TestSecrecyOfJobs(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	signed, unsigned := s.submit(routerPair, quick), s.submit(key.Pair{}, quick)
	s.ended(routerPair, signed)
	s.ended(key.Pair{}, unsigned)
	for _, test := range []struct {
		pair   key.Pair
		id     string
		status int
	}{
		{routerPair, signed, 200}, {otherPair, signed, 404}, {key.Pair{}, signed, 404},
		{key.Pair{}, unsigned, 200}, {routerPair, unsigned, 404},
	} {
		for _, method := range []string{"GET", "DELETE"} {
			want := test.status
			if method == "DELETE" && want == 200 {
				want = 409
			}
			if got := s.ask(test.pair, method, "/v1/jobs/"+test.id, "", nil); got != want {
				t.Errorf("%s: %d; want %d", method, got, want)
			}
		}
	}
	var page struct{ Data []grid.Job }
	if got := s.ask(otherPair, "GET", "/v1/jobs", "", &page); got != 200 || len(page.Data) != 0 {
		t.Errorf("another's list: %d %+v", got, page)
	}
	if got := s.ask(routerPair, "GET", "/v1/jobs", "", &page); got != 200 || len(page.Data) != 1 || page.Data[0].ID != signed {
		t.Errorf("the own list: %d %+v", got, page)
	}
	r, err := http.NewRequest("GET", s.url+"/v1/jobs/"+signed, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(receipt.RequesterHeader, routerPair.ID().String())
	r.Header.Set(receipt.SignatureHeader, receipt.Request{Method: "GET", Path: "/v1/jobs/" + signed, Worker: workerPair.ID(), Requester: otherPair.ID(), BodyHash: sha256.Sum256(nil)}.Sign(otherPair, time.Now()).String())
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 401 || response.Header.Get("X-Lobstah-Time") == "" {
		t.Errorf("with another's signature: %d", response.StatusCode)
	}
	s.allowed.remove(routerPair.ID())
	if got := s.ask(routerPair, "GET", "/v1/jobs/"+signed, "", nil); got != 200 {
		t.Errorf("its own result, after it was let out: %d; want 200", got)
	}
}

// Cancelling stops the engine; nothing is owed.
func TestCancelStopsTheEngine(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	id := s.submit(routerPair, slow)
	record := s.running(routerPair, id)
	if got := s.ask(routerPair, "DELETE", "/v1/jobs/"+id, "", &record); got != 200 || record.Error == nil || record.Error.Type != "cancelled" {
		t.Errorf("%d %+v", got, record)
	}
	if calls, cut := s.engine.count(); calls != 1 || cut != 1 {
		t.Errorf("%d calls, %d stopped", calls, cut)
	}
	if sum, err := s.book.Balances(t.Context()); err != nil || sum.Receipts != 0 {
		t.Errorf("%+v, %v", sum, err)
	}
}

// A job shares the slots with chats, which go first where people come first.
func TestJobsWaitForChats(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	block := s.submit(routerPair, slow)
	s.running(routerPair, block)
	job := s.submit(routerPair, quick)
	var chats sync.WaitGroup
	for range 3 {
		chats.Go(func() {
			if got := s.ask(otherPair, "POST", "/v1/chat/completions", strings.Replace(quick, "hi", "chat", 1), nil); got != 200 {
				t.Errorf("chat: %d", got)
			}
		})
	}
	for {
		var c grid.Capacity
		s.ask(key.Pair{}, "GET", "/capacity", "", &c)
		if c.QueueDepth >= 4 { // three chats and the job that is next
			break
		}
	}
	close(s.engine.open)
	chats.Wait()
	s.ended(routerPair, job)
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	var order []string
	for _, call := range s.engine.calls {
		switch {
		case strings.Contains(string(call.Body), "chat"):
			order = append(order, "chat")
		case strings.Contains(string(call.Body), "SLOW"):
			order = append(order, "first")
		default:
			order = append(order, "job")
		}
	}
	if got := strings.Join(order, " "); got != "first chat chat chat job" {
		t.Errorf("the engine was asked %s", got)
	}
}
