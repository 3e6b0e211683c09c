package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"lobstah/internal/secretfile"
	"lobstah/mesh/tool"
	"lobstah/mesh/tool/child"
)

// leaveWithin is how long a program has to end after its input was closed.
const leaveWithin = 2 * time.Second

// A server is one MCP server and the session with it.
type server struct {
	name        string
	cfg         tool.MCP
	environment []string
	life        context.Context // ends with close
	kill        context.CancelFunc

	mu      sync.Mutex // held while the session is begun, so that it is begun once
	closed  bool
	session *mcp.ClientSession
	ended   chan struct{} // closed when session is over
	end     func()        // ends what the session runs on
	tools   []tool.Info
	asked   time.Time
}

// connect returns the session, after beginning one when there is none that lives.
func (s *server) connect(ctx context.Context) (*mcp.ClientSession, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connected(ctx)
}

func (s *server) connected(ctx context.Context) (*mcp.ClientSession, error) {
	if s.closed {
		return nil, fmt.Errorf("the MCP server %s was stopped", s.name)
	}
	if s.session != nil {
		select {
		case <-s.ended:
			s.drop()
		default:
			return s.session, nil
		}
	}
	if err := s.begin(ctx); err != nil {
		return nil, fmt.Errorf("begin with the MCP server %s: %w", s.name, err)
	}
	return s.session, nil
}

// greetings are the protocol versions that a server is addressed in. The one with
// a handshake comes first: every server knows it, while older ones may leave a
// greeting that they do not know without an answer.
var greetings = []string{"2025-11-25", "2026-07-28"}

func (s *server) begin(ctx context.Context) (err error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	for _, version := range greetings {
		err = s.greet(ctx, version)
		if _, refused := errors.AsType[*jsonrpc.Error](err); !refused {
			break
		}
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

func (s *server) greet(ctx context.Context, version string) error {
	transport, end, err := s.transport()
	if err != nil {
		return err
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "clawmatrix", Version: "1"}, nil)
	session, err := client.Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		end()
		return err
	}
	ended := make(chan struct{})
	go func() { // owned by the session, for whose end drop waits
		defer close(ended)
		_ = session.Wait() // however it ended, the next use begins another
	}()
	s.session, s.ended, s.tools = session, ended, nil
	s.end = func() {
		_ = session.Close() // it may be over already
		end()
		<-ended
	}
	return nil
}

func (s *server) drop() {
	if s.session != nil {
		s.end()
		s.session, s.end = nil, nil
	}
}

// within bounds a wait for the server by time and by close.
func (s *server) within(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("it did not answer within %s", startWithin))
	stop := context.AfterFunc(s.life, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

func (s *server) close() error {
	s.kill()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.drop()
	return nil
}

// list returns the tools, asked for at most once a minute.
func (s *server) list(ctx context.Context) ([]tool.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, err := s.connected(ctx)
	if err != nil {
		return nil, err
	}
	if s.tools != nil && time.Since(s.asked) < keepList {
		return s.tools, nil
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	found := []tool.Info{}
	for t, err := range session.Tools(ctx, nil) {
		if err != nil {
			return nil, fmt.Errorf("list the tools of the MCP server %s: %w", s.name, err)
		}
		if len(found) == maxTools {
			break
		}
		schema, err := json.Marshal(t.InputSchema)
		if err != nil {
			return nil, err
		}
		found = append(found, tool.Info{Name: Prefix + s.name + "/" + t.Name, Description: t.Description, Parameters: schema})
	}
	s.tools, s.asked = found, time.Now()
	return found, nil
}

// transport makes the connection; end closes what it runs on and waits for it.
func (s *server) transport() (mcp.Transport, func(), error) {
	if s.cfg.URL != "" {
		client := &http.Client{Transport: bearer{s.cfg.TokenFile}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		return &mcp.StreamableClientTransport{Endpoint: s.cfg.URL, HTTPClient: client, DisableStandaloneSSE: true, MaxEventSize: maxMessage}, func() {}, nil
	}
	cmd := exec.Command(s.cfg.Command[0], s.cfg.Command[1:]...)
	cmd.Dir, cmd.Env = s.cfg.Dir, append([]string{}, s.environment...)
	for name, value := range s.cfg.Env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		return nil, nil, err
	}
	group, err := child.Start(cmd)
	if err != nil {
		return nil, nil, err
	}
	return &mcp.IOTransport{Reader: out, Writer: in, MaxLineLength: maxMessage}, func() {
		_ = in.Close() // the session may have done so
		child.Stop(cmd, group, leaveWithin)
	}, nil
}

// bearer adds the token of a file to each request.
type bearer struct{ file string }

// RoundTrip sends a request.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.file != "" {
		token, err := secretfile.Read(b.file)
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return http.DefaultTransport.RoundTrip(r)
}
