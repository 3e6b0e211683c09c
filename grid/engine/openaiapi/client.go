package openaiapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"lobstah/openai"
)

// Codes of errors that are not the client's but this machine's; their status is
// 502.
const (
	Unreachable = "engine_unreachable"
	KeyRefused  = "engine_key"
	Failure     = "engine_failure"
)

const (
	maxList    = 8 << 20  // bytes of an answer that is read whole
	maxFailure = 64 << 10 // bytes of a failed answer

	dialTimeout = 5 * time.Second
	// idleTimeout is below the 5 seconds after which llama-server, vLLM and
	// LM Studio close a connection that nobody uses: a request that meets the
	// closing would be lost, as a POST is not sent twice.
	idleTimeout = 3 * time.Second
)

// A Client sends requests to one engine.
type Client struct {
	base      *url.URL
	key       string
	keyAdvice string // what to do when it is refused
	http      *http.Client

	// single says that each call wants a connection of its own: llama-server
	// closes one after a stream without saying so, which would meet every tenth
	// call that follows at once, and before November 2025 it took the body of a
	// call that it refused for the head of the next one.
	single atomic.Bool
}

func newClient(base *url.URL, key string, transport http.RoundTripper) *Client {
	if transport == nil {
		transport = newTransport()
	}
	return &Client{base: base, key: key, keyAdvice: "set --engine-key or LOBSTAH_ENGINE_KEY", http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// newTransport has no limit on how long an answer takes: a long prompt on a slow
// machine is no failure, and the caller's context ends what it gave up.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        idleTimeout,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// Address returns the engine's base URL.
func (c *Client) Address() string { return c.base.String() }

// JSON asks for one value: it sends in as a JSON body (nil for none) and decodes
// the answer into out. A member of another kind than out's is left out. The
// error is an *openai.Error, or wraps ctx's.
func (c *Client) JSON(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encoding a question for %s: %w", c.Address(), err)
		}
		body = bytes.NewReader(raw)
	}
	response, err := c.send(ctx, method, path, http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxList+1))
	switch {
	case err != nil:
		return c.unreachable(ctx, err)
	case len(raw) > maxList:
		return c.failure("it answered %s with more than %d MiB", path, maxList>>20)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		if _, other := errors.AsType[*json.UnmarshalTypeError](err); !other {
			return c.failure("it answered %s with something that is no JSON", path)
		}
	}
	return nil
}

// send makes one request. It returns an answer below 300, whose body the caller
// closes, or the failure as an *openai.Error.
func (c *Client) send(ctx context.Context, method, path string, header http.Header, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base.JoinPath(path).String(), body)
	if err != nil {
		return nil, fmt.Errorf("making a request for %s: %w", c.Address(), err)
	}
	request.Header = header
	// Present but empty, this is not sent, and lets net/http send the request
	// anew when the engine closed a kept connection before a byte of its answer.
	// Asking twice does no harm.
	header["Idempotency-Key"] = []string{}
	request.Close = method == http.MethodPost && c.single.Load()
	if c.key != "" {
		header.Set("Authorization", "Bearer "+c.key)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if response.Header.Get("Server") == "llama.cpp" {
		c.single.Store(true)
	}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	return nil, c.refusal(response)
}

// refusal reads an answer that is none.
func (c *Client) refusal(response *http.Response) *openai.Error {
	if response.StatusCode < 400 {
		return c.failure("it redirects to %q: name that address itself", response.Header.Get("Location"))
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxFailure)) // what came, even if cut, tells more than nothing
	e := openai.ParseError(response.StatusCode, body)
	if unknownPath(response.StatusCode, body, e) {
		e.Code, e.Message = "unsupported_path", fmt.Sprintf("the engine at %s does not have %s; a newer version of it may", c.Address(), response.Request.URL.Path)
	}
	switch response.StatusCode {
	case http.StatusUnauthorized:
		// Not the client's key but ours was refused: a failure of this machine.
		e = c.failure("it refuses our key (401): %s", c.keyAdvice)
		e.Code = KeyRefused
		if json.Valid(body) {
			e.Type = "authentication_error" // an API says so, not a web site
		}
	case http.StatusServiceUnavailable:
		e.RetryAfter = pause(e.Message)
	}
	if wait := retryAfter(response.Header); wait > 0 {
		e.RetryAfter = wait
	}
	return e
}

// unknownPath tells a path that the engine lacks from a model that it lacks:
// servers say the former in plain text, llama-server in words of its own.
func unknownPath(status int, body []byte, e *openai.Error) bool {
	missing := status == http.StatusNotFound || status == http.StatusMethodNotAllowed
	return missing && (!json.Valid(body) || e.Message == "File Not Found" || e.Message == "Not Found")
}

// pause is how long to wait for an engine that did not say it.
func pause(message string) time.Duration {
	if strings.Contains(strings.ToLower(message), "loading") {
		return 3 * time.Second
	}
	return time.Second
}

// retryAfter reads the header's two forms (RFC 9110, section 10.2.3), capped to
// an hour.
func retryAfter(header http.Header) time.Duration {
	text := header.Get("Retry-After")
	wait := time.Duration(0)
	if seconds, err := strconv.Atoi(text); err == nil {
		wait = time.Duration(min(max(seconds, 0), 3600)) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = time.Until(at).Round(time.Second)
	}
	return min(max(wait, 0), time.Hour)
}

// failure is what an engine did wrong, as status 502.
func (c *Client) failure(format string, args ...any) *openai.Error {
	return &openai.Error{
		Status: http.StatusBadGateway, Type: "engine_error", Code: Failure,
		Message: fmt.Sprintf("the engine at %s failed: ", c.Address()) + fmt.Sprintf(format, args...),
	}
}

// unreachable says why no answer came. What ctx ended stays ctx's error.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("asking the engine at %s: %w", c.Address(), ctx.Err())
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	message := fmt.Sprintf("the engine at %s cannot be reached: %v", c.Address(), err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		message = fmt.Sprintf("no engine answers at %s (connection refused): start it, or name where another one is", c.Address())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		message = fmt.Sprintf("the engine at %s closed the connection before it answered; it may have crashed: look at its log", c.Address())
	}
	return &openai.Error{Status: http.StatusBadGateway, Type: "engine_error", Code: Unreachable, Message: message}
}
