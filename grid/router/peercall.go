package router

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"time"
)

// heard is what a peer said.
type heard struct {
	status int
	header http.Header
	body   []byte
	unsent bool // no connection came about
	noted  bool // that it was to be sent
}

// signed asks a peer without a body, and once more when it tells another clock.
func (rt *Router) signed(ctx context.Context, p *peer, method, path, query string, patience time.Duration) (said heard, err error) {
	for range 2 {
		h := http.Header{}
		rt.sign(h, p, method, path, emptyHash)
		said, err = rt.call(ctx, p, method, path, query, h, nil, patience)
		if err != nil || said.status != http.StatusUnauthorized || !p.learn(said.header, rt.Now()) {
			break
		}
	}
	return said, err
}

// learn takes up the clock of a peer that refused our signature, and reports
// whether signing again may help.
func (p *peer) learn(h http.Header, now time.Time) bool {
	at, ok := clockOf(h)
	return ok && p.setClock(at, now)
}

// call sends a request and reads the answer, capped.
func (rt *Router) call(ctx context.Context, p *peer, method, path, query string, h http.Header, body []byte, patience time.Duration) (said heard, err error) {
	said.unsent = true
	if p.badURL != nil {
		return said, p.badURL
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { said.unsent = false }})
	h["Accept-Encoding"], h["User-Agent"] = []string{"identity"}, []string{"lobstah"}
	r := (&http.Request{Method: method, URL: p.url(path, query), Header: h, ContentLength: int64(len(body))}).WithContext(ctx)
	if body != nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	response, err := p.way.RoundTrip(r)
	if err != nil {
		return said, err
	}
	defer response.Body.Close()
	said.status, said.header = response.StatusCode, response.Header
	said.body, err = io.ReadAll(io.LimitReader(response.Body, jobPageBytes+1))
	if err == nil && len(said.body) > jobPageBytes {
		err = errTooLarge
	}
	return said, err
}
