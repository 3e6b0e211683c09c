package tool

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"lobstah/key"
	"lobstah/mesh/tool/audit"
)

// Limits of a server.
const (
	maxCalls         = 64 // running at once
	maxCallsOfCaller = 16
	maxCallers       = 10_000 // remembered for their limits
	writeWithin      = 30 * time.Second
	readWithin       = 2 * time.Minute
	DefaultLinger    = time.Minute
)

// An Auditor keeps entries; [audit.Log] is one.
type Auditor interface{ Append(audit.Entry) error }

// An Approver is asked before a call runs; an error is a no.
type Approver interface {
	Approve(ctx context.Context, q Question) error
}

// Options are what a [Server] is made of. All but Approve, Memory, Linger and
// Log are needed.
type Options struct {
	Self     Executor
	Policy   *Policy
	Backends []Backend
	Identify Identify
	Verified func(key.ID) bool // asked again when a call begins; nil believes Identify
	Audit    Auditor
	Approve  Approver      // nil asks nobody
	Memory   *Memory       // nil remembers keys until the process ends
	Linger   time.Duration // how long a call under a key outlives its connection; zero is [DefaultLinger]
	Log      *slog.Logger
}

// A Server runs tools for other nodes. It is an http.Handler for [Path].
type Server struct {
	opt Options
	mux *http.ServeMux
	log *slog.Logger

	ctx    context.Context // of all calls
	cancel context.CancelCauseFunc
	calls  sync.WaitGroup

	mu      sync.Mutex
	closed  bool                // guarded by mu, as what follows
	running map[string]*running // by the ID of the call
	keyed   map[callKey]*running
	limits  map[key.ID]*limits
}

// NewServer makes a server. Close ends it.
func NewServer(opt Options) (*Server, error) {
	if opt.Policy == nil || opt.Identify == nil || opt.Audit == nil || opt.Self.Key.IsZero() {
		return nil, errors.New("a tool server needs a policy, an identity, an audit log and a way to identify callers")
	}
	if opt.Memory == nil {
		opt.Memory, _ = OpenMemory("") // without a file nothing can fail
	}
	if opt.Linger == 0 {
		opt.Linger = DefaultLinger
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{opt: opt, mux: http.NewServeMux(), log: opt.Log, running: map[string]*running{}, keyed: map[callKey]*running{}, limits: map[key.ID]*limits{}}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.mux.HandleFunc("GET "+Path, s.serveList)
	s.mux.HandleFunc("POST "+Path+"/invoke", s.serveInvoke)
	s.mux.HandleFunc("POST "+Path+"/cancel", s.serveCancel)
	return s, nil
}

// Close ends all calls and waits for them.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel(refuse(CodeStopping, "", "the call was ended because the node %s is stopping", s.opt.Self.Node))
	s.calls.Wait()
	return nil
}

// NodeHeader names the node that answers.
const NodeHeader = "X-Clawmatrix-Node"

// ServeHTTP answers a request that came over the mesh.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(NodeHeader, s.opt.Self.Key.String())
	s.mux.ServeHTTP(w, r)
}

// identify tells the caller, or answers that it cannot.
func (s *Server) identify(w http.ResponseWriter, r *http.Request) (Caller, bool) {
	c, err := s.opt.Identify(r)
	if err == nil && c.Key.IsZero() {
		err = errors.New("the connection proves no key")
	}
	if err != nil {
		s.answerError(w, refuse(CodeUnverified, "", "tools are for nodes of the mesh: %s", err))
	}
	return c, err == nil
}

func (s *Server) answerError(w http.ResponseWriter, err error) { writeError(w, s.signed(err)) }

// signed puts this node's name on an error that has none. An error that was not
// made for callers may tell of this machine, so only its log gets it.
func (s *Server) signed(err error) *Error {
	e, made := errors.AsType[*Error](err)
	if !made {
		s.log.Warn("a call of a tool failed", "err", err)
		e = refuse(CodeFailed, "its owner finds why in its log", "the call failed on %s", s.opt.Self.Node)
	}
	e = new(*e)
	if e.Node == "" {
		e.Node = s.opt.Self.Node
	}
	return e
}

func (s *Server) serveList(w http.ResponseWriter, r *http.Request) {
	c, ok := s.identify(w, r)
	if !ok {
		return
	}
	if err := s.ask(c); err != nil {
		s.answerError(w, err)
		return
	}
	infos, problems := s.List(r.Context(), c)
	writeJSON(w, http.StatusOK, Listing{Executor: s.opt.Self, Tools: infos, Problems: problems})
}

// A Listing is the tools of a node that its caller may use. Problems says what
// part of the node could not be asked.
type Listing struct {
	Executor Executor `json:"executor"`
	Tools    []Info   `json:"tools"`
	Problems []string `json:"problems,omitempty"`
}

// List tells the tools that a caller may use.
func (s *Server) List(ctx context.Context, c Caller) (infos []Info, problems []string) {
	infos = []Info{}
	for _, b := range s.opt.Backends {
		found, err := b.Tools(ctx)
		if err != nil {
			s.log.Warn("a part of the tools cannot be listed", "err", err)
			problems = append(problems, "some of its tools cannot be listed just now; its owner finds why in its log")
		}
		for _, info := range found {
			taken := func(other Info) bool { return other.Name == info.Name }
			if s.opt.Policy.Offers(c, info.Name) && !slices.ContainsFunc(infos, taken) {
				infos = append(infos, info)
			}
		}
	}
	slices.SortStableFunc(infos, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	if refusal := s.opt.Policy.Welcomes(c); len(infos) == 0 && refusal != nil {
		problems = append(problems, refusal.Message) // why the list is empty
	}
	return infos, problems
}

func (s *Server) serveInvoke(w http.ResponseWriter, r *http.Request) {
	c, ok := s.identify(w, r)
	if !ok {
		return
	}
	if refusal := s.opt.Policy.Welcomes(c); refusal != nil { // before it may send a body
		s.answerError(w, s.refused(&Call{ID: rand.Text(), Caller: c}, refusal))
		return
	}
	done, err := s.reading(c)
	if err != nil {
		s.answerError(w, err)
		return
	}
	data, err := readBody(w, r)
	done()
	if err != nil {
		s.answerError(w, err)
		return
	}
	serveInvoke(w, r, data, func(ctx context.Context, request *Request, on func(*Event) error) error {
		return s.Invoke(ctx, c, request, on)
	})
}

func (s *Server) serveCancel(w http.ResponseWriter, r *http.Request) {
	c, ok := s.identify(w, r)
	if !ok {
		return
	}
	var body struct {
		Key string `json:"idempotencyKey"`
	}
	err := s.ask(c)
	data := []byte{}
	if err == nil {
		data, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxErrorBytes))
	}
	if err == nil {
		err = ReadArgs(data, &body)
	}
	if err != nil {
		s.answerError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"cancelled": s.cancelKeyed(callKey{c.Key, body.Key})})
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(readWithin)) // writers of tests have none
	defer control.SetReadDeadline(time.Time{})
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRequest))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		e := refuse(CodeArguments, "", "the request is larger than %d bytes", MaxRequest)
		e.Status = http.StatusRequestEntityTooLarge
		return nil, e
	}
	if err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	return data, nil
}
