package stdlib

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

const (
	// mcpLine caps one message of a server.
	mcpLine = 32 << 20
	// mcpLeave is how long a server has to end after its stdin was closed.
	mcpLeave = 2 * time.Second
)

// mcpTransport returns a connection to a server and a function that ends it. That function tells why the server ended early, if it did.
func mcpTransport(ctx context.Context, call *interp.Call, server, url string) (mcp.Transport, func() error, error) {
	if server != "" {
		if err := call.Commands.MayRunShell(); err != nil {
			return nil, nil, err
		}
		t, closing := startMCP(ctx, call.Env, server)
		return t, closing, nil
	}
	if _, err := parseHTTP(call.Name, url); err != nil {
		return nil, nil, err
	}
	if call.HTTP == nil {
		return nil, nil, fmt.Errorf("%s: %w", call.Name, interp.ErrNoHandler)
	}
	limit, err := call.LimitVar(responseLimitVar, responseLimit)
	if err != nil {
		return nil, nil, err
	}
	client := &http.Client{Transport: bearer{token: trimmedFlag(call, "token"), limit: limit, send: call.HTTP}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t := &mcp.StreamableClientTransport{Endpoint: url, HTTPClient: client, DisableStandaloneSSE: true, MaxEventSize: mcpLine}
	return t, func() error { return nil }, nil
}

// bearer adds a token to each request and ends answers that are too large.
type bearer struct {
	token string
	limit int64
	send  func(*http.Request) (*http.Response, error)
}

// RoundTrip sends the request through the handler.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	res, err := b.send(r)
	if err == nil {
		res.Body = &cappedBody{ReadCloser: res.Body, left: b.limit, limit: b.limit}
	}
	return res, err
}

// cappedBody fails once more than limit bytes were read.
type cappedBody struct {
	io.ReadCloser
	left, limit int64
}

func (c *cappedBody) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	if c.left -= int64(n); c.left < 0 {
		return 0, responseTooLarge(c.limit)
	}
	return n, err
}

// startMCP runs a server as a child that speaks on stdin and stdout. Its goroutine ends with the child, for which closing waits.
func startMCP(ctx context.Context, env *interp.Env, text string) (mcp.Transport, func() error) {
	ctx, cancel := context.WithCancel(ctx)
	in, toServer := io.Pipe()
	fromServer, out := io.Pipe()
	complaints := &cappedBuffer{}
	ended := make(chan error, 1)
	go func() {
		exit, err := env.Start(ctx, &interp.Process{Argv: env.Shell(text), Stdin: in, Stdout: out, Stderr: complaints, Grace: interp.KillGrace})
		if err == nil && !exit.OK() {
			err = fmt.Errorf("the server ended (%s): %s", exit, clip(value.Trim(value.Clean(complaints.String())), quotedUnits))
		}
		_ = out.Close() // never fails
		_ = in.Close()
		ended <- err
	}()
	closing := func() error {
		_ = toServer.Close() // never fails
		_ = fromServer.Close()
		defer cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(mcpLeave):
			cancel()
			<-ended
			return nil
		}
	}
	return &mcp.IOTransport{Reader: fromServer, Writer: toServer, MaxLineLength: mcpLine}, closing
}

// ignoreClosed drops the error of closing what the other side closed first.
func ignoreClosed(err error) error {
	if errors.Is(err, io.ErrClosedPipe) || errors.Is(err, io.EOF) || errors.Is(err, mcp.ErrConnectionClosed) {
		return nil
	}
	return err
}
