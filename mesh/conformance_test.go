package mesh_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/key"
)

// transport is what programs get of a network: a round tripper and the address of
// a server behind it.
type transport struct {
	http.RoundTripper
	url string
}

// The suite says what handlers and callers may rely on, whatever is between them.
// Plain HTTPS/2 runs through it as well, so it asks for nothing but HTTP.
func TestTransports(t *testing.T) {
	t.Parallel()
	for name, connect := range map[string]func(testing.TB, http.Handler) transport{
		"plain HTTPS/2": plain,
		"direct link":   direct,
		"one relay":     oneRelay,
		"two relays":    twoRelays,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for name, test := range map[string]func(*testing.T, func(http.Handler) transport){
				"a request and its answer survive":     testFidelity,
				"a large body both ways":               testLargeBody,
				"events arrive as they are sent":       testNoBuffering,
				"the caller leaves":                    testCallerLeaves,
				"a deadline passes":                    testDeadline,
				"the handler breaks off":               testBrokenAnswer,
				"a receiver that does not read":        testBackpressure,
				"many at once":                         testManyAtOnce,
				"a slow answer holds up no other call": testSlowAnswer,
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					test(t, func(h http.Handler) transport { return connect(t, h) })
				})
			}
		})
	}
}

func plain(t testing.TB, h http.Handler) transport {
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = true
	cert, err := pair(2).Certificate()
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	server.StartTLS()
	t.Cleanup(server.Close)
	config := key.PinnedTLS(pair(2).ID())
	config.NextProtos = []string{"h2"}
	rt := &http.Transport{ForceAttemptHTTP2: true, DisableCompression: true, TLSClientConfig: config}
	t.Cleanup(rt.CloseIdleConnections)
	return transport{rt, server.URL}
}

func direct(t testing.TB, h http.Handler) transport {
	office := start(t, 2, h)
	home := start(t, 3, http.NotFoundHandler(), dials(office.url))
	home.sees(office)
	return transport{home, "mesh://" + office.ID().String()}
}

func oneRelay(t testing.TB, h http.Handler) transport {
	_, office, home := trio(t, h)
	return transport{home, "mesh://" + office.ID().String()}
}

func twoRelays(t testing.TB, h http.Handler) transport {
	near := start(t, 1, http.NotFoundHandler())
	far := start(t, 4, http.NotFoundHandler(), dials(near.url))
	office := start(t, 2, h, dials(far.url))
	home := start(t, 3, http.NotFoundHandler(), dials(near.url))
	home.sees(near, far, office)
	near.sees(office, home)
	far.sees(office, home)
	return transport{home, "mesh://" + office.ID().String()}
}

func (tr transport) do(ctx context.Context, t *testing.T, method, path string, body io.Reader) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, tr.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Lobstah-Note", "kept")
	return tr.RoundTrip(r)
}

func testFidelity(t *testing.T, serve func(http.Handler) transport) {
	tr := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		w.Header().Set("X-Saw", fmt.Sprint(r.Method, " ", r.URL.RequestURI(), " ", r.Header.Get("X-Lobstah-Note"), " ", string(body), " ", err))
		w.Header().Set("Trailer", "X-After")
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "short and stout")
		w.Header().Set("X-After", "the end")
	}))
	response, err := tr.do(t.Context(), t, "POST", "/v1/chat%2Fx?a=b&c=%20", strings.NewReader("tea"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusTeapot || string(body) != "short and stout" {
		t.Errorf("got %s %q, %v", response.Status, body, err)
	}
	if got, want := response.Header.Get("X-Saw"), "POST /v1/chat%2Fx?a=b&c=%20 kept tea <nil>"; got != want {
		t.Errorf("the handler saw %q, want %q", got, want)
	}
	if got := response.Trailer.Get("X-After"); got != "the end" {
		t.Errorf("the trailer is %q", got)
	}
}

func testLargeBody(t *testing.T, serve func(http.Handler) transport) {
	tr := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
	}))
	sent := make([]byte, 8<<20)
	for i := range sent {
		sent[i] = byte(i ^ i>>8 ^ i>>16)
	}
	response, err := tr.do(t.Context(), t, "POST", "/", bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got := sha256.New()
	if n, err := io.Copy(got, response.Body); err != nil || n != int64(len(sent)) || [32]byte(got.Sum(nil)) != sha256.Sum256(sent) {
		t.Errorf("%d bytes came back, %v; want the same %d", n, err, len(sent))
	}
}

// testNoBuffering has the handler wait until the caller has seen each event.
func testNoBuffering(t *testing.T, serve func(http.Handler) transport) {
	seen := make(chan int)
	tr := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := range 20 {
			fmt.Fprintf(w, "%d\n", i)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			select {
			case <-seen:
			case <-r.Context().Done():
				t.Error("the caller left early")
				return
			}
		}
	}))
	response, err := tr.do(t.Context(), t, "GET", "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	count := 0
	for lines := bufio.NewScanner(response.Body); lines.Scan(); count++ {
		if lines.Text() != strconv.Itoa(count) {
			t.Errorf("event %d is %q", count, lines.Text())
		}
		seen <- count
	}
	if count != 20 {
		t.Errorf("%d events came, want 20", count)
	}
}

func testCallerLeaves(t *testing.T, serve func(http.Handler) transport) {
	left := make(chan struct{})
	tr := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(left)
	}))
	response, err := tr.do(t.Context(), t, "GET", "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	<-left
}

// testDeadline gives longer deadlines until the request reaches the handler in time,
// which takes long on a loaded machine.
func testDeadline(t *testing.T, serve func(http.Handler) transport) {
	left := make(chan struct{}, 16)
	tr := serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		left <- struct{}{}
	}))
	for limit := 300 * time.Millisecond; limit < time.Minute; limit *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		_, err := tr.do(ctx, t, "GET", "/", nil)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, want that the deadline passed", err)
		}
		select {
		case <-left:
			return
		case <-time.After(limit):
		}
	}
	t.Error("the handler never learned that the deadline had passed")
}

// testBrokenAnswer: an answer that breaks off must not look like a whole one.
func testBrokenAnswer(t *testing.T, serve func(http.Handler) transport) {
	tr := serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "half of it")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	response, err := tr.do(t.Context(), t, "GET", "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("%q was taken for a whole answer", body)
	}
}

// testBackpressure: a handler cannot fill the memory of what is between it and a
// caller that does not read.
func testBackpressure(t *testing.T, serve func(http.Handler) transport) {
	const limit = 64 << 20
	wrote := make(chan int64, 1)
	tr := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n int64
		for chunk := make([]byte, 64<<10); n < limit; {
			if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
				t.Error(err)
			}
			m, err := w.Write(chunk)
			if n += int64(m); err != nil {
				break
			}
		}
		wrote <- n
	}))
	response, err := tr.do(t.Context(), t, "GET", "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if n := <-wrote; n >= limit {
		t.Errorf("the handler wrote %d bytes that nobody read", n)
	}
}

func testManyAtOnce(t *testing.T, serve func(http.Handler) transport) {
	var arrived sync.WaitGroup
	const calls = 50
	arrived.Add(calls)
	tr := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived.Done()
		arrived.Wait() // all are here at the same time
		io.WriteString(w, r.URL.Path)
	}))
	var callers sync.WaitGroup
	for i := range calls {
		callers.Go(func() {
			want := fmt.Sprint("/", i)
			if got, err := get(t, tr, tr.url+want); got != want || err != nil {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
	callers.Wait()
}

func testSlowAnswer(t *testing.T, serve func(http.Handler) transport) {
	tr := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bulk" {
			for chunk := make([]byte, 64<<10); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}
		io.WriteString(w, "token")
	}))
	bulk, err := tr.do(t.Context(), t, "GET", "/bulk", nil) // never read
	if err != nil {
		t.Fatal(err)
	}
	defer bulk.Body.Close()
	for range 20 {
		if got, err := get(t, tr, tr.url+"/token"); got != "token" || err != nil {
			t.Fatalf("beside a bulk answer: %q, %v", got, err)
		}
	}
}
