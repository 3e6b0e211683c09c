package jobs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/grid"
	"lobstah/key"
	"lobstah/ledger"
	"lobstah/ledger/sqlite"
	"lobstah/openai"
	"lobstah/receipt"
)

var (
	workerPair = key.FromSeed([32]byte{1})
	ann        = key.FromSeed([32]byte{2}).ID().String()
	ben        = key.FromSeed([32]byte{3}).ID().String()
)

// book is a real ledger, whose writes can be made to fail.
type book struct {
	*sqlite.Ledger
	mu   sync.Mutex
	fail int // guarded by mu; writes that fail yet

	wrote func() // if not nil, called after each update; set before the book is shared
}

func (b *book) failing() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail > 0 {
		b.fail--
		return errors.New("the disk is on fire")
	}
	return nil
}

func (b *book) Update(ctx context.Context, change func(context.Context, *sql.Conn) error) error {
	if err := b.failing(); err != nil {
		return err
	}
	err := b.Ledger.Update(ctx, change)
	if b.wrote != nil {
		b.wrote()
	}
	return err
}

func (b *book) Earn(ctx context.Context, s *receipt.Signed, change func(context.Context, *sql.Conn) error) error {
	if err := b.failing(); err != nil {
		return err
	}
	return b.AppendWith(ctx, ledger.Worker, s, change)
}

func (b *book) receipts(t testing.TB) int64 {
	t.Helper()
	sum, err := b.Balances(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return sum.Receipts
}

func openBook(t testing.TB) *book {
	t.Helper()
	l, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "ledger.db"), workerPair)
	if err != nil {
		t.Fatal(err)
	}
	return &book{Ledger: l}
}

// backend accepts everything of whom the header X-Owner names, and fulfils it
// by do.
type backend struct {
	refuse *openai.Error
	waits  string
	slots  chan struct{}
	do     func(ctx context.Context, o grid.Order, log grid.JobLog) (*openai.Error, bool)

	mu  sync.Mutex
	ran []string // guarded by mu; the models of the orders, in the order in which they ran
}

func (b *backend) Receive(_ http.ResponseWriter, r *http.Request) (*grid.Order, *openai.Error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, internalFault
	}
	request, err := openai.ParseRequest(body)
	if err != nil {
		e, _ := errors.AsType[*openai.Error](err)
		return nil, e
	}
	metadata, err := grid.ParseMetadata(request.Value("metadata"))
	if err != nil {
		return nil, openai.BadMember("metadata", "%v", err)
	}
	tier, err := grid.ParseTier(r.Header.Get(grid.TierHeader))
	if err != nil {
		return nil, openai.BadMember("tier", "%v", err)
	}
	if r.Header.Get(grid.TierHeader) == "" {
		tier = grid.Batch
	}
	owner := r.Header.Get("X-Owner")
	return &grid.Order{
		ID: receipt.NewJobID(), Owner: owner, Purse: owner, Model: request.Model, Tier: tier, Metadata: metadata, Body: body, Waits: b.waits, Seal: json.RawMessage(`{}`),
	}, b.refuse
}

var internalFault = &openai.Error{Status: 500, Type: "internal_error", Message: "x"}

func (b *backend) Identify(r *http.Request) (grid.Asker, *openai.Error) {
	owner := r.Header.Get("X-Owner")
	_, err := key.ParseID(owner)
	return grid.Asker{Owner: owner, Bearer: err != nil}, nil
}

func (b *backend) Reserve(ctx context.Context, _ grid.Tier) (func(), error) {
	select {
	case b.slots <- struct{}{}:
		return func() { <-b.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (b *backend) Fulfil(ctx context.Context, o grid.Order, log grid.JobLog) (*openai.Error, bool) {
	b.mu.Lock()
	b.ran = append(b.ran, o.Model)
	b.mu.Unlock()
	return b.do(ctx, o, log)
}

func (b *backend) order() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.ran, " ")
}

// answers fulfils every order at once, with a receipt.
func answers(ctx context.Context, o grid.Order, log grid.JobLog) (*openai.Error, bool) {
	if log.Begun(ctx, time.Now()) != nil {
		return nil, true
	}
	return nil, log.Done(ctx, []byte(`{"model":"`+o.Model+`","text":"<&>\u2028"}`), signed(o)) != nil
}

func signed(o grid.Order) *receipt.Signed {
	s, err := receipt.Sign(workerPair, receipt.Receipt{
		JobID: o.ID, Nonce: receipt.NewNonce(), Requester: ann, Worker: workerPair.ID(), Model: o.Model,
		InputTokens: 1, OutputTokens: 2, StartedAt: time.Now(), CompletedAt: time.Now(),
	})
	if err != nil {
		panic(err)
	}
	return s
}

// hangs holds an order until its context ends.
func hangs(ctx context.Context, _ grid.Order, log grid.JobLog) (*openai.Error, bool) {
	if log.Begun(ctx, time.Now()) != nil {
		return nil, true
	}
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), grid.ErrJobCancelled) {
		return &openai.Error{Type: "cancelled", Message: "stopped"}, false
	}
	return &openai.Error{Status: 503, Type: "unavailable", Message: "stopping"}, true
}

// shop is a service under test, on a real ledger.
type shop struct {
	*Service
	t       testing.TB
	book    *book
	backend *backend
}

func newShop(t testing.TB, do func(context.Context, grid.Order, grid.JobLog) (*openai.Error, bool), change func(*Config)) *shop {
	t.Helper()
	s := &shop{t: t, book: openBook(t), backend: &backend{slots: make(chan struct{}, 1), do: do}}
	s.Service = s.another(change)
	return s
}

// another is one more service on the same file, as after a restart.
func (s *shop) another(change func(*Config)) *Service {
	c := Config{Side: ForOthers, Database: s.book, Backend: s.backend}
	if change != nil {
		change(&c)
	}
	return New(c)
}

// running runs the service while f does.
func (s *shop) running(f func()) {
	ctx, stop := context.WithCancel(context.Background())
	var run sync.WaitGroup
	defer run.Wait()
	defer stop()
	run.Go(func() { s.Run(ctx) })
	f()
}

func (s *shop) close() {
	if err := s.book.Close(); err != nil {
		s.t.Error(err)
	}
}

// do makes a request as owner; the pairs are headers.
func (s *shop) do(owner, method, path, body string, headers ...string) (int, grid.Job) {
	s.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("X-Owner", owner)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var out struct {
		grid.Job
		Error *grid.JobError `json:"error"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		s.t.Fatalf("%s %s: %d %q", method, path, w.Code, w.Body.String())
	}
	out.Job.Error = out.Error
	return w.Code, out.Job
}

func (s *shop) submit(owner, model string, headers ...string) string {
	s.t.Helper()
	status, record := s.do(owner, "POST", Path, `{"model":"`+model+`","messages":[]}`, headers...)
	if status != 202 || record.ID == "" || record.Status != "queued" {
		s.t.Fatalf("submit: %d %+v", status, record)
	}
	return record.ID
}

func (s *shop) get(owner, id string) (int, grid.Job) {
	s.t.Helper()
	return s.do(owner, "GET", Path+"/"+id, "")
}

func parseRequest(method, target, body string) (*http.Request, error) {
	r, err := http.NewRequest(method, "http://localhost"+target, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.RequestURI = target
	return r, nil
}
