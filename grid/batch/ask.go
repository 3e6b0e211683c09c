package batch

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"lobstah/grid"
)

// answer is what came back for one request.
type answer struct {
	status     int
	body       []byte
	requestID  string
	peer       string // who gave it, as far as it says
	retryAfter time.Duration
	tooLarge   bool
}

// ask sends one request through the handler, without a connection. The id is
// the same each time a line is asked.
func (s *Service) ask(ctx context.Context, path, id, peer string, body []byte) answer {
	r := &http.Request{
		Method: http.MethodPost, URL: &url.URL{Scheme: "http", Host: "localhost", Path: path}, Host: "localhost",
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RequestURI: path, RemoteAddr: "127.0.0.1:1",
		Header: s.Header.Clone(), Body: http.NoBody, ContentLength: int64(len(body)),
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Body = readCloser{bytes.NewReader(body)}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(grid.TierHeader, string(grid.Batch))
	if peer != "" {
		r.Header.Set(grid.PreferHeader, peer)
	}
	r.Header.Set(grid.RequestIDHeader, id)
	r.Header.Set(grid.IdempotencyHeader, id)
	w := &recorder{header: http.Header{}, most: s.Limits.Answer}
	s.Ask.ServeHTTP(w, r.WithContext(ctx))
	return w.answer(s.Now())
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// recorder is a response that stays in memory, up to a limit.
type recorder struct {
	header   http.Header
	status   int
	body     bytes.Buffer
	most     int
	tooLarge bool
}

// Header implements [http.ResponseWriter].
func (w *recorder) Header() http.Header { return w.header }

// WriteHeader implements [http.ResponseWriter].
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

var errTooLarge = errors.New("the answer is too large")

// Write implements [http.ResponseWriter].
func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.body.Len()+len(p) > w.most {
		w.tooLarge = true
		return 0, errTooLarge
	}
	return w.body.Write(p)
}

func (w *recorder) answer(now time.Time) answer {
	a := answer{status: w.status, body: w.body.Bytes(), requestID: w.header.Get(grid.RequestIDHeader), peer: w.header.Get(grid.PeerHeader), tooLarge: w.tooLarge}
	if a.status == 0 {
		a.status = http.StatusOK
	}
	a.retryAfter = retryAfter(strings.TrimSpace(w.header.Get("Retry-After")), now)
	return a
}
