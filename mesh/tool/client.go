package tool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// A Client calls the tools of other nodes. Transport is a mesh node: its keys are
// proven, so a request for mesh://KEY reaches that node or fails. A call goes to
// one node and never to another instead.
type Client struct {
	Transport http.RoundTripper

	// wait pauses before a repetition; nil is the time that passes.
	wait func(ctx context.Context, d time.Duration) error
}

// How often and when a call that may be repeated is.
const (
	attempts   = 5
	firstPause = time.Second
	endWithin  = 5 * time.Second // to tell an executor that its caller left
	maxStream  = 64 << 20        // bytes of output of one call, whatever the executor sends
)

// Tools lists the tools of a node that this one may use.
func (c *Client) Tools(ctx context.Context, n Node) (*Listing, error) {
	var l Listing
	err := c.again(ctx, true, func() error {
		response, err := c.send(ctx, http.MethodGet, n, Path, nil)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return ReadError(response)
		}
		return json.NewDecoder(io.LimitReader(response.Body, maxLine)).Decode(&l)
	})
	if err == nil {
		err = checkExecutor(n, &l.Executor)
	}
	return &l, err
}

// Invoke calls a tool on a node and tells the events of the call, the last one
// included. It returns an *Error when the call was refused or lost: then there is
// no last event. A call that is lost on its way is repeated only when that does no
// harm: under an idempotency key, or when readOnly is set, and then output that
// was told already is not told again.
func (c *Client) Invoke(ctx context.Context, n Node, r Request, readOnly bool, on func(*Event) error) error {
	r.Stream = true
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if len(body) > MaxRequest {
		return refuse(CodeArguments, "", "the call has %d bytes; at most %d are allowed", len(body), MaxRequest)
	}
	s := &stream{node: n, on: on}
	err = c.again(ctx, r.IdempotencyKey != "" || readOnly, func() error { return c.once(ctx, n, body, s) })
	if ctx.Err() != nil && r.IdempotencyKey != "" && !s.ended {
		err = errors.Join(err, c.Cancel(context.WithoutCancel(ctx), n, r.IdempotencyKey))
	}
	return err
}

// Cancel ends a call under an idempotency key that outlives its connection.
func (c *Client) Cancel(ctx context.Context, n Node, idempotencyKey string) error {
	ctx, cancel := context.WithTimeout(ctx, endWithin)
	defer cancel()
	body, err := json.Marshal(map[string]string{"idempotencyKey": idempotencyKey})
	if err != nil {
		return err
	}
	response, err := c.send(ctx, http.MethodPost, n, Path+"/cancel", body)
	if err != nil {
		return fmt.Errorf("tell %s that the call is cancelled: %w", n.Name, err)
	}
	return response.Body.Close()
}

// once makes one attempt.
func (c *Client) once(ctx context.Context, n Node, body []byte, s *stream) error {
	response, err := c.send(ctx, http.MethodPost, n, Path+"/invoke", body)
	if err != nil {
		return lost(ctx, n, s, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return ReadError(response)
	}
	s.began = true
	if err := ReadEvents(response.Body, s.take); err != nil {
		return lost(ctx, n, s, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method string, n Node, path string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "mesh://"+n.Key.String()+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if method == http.MethodGet {
		r.Body, r.GetBody, r.ContentLength = nil, nil, 0
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	return c.Transport.RoundTrip(r)
}

// stream follows the events of a call over its attempts.
type stream struct {
	node   Node
	on     func(*Event) error
	began  bool // an executor has answered, in some attempt
	told   int  // bytes of output that were told
	ended  bool
	failed error // of on
}

func (s *stream) take(e *Event) error {
	if e.Executor != nil {
		if err := checkExecutor(s.node, e.Executor); err != nil {
			return err
		}
	}
	switch e.Type {
	case EventStarted:
		if s.told > 0 {
			return nil
		}
	case EventOutput:
		if s.told += 1 + len(e.Text) + len(e.Base64); s.told > maxStream {
			return refuse(CodeFailed, "", "%s sends more than %d bytes of output, which no call has", first(s.node.Name, s.node.Key.Short()), maxStream)
		}
	}
	s.ended = s.ended || e.last()
	s.failed = s.on(e)
	return s.failed
}

// checkExecutor compares who answered with who was asked. The connection has
// proven the key already; this finds answers that were passed on.
func checkExecutor(n Node, e *Executor) error {
	if e.Key == n.Key {
		return nil
	}
	return refuse(CodeExecutor, "", "the call was meant for %s (%s), and %s (%s) says that it ran it", n.Name, n.Key.Short(), e.Node, e.Key.Short())
}

// errLost marks what may be repeated.
type errLost struct{ what *Error }

func (e errLost) Error() string { return e.what.Message }
func (e errLost) Unwrap() error { return e.what }

// lost says what is known of a call whose answer did not arrive.
func lost(ctx context.Context, n Node, s *stream, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if s.failed != nil {
		return s.failed
	}
	if ctx.Err() != nil {
		return err // the caller left
	}
	name := first(n.Name, n.Key.Short())
	if !s.began {
		return errLost{refuse(CodeUnreachable, "clawmatrix doctor "+name, "%s cannot be reached, or the way to it broke before it answered: %s", name, err)}
	}
	return errLost{refuse(CodeOutcome, "look at what the call did before you repeat it; a call under an idempotency key can be repeated safely", "the way to %s broke while the call ran there, so its outcome is not known: %s", name, err)}
}

// again repeats what was lost, if it may.
func (c *Client) again(ctx context.Context, harmless bool, try func() error) error {
	pause := firstPause
	for n := 1; ; n++ {
		err := try()
		if _, isLost := errors.AsType[errLost](err); !isLost || !harmless || n == attempts {
			return unmark(err)
		}
		wait := c.wait
		if wait == nil {
			wait = sleep
		}
		if wait(ctx, pause) != nil {
			return unmark(err)
		}
		pause *= 2
	}
}

func unmark(err error) error {
	if e, ok := errors.AsType[errLost](err); ok {
		return e.what
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// readOnlyTool reports whether a tool may be called twice without harm.
func readOnlyTool(name string) bool { return name == Read || name == List || name == WebFetch }
