package jobs_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/grid/jobs"
	"lobstah/grid/router"
	"lobstah/key"
	"lobstah/ledger"
	"lobstah/ledger/sqlite"
	"lobstah/receipt"
)

// routerBook is a router's ledger.
type routerBook struct{ book }

func (b routerBook) Append(ctx context.Context, s *receipt.Signed) error {
	return b.Ledger.Append(ctx, ledger.Requester, s)
}

func (routerBook) Balances(context.Context) (router.Balances, error) { return router.Balances{}, nil }

func (routerBook) Recent(context.Context, int) ([]*receipt.Signed, int, error) { return nil, 0, nil }

type peers []grid.Peer

func (p peers) List() []grid.Peer { return p }

// newRouterStand puts a router with its jobs before a worker; url is then the
// router's.
func newRouterStand(t *testing.T, way func(http.RoundTripper) http.RoundTripper) (*stand, routerBook) {
	t.Helper()
	s := newStand(t, nil)
	l, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "ledger.db"), routerPair)
	if err != nil {
		t.Fatal(err)
	}
	b := routerBook{book{l}}
	kept := jobs.New(jobs.Config{Side: jobs.Ours, Database: b, Logger: slog.New(slog.DiscardHandler)})
	transport := &http.Transport{}
	rt, err := router.New(router.Config{
		Identity: routerPair, Peers: peers{{ID: workerPair.ID(), URL: s.url}}, Ledger: b,
		RoundTripper: func(grid.Peer) http.RoundTripper { return way(transport) },
		Extra:        map[string]http.Handler{jobs.Path: kept, jobs.Path + "/": kept},
	})
	if err != nil {
		t.Fatal(err)
	}
	kept.Backend = rt
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { rt.Run(ctx) })
	run.Go(func() { kept.Run(ctx) })
	server := httptest.NewServer(rt)
	s.url = server.URL
	t.Cleanup(func() {
		cancel()
		run.Wait()
		server.Close()
		transport.CloseIdleConnections()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	for { // until it knows what the worker has
		var models struct{ Data []grid.Model }
		if s.ask(key.Pair{}, "GET", "/v1/models", "", &models); len(models.Data) > 0 {
			return s, b
		}
	}
}

// What the original's clients sent to its router, against ours.
func TestOriginalsJobsThroughARouter(t *testing.T) {
	t.Parallel()
	s, b := newRouterStand(t, func(way http.RoundTripper) http.RoundTripper { return way })
	const recordedSlow, recordedQueued = "104bcd2b-e2ea-44ba-a10b-e9fd69b0925d", "93388cb7-3707-4b6d-8fa7-3aaf196ab1e1"
	var running, queued grid.Job
	if status := s.replay("router_job_submit", "", "", &running); status != 202 || running.Status != "queued" {
		t.Fatalf("submit: %d %+v", status, running)
	}
	slowID := running.ID
	for running.Status != "running" {
		<-time.After(10 * time.Millisecond) // each takes a port for a minute
		s.replay("router_job_poll_running", recordedSlow, slowID, &running)
	}
	if running.ID != slowID || running.Metadata["tag"] != "b" || running.StartedAt == 0 {
		t.Errorf("running: %+v", running)
	}
	s.replay("router_job_submit_queued", "", "", &queued)
	queuedID := queued.ID
	if status := s.replay("router_job_poll_queued", recordedQueued, queuedID, &queued); status != 200 || queued.Status != "queued" {
		t.Errorf("queued: %d %+v", status, queued)
	}
	var cancelled grid.Job
	if status := s.replay("router_job_cancel_queued", recordedQueued, queuedID, &cancelled); status != 200 || cancelled.ID != queuedID || cancelled.Status != "error" {
		t.Errorf("cancel: %d %+v; want the client's own id", status, cancelled)
	}
	var want, got grid.Job
	s.recorded("router_job_poll_cancelled", &want)
	if status := s.replay("router_job_poll_cancelled", recordedQueued, queuedID, &got); status != 200 || got.Error == nil || got.Error.Type != want.Error.Type {
		t.Errorf("cancelled: %d %+v; the original %+v", status, got, want)
	}
	close(s.engine.open)
	var done grid.Job
	for done.CompletedAt == 0 {
		<-time.After(10 * time.Millisecond)
		s.replay("router_job_poll_done", recordedSlow, slowID, &done)
	}
	s.recorded("router_job_poll_done", &want)
	if done.Status != want.Status || string(done.Result) != string(want.Result) || done.Receipt != nil {
		t.Errorf("done: %+v; the original %+v", done, want)
	}
	for name, wanted := range map[string]int{"router_job_404": 404, "router_job_delete_404": 404} {
		var answer struct{ Error struct{ Type string } }
		if status := s.replay(name, "", "", &answer); status != wanted || answer.Error.Type != "not_found" {
			t.Errorf("%s: %d %+v", name, status, answer)
		}
	}
	entries, err := b.Ledger.Recent(t.Context(), 10)
	if err != nil || len(entries) != 1 || !slices.ContainsFunc(entries, func(e ledger.Entry) bool { return e.Signed.RequestPath == jobs.Path && e.Signed.Countersigned() == nil }) {
		t.Errorf("the router's ledger: %d entries, %v", len(entries), err)
	}
}

// deaf is a way to a peer on which the first answers to submissions are lost.
type deaf struct {
	http.RoundTripper
	lost atomic.Int32
}

func (d *deaf) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := d.RoundTripper.RoundTrip(r)
	if err != nil || r.Method != http.MethodPost || d.lost.Add(-1) < 0 {
		return response, err
	}
	response.Body.Close()
	return nil, errors.New("the line went dead")
}

// A peer that has a job although its answer was lost is asked again, not
// another one, and knows the job again: it runs once and is billed once.
func TestLostAnswerOfASubmission(t *testing.T) {
	t.Parallel()
	line := &deaf{}
	line.lost.Store(1)
	s, b := newRouterStand(t, func(way http.RoundTripper) http.RoundTripper {
		line.RoundTripper = way
		return line
	})
	var record grid.Job
	if status := s.ask(key.Pair{}, "POST", "/v1/jobs", quick, &record); status != 202 {
		t.Fatal(status)
	}
	if record = s.ended(key.Pair{}, record.ID); record.Status != "done" {
		t.Errorf("%+v", record.Error)
	}
	calls, _ := s.engine.count()
	lent, err := s.book.Balances(t.Context())
	owed, err2 := b.Ledger.Balances(t.Context())
	if calls != 1 || err != nil || err2 != nil || lent.Receipts != 1 || owed.Receipts != 1 {
		t.Errorf("ran %d times; %d receipts at the worker, %d at the router", calls, lent.Receipts, owed.Receipts)
	}
}

// So is a chat whose client gave it a key: the worker has the answer yet, and
// both ledgers have one receipt.
func TestLostAnswerOfAChat(t *testing.T) {
	t.Parallel()
	line := &deaf{}
	s, b := newRouterStand(t, func(way http.RoundTripper) http.RoundTripper {
		line.RoundTripper = way
		return line
	})
	ask := func() int {
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/v1/chat/completions", strings.NewReader(quick))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(grid.IdempotencyHeader, "line-1")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Error(err)
		}
		return response.StatusCode
	}
	line.lost.Store(1)
	if first, again := ask(), ask(); first != 502 || again != 200 {
		t.Errorf("%d, then %d; want 502, then 200", first, again)
	}
	receipts := func(l *sqlite.Ledger) int64 {
		sum, err := l.Balances(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return sum.Receipts
	}
	for receipts(b.Ledger) == 0 {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the router keeps no receipt")
		}
	}
	if calls, _ := s.engine.count(); calls != 1 || receipts(s.book.Ledger) != 1 || receipts(b.Ledger) != 1 {
		t.Errorf("ran %d times; %d receipts at the worker, %d at the router", calls, receipts(s.book.Ledger), receipts(b.Ledger))
	}
}
