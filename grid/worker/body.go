package worker

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"lobstah/openai"
)

// bodyTimeout is how long a client may take to send its request.
const bodyTimeout = 60 * time.Second

// A budget bounds the bytes of all request bodies that are in memory. One
// address has half of it at most: who a request is from is known only after its
// body, so that anybody could hold it all.
type budget struct {
	limit int64

	mu   sync.Mutex // guards the following
	used int64
	by   map[netip.Addr]int64
}

func newBudget(limit int64) *budget { return &budget{limit: limit, by: map[netip.Addr]int64{}} }

func (b *budget) take(from netip.Addr, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+n > b.limit || b.by[from]+n > b.limit/2 {
		return false
	}
	b.used += n
	b.by[from] += n
	return true
}

func (b *budget) give(from netip.Addr, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	if b.by[from] -= n; b.by[from] == 0 {
		delete(b.by, from)
	}
}

// readBody reads a request's body. The caller gives held back to w.bodies when
// it is done with it.
func (w *Worker) readBody(rw http.ResponseWriter, r *http.Request) (body []byte, held int64, fault *openai.Error) {
	if fault := wantJSON(r.Header.Get("Content-Type")); fault != nil {
		return nil, 0, fault
	}
	if r.ContentLength > w.config.MaxBody {
		rw.Header().Set("Connection", "close") // the rest is not read
		return nil, 0, w.tooLarge()
	}
	body, held, fault = w.collect(http.MaxBytesReader(rw, r.Body, w.config.MaxBody), r.ContentLength, remoteAddr(r))
	if fault == nil {
		_ = http.NewResponseController(rw).SetReadDeadline(time.Time{}) // see limitTime
	}
	return body, held, fault
}

// limitTime bounds how long a client may take to send its request, and how long
// the server reads on to the end of one that was refused before.
func limitTime(rw http.ResponseWriter) {
	// A connection that knows no deadlines has other ways to end.
	_ = http.NewResponseController(rw).SetReadDeadline(time.Now().Add(bodyTimeout))
}

// collect reads all of src, growing as bytes come and the budget allows.
func (w *Worker) collect(src io.Reader, length int64, from netip.Addr) (body []byte, held int64, fault *openai.Error) {
	const first = 64 << 10
	size := int64(first)
	if length >= 0 {
		size = min(length+1, first) // one more to see the end
	}
	for {
		grow := size - int64(cap(body))
		if !w.bodies.take(from, grow) {
			return nil, held, unavailable("busy", time.Second, "the worker holds as many requests as its memory allows")
		}
		held += grow
		body = append(make([]byte, 0, size), body...)
		for len(body) < cap(body) {
			n, err := src.Read(body[len(body):cap(body)])
			body = body[:len(body)+n]
			if err == io.EOF {
				return body, held, nil
			}
			if err != nil {
				return nil, held, w.readFault(err)
			}
		}
		size *= 2
	}
}

func (w *Worker) readFault(err error) *openai.Error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return w.tooLarge()
	}
	return &openai.Error{
		Status: http.StatusRequestTimeout, Type: "invalid_request_error", Code: "body_incomplete",
		Message: "the request's body did not come whole: " + err.Error(),
	}
}

func (w *Worker) tooLarge() *openai.Error {
	return &openai.Error{
		Status: http.StatusRequestEntityTooLarge, Type: "invalid_request_error", Code: "request_too_large",
		Message: fmt.Sprintf("the request is larger than the %d bytes that this worker takes", w.config.MaxBody),
	}
}

// wantJSON refuses other content types than JSON, with which a web page could
// post without asking; none at all is taken for JSON.
func wantJSON(contentType string) *openai.Error {
	if contentType == "" {
		return nil
	}
	if kind, _, err := mime.ParseMediaType(contentType); err == nil && kind == "application/json" {
		return nil
	}
	return &openai.Error{
		Status: http.StatusUnsupportedMediaType, Type: "invalid_request_error", Code: "unsupported_media_type",
		Message: fmt.Sprintf("content-type %.80q: send JSON, with the header content-type: application/json", contentType),
	}
}
