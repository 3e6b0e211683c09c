package dualport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"lobstah/internal/memnet"
	"lobstah/key"
)

func serverTLS(t *testing.T) *tls.Config {
	t.Helper()
	config, err := key.FromSeed([32]byte{1}).ServerTLS()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// onLoopback listens for real, and serves what tells whether TLS was used.
func onLoopback(t *testing.T, timeout time.Duration, unproven int) *Listener {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := listen(inner, serverTLS(t), timeout, unproven)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil {
			io.WriteString(w, "tls")
		}
	})}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(l) }()
	t.Cleanup(func() { server.Close(); l.Close(); <-done })
	return l
}

func TestBothAreAnswered(t *testing.T) {
	t.Parallel()
	l := onLoopback(t, handshakeTime, maxUnproven)
	for scheme, want := range map[string]string{"http": "", "https": "tls"} {
		if got, err := get(t, scheme+"://"+l.Addr().String()); got != want || err != nil {
			t.Errorf("%s got %q, %v; want %q", scheme, got, err, want)
		}
	}
}

// get asks with a client that believes any certificate; it is the server that is tested.
func get(t *testing.T, url string) (string, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func TestSlowClientsDoNotDelayOthers(t *testing.T) {
	t.Parallel()
	const most = 4
	l := onLoopback(t, time.Hour, most)
	var slow []net.Conn
	for i := range 2 * most { // silent ones, and such as begin a handshake and stop
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			c.Write([]byte{tlsHandshakeRecord, 3, 1})
		}
		slow = append(slow, c)
	}
	// The oldest ones were dropped to make room.
	slow[0].SetReadDeadline(time.Now().Add(90 * time.Second))
	if _, err := slow[0].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading from the oldest client: %v, want that it was closed", err)
	}
	if got, err := get(t, "https://"+l.Addr().String()); got != "tls" || err != nil {
		t.Errorf("an honest client got %q, %v", got, err)
	}
}

func TestSilentClientIsDroppedInTime(t *testing.T) {
	t.Parallel()
	for name, begins := range map[string]string{"silent": "", "stops in its handshake": "\x16\x03\x01"} {
		synctest.Test(t, func(t *testing.T) {
			inner := memnet.Listen("port")
			l := Listen(inner, serverTLS(t))
			defer l.Close()
			c, err := inner.DialContext(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			begin := time.Now()
			if _, err := io.WriteString(c, begins); err != nil {
				t.Fatal(err)
			}
			_, err = io.Copy(io.Discard, c)
			if took := time.Since(begin); err != nil || took != handshakeTime {
				t.Errorf("%s: ended after %s with %v, want closed after %s", name, took, err, handshakeTime)
			}
		})
	}
}

func TestCloseEndsAcceptAndUnfinishedHandshakes(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := listen(inner, serverTLS(t), time.Hour, maxUnproven)
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accepted := make(chan error, 1)
	go func() { _, err := l.Accept(); accepted <- err }()
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v, want net.ErrClosed", err)
	}
}

// A lateListener gives its one connection a while after it was closed, as a
// real one may that was just about to.
type lateListener struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (l *lateListener) Accept() (net.Conn, error) {
	<-l.closed
	select {
	case c := <-l.conn:
		time.Sleep(time.Second)
		return c, nil
	default:
		return nil, net.ErrClosed
	}
}

func (l *lateListener) Close() error   { close(l.closed); return nil }
func (l *lateListener) Addr() net.Addr { return nil }

// A connection that comes in while Close runs does not hold it up.
func TestConnectionTakenInWhileClosing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		inner := &lateListener{make(chan net.Conn, 1), make(chan struct{})}
		inner.conn <- ours
		l := listen(inner, serverTLS(t), time.Hour, maxUnproven)
		begin := time.Now()
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if took := time.Since(begin); took > time.Minute {
			t.Errorf("Close took %s", took)
		}
		if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the client reads %v, want the end", err)
		}
	})
}
