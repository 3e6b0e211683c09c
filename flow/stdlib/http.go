package stdlib

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

const (
	responseLimitVar = "LOBSTER_MAX_HTTP_RESPONSE_BYTES"
	// responseLimit caps the body of an answer unless the variable says otherwise.
	responseLimit = 64 << 20
	// quotedUnits is how much of an error's body is shown.
	quotedUnits = 400
)

// reply is an answer of a server.
type reply struct {
	status int
	text   string // of the status: "Not Found"
	body   string
}

func (r reply) ok() bool { return r.status >= 200 && r.status < 300 }

// quote returns the start of the body, for errors.
func (r reply) quote() string { return clip(r.body, quotedUnits) }

// postJSON sends v to a URL with a bearer token, if there is one.
func postJSON(ctx context.Context, env *interp.Env, to, token string, v value.Value) (reply, error) {
	if env.HTTP == nil {
		return reply{}, fmt.Errorf("post to %s: %w", hostOf(to), interp.ErrNoHandler)
	}
	limit, err := env.LimitVar(responseLimitVar, responseLimit)
	if err != nil {
		return reply{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(value.Append(nil, v)))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	return send(ctx, env, req, token, limit)
}

// getJSON asks a URL for what is there, with a bearer token, if there is one.
func getJSON(ctx context.Context, env *interp.Env, from, token string) (reply, error) {
	if env.HTTP == nil {
		return reply{}, fmt.Errorf("get %s: %w", hostOf(from), interp.ErrNoHandler)
	}
	limit, err := env.LimitVar(responseLimitVar, responseLimit)
	if err != nil {
		return reply{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return reply{}, err
	}
	return send(ctx, env, req, token, limit)
}

func send(ctx context.Context, env *interp.Env, req *http.Request, token string, limit int64) (reply, error) {
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := env.HTTP(req)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return reply{}, err
	}
	return readReply(res, limit)
}

func readReply(res *http.Response, limit int64) (reply, error) {
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return reply{}, fmt.Errorf("read the answer of %s: %w", res.Request.URL.Host, err)
	}
	if int64(len(body)) > limit {
		return reply{}, responseTooLarge(limit)
	}
	return reply{status: res.StatusCode, text: reason(res), body: value.Clean(string(body))}, nil
}

func responseTooLarge(limit int64) error {
	return fmt.Errorf("HTTP response body exceeded %d bytes", limit)
}

// reason is what the server says about its status, such as "Not Found".
func reason(res *http.Response) string {
	_, text, _ := strings.Cut(res.Status, " ")
	return text
}

func hostOf(raw string) string {
	u, err := url.Parse(value.Trim(raw))
	if err != nil {
		return "an address that is no URL"
	}
	return u.Host
}

// isLocal reports whether a URL names this machine.
func isLocal(u *url.URL) bool {
	switch u.Hostname() {
	case "localhost", "127.0.0.1", "::1":
		return true
	}
	return false
}

// parseHTTP parses an http or https URL.
func parseHTTP(command, raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" {
		return nil, fmt.Errorf("%s requires an http(s) --url: %q is no URL", command, raw)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%s requires an http(s) --url", command)
	}
	if u.User != nil {
		return nil, fmt.Errorf("%s: the URL holds a user name or password, which are not sent; pass --token instead", command)
	}
	return u, nil
}
