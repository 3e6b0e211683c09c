package router

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"lobstah/openai"
)

// declined judges an answer with a status other than 200.
func (a *attempt) declined(response *http.Response) outcome {
	const most = 1 << 20
	body, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err != nil {
		return a.lost(err)
	}
	status, h := response.StatusCode, response.Header
	o := outcome{
		kind: judge(status, h, body), status: status, retryAfter: retryAfter(h, a.rt.Now()),
		err: &heardError{strconv.Itoa(status), " " + openai.ParseError(status, body[:min(len(body), maxRefusalBody)]).Message},
	}
	switch {
	case 300 <= status && status < 400:
		o.err = fmt.Errorf("%d: the peer redirects, which is never followed", status)
	case isPage(h, body): // what is said of it are our own words
		o.err = errors.New(o.err.Error())
	}
	if status == http.StatusUnauthorized {
		o.resign = a.learnClock(h)
	}
	if o.kind == passed {
		if status == http.StatusBadRequest || status == http.StatusUnprocessableEntity {
			body = orText(body, o.err)
		}
		a.client.whole(a, status, contentType(h), "", body)
	}
	return o
}

// A heardError is in the words of a peer or its engine. Clients are shown them;
// the log is not, since engines quote what they cannot read of a prompt.
type heardError struct{ ours, theirs string }

func (e *heardError) Error() string { return e.ours + e.theirs }

func orText(body []byte, err error) []byte {
	if len(body) > 0 {
		return body
	}
	return (&openai.Error{Type: "invalid_request_error", Message: err.Error()}).JSON()
}

// isPage tells a web page, which comes from no worker.
func isPage(h http.Header, body []byte) bool {
	return mediaType(h) == "text/html" || bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))
}

// judge says what a status other than 200 means. A web page is a failure
// whatever its status.
func judge(status int, h http.Header, body []byte) kind {
	page := isPage(h, body)
	switch status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound,
		http.StatusMethodNotAllowed, http.StatusRequestTimeout, http.StatusTooManyRequests:
		if !page {
			return refused
		}
	case http.StatusServiceUnavailable:
		if h.Get("Retry-After") != "" {
			return refused
		}
	default:
		if 400 <= status && status < 500 && !page {
			return passed
		}
	}
	return failed
}

func mediaType(h http.Header) string {
	t, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return t
}

func contentType(h http.Header) string {
	if t := h.Get("Content-Type"); t != "" {
		return t
	}
	return "application/json"
}

// retryAfter reads the header in seconds or as a date; at most an hour.
func retryAfter(h http.Header, now time.Time) time.Duration {
	const most = time.Hour
	text := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil {
		return min(time.Duration(max(seconds, 0))*time.Second, most)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), most)
	}
	return 0
}
