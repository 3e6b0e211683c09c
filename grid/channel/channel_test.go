package channel_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"lobstah/grid"
	"lobstah/grid/channel"
	"lobstah/internal/dualport"
	"lobstah/internal/testport"
	"lobstah/key"
)

// serve starts a worker's port on loopback that tells whether TLS was used.
func serve(t *testing.T, pair key.Pair) *dualport.Listener {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config, err := pair.ServerTLS()
	if err != nil {
		t.Fatal(err)
	}
	l := dualport.Listen(inner, config)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "tls=%t %s %s %s", r.TLS != nil, r.Method, r.URL.Path, body)
	})}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(l) }()
	t.Cleanup(func() { server.Close(); l.Close(); <-done })
	return l
}

func get(t *testing.T, way http.RoundTripper, url string) (string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := way.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprintf("%d %s", response.StatusCode, body), err
}

func newTransport(t *testing.T) *channel.Transport {
	transport := &channel.Transport{}
	t.Cleanup(transport.Close)
	return transport
}

func TestOnePortAnswersHTTPAndTLS(t *testing.T) {
	t.Parallel()
	pair := key.FromSeed([32]byte{1})
	l := serve(t, pair)
	url := "http://" + l.Addr().String()

	plain := &http.Transport{}
	defer plain.CloseIdleConnections()
	if got, err := get(t, plain, url+"/a"); got != "200 tls=false POST /a body" || err != nil {
		t.Errorf("plain HTTP: %q, %v", got, err)
	}
	for _, scheme := range []string{"http", "https"} { // whatever the URL says
		peer := grid.Peer{ID: pair.ID(), URL: scheme + "://" + l.Addr().String()}
		way := newTransport(t).RoundTripper(peer)
		if got, err := get(t, way, peer.URL+"/b"); got != "200 tls=true POST /b body" || err != nil {
			t.Errorf("%s peer: %q, %v", scheme, got, err)
		}
	}
}

func TestAnotherKeyThanPinnedIsRefusedAndBothAreShown(t *testing.T) {
	t.Parallel()
	proven, pinned := key.FromSeed([32]byte{1}), key.FromSeed([32]byte{2})
	l := serve(t, proven)
	// Neither loopback nor the insecure mark lets it fall back to plain HTTP.
	peer := grid.Peer{ID: pinned.ID(), URL: "http://" + l.Addr().String(), Insecure: true}
	_, err := get(t, newTransport(t).RoundTripper(peer), peer.URL)
	e, ok := errors.AsType[*channel.Error](err)
	if !ok || e.Step != channel.StepKey || !errors.Is(err, key.ErrNotPinned) {
		t.Fatalf("got %v, want the step %q", err, channel.StepKey)
	}
	for _, id := range []key.ID{proven.ID(), pinned.ID()} {
		if !strings.Contains(err.Error(), id.String()) {
			t.Errorf("%q does not show %s", err, id)
		}
	}
}

// Programs of the original know no TLS and live on loopback.
func TestPlainHTTPOnLoopbackOnlyWhereNoTLSIsSpoken(t *testing.T) {
	t.Parallel()
	var requests, conns atomic.Int64
	var carried sync.Map // addresses of connections on which a request came
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		carried.Store(r.RemoteAddr, true)
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	peer := grid.Peer{ID: key.FromSeed([32]byte{1}).ID(), URL: server.URL}
	warned := 0
	transport := &channel.Transport{Warn: func(grid.Peer) { warned++ }}
	defer transport.Close()
	for range 3 {
		if got, err := get(t, transport.RoundTripper(peer), server.URL); got != "200 " || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
	}
	tries := conns.Load()
	carried.Range(func(any, any) bool { tries--; return true })
	if requests.Load() != 3 || tries != 1 {
		t.Errorf("%d requests, and %d connections on which TLS was tried; want 3, and the first", requests.Load(), tries)
	}
	if warned != 0 {
		t.Errorf("warned %d times of plain HTTP on loopback", warned)
	}
}

// elsewhere dials a loopback server under an address that is not loopback.
func elsewhere(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return farConn{c}, err
	}
}

type farConn struct{ net.Conn }

func (farConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 17474} }

func TestPlainHTTPBeyondLoopbackOnlyForAPeerMarkedInsecureAndWarnedOnce(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	var mu sync.Mutex
	var warned []string
	transport := &channel.Transport{
		Dial: elsewhere(server.Listener.Addr().String()),
		Warn: func(p grid.Peer) { mu.Lock(); defer mu.Unlock(); warned = append(warned, p.Label) },
	}
	defer transport.Close()
	peer := grid.Peer{ID: key.FromSeed([32]byte{1}).ID(), URL: "http://192.0.2.7:17474", Label: "far"}

	_, err := get(t, transport.RoundTripper(peer), peer.URL)
	if e, ok := errors.AsType[*channel.Error](err); !ok || e.Step != channel.StepTLS {
		t.Errorf("unmarked: %v, want the step %q", err, channel.StepTLS)
	}
	peer.Insecure = true
	for range 2 {
		if got, err := get(t, transport.RoundTripper(peer), peer.URL); got != "200 " || err != nil {
			t.Errorf("insecure: %q, %v", got, err)
		}
		transport.RoundTripper(peer).(interface{ CloseIdleConnections() }).CloseIdleConnections()
	}
	if len(warned) != 1 || warned[0] != "far" {
		t.Errorf("warned of %q, want once of the peer", warned)
	}
	peer.Origin = grid.FromTracker // a stranger cannot mark itself insecure
	if got, err := get(t, transport.RoundTripper(peer), peer.URL); err == nil {
		t.Errorf("a learned peer was reached without TLS: %q", got)
	}
}

func TestFailedSteps(t *testing.T) {
	t.Parallel()
	open := serve(t, key.FromSeed([32]byte{1})).Addr().String()
	for _, test := range []struct {
		url    string
		origin grid.Origin
		step   channel.Step
	}{
		{"http://no.such.name.invalid:1", "", channel.StepDNS},
		{"http://127.0.0.1:" + testport.Free(), "", channel.StepTCP},
		{"http://" + open, grid.FromTracker, channel.StepAddress},
		{"http://localhost:" + open[strings.LastIndex(open, ":")+1:], grid.FromTracker, channel.StepAddress}, // as dialled, not as named
		{"ftp://192.0.2.1", "", channel.StepURL},
		{"http://", "", channel.StepURL},
		{"not a url", "", channel.StepURL},
		{"http://user:pw@192.0.2.1/", "", channel.StepURL},
	} {
		peer := grid.Peer{ID: key.FromSeed([32]byte{1}).ID(), URL: test.url, Origin: test.origin}
		_, err := get(t, newTransport(t).RoundTripper(peer), "http://ignored/")
		e, ok := errors.AsType[*channel.Error](err)
		if !ok || e.Step != test.step {
			t.Errorf("%s (%s): %v; want the step %q", test.url, test.origin, err, test.step)
		} else if e.Hint() == "" || !strings.Contains(e.Error(), "reach lob1") {
			t.Errorf("%s: error %q, hint %q", test.url, e, e.Hint())
		}
	}
}

// The addresses and most verdicts are those recorded from the original's check;
// the last ones are holes that it had.
func TestForbiddenAddresses(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]struct{ always, private bool }{
		"127.0.0.1":              {true, true},
		"::1":                    {true, true},
		"0.0.0.0":                {true, true},
		"169.254.169.254":        {true, true},
		"::ffff:127.0.0.1":       {true, true},
		"::ffff:7f00:1":          {true, true},
		"fe80::1":                {true, true},
		"fe80::1%eth0":           {true, true},
		"fd00::1":                {false, true},
		"10.0.0.1":               {false, true},
		"172.31.0.1":             {false, true},
		"192.168.1.2":            {false, true},
		"::ffff:192.168.1.2":     {false, true},
		"100.64.0.1":             {false, true},
		"192.0.2.1":              {false, false},
		"2001:db8::1":            {false, false},
		"8.8.8.8":                {false, false},
		"::127.0.0.1":            {true, true},
		"64:ff9b::7f00:1":        {true, true},
		"64:ff9b::a9fe:a9fe":     {true, true},
		"64:ff9b::808:808":       {false, false}, // IPv6-only networks reach IPv4 so
		"64:ff9b::c0a8:1":        {false, true},
		"64:ff9b:1::7f00:1":      {true, true},
		"2002:7f00:1::1":         {true, true},
		"2001:0:1::1":            {true, true},
		"fec0::1":                {true, true},
		"224.0.0.1":              {true, true},
		"ff02::1":                {true, true},
		"255.255.255.255":        {true, true},
		"100.100.100.200":        {true, true},
		"192.0.0.192":            {true, true},
		"fd00:ec2::254":          {true, true},
		"::":                     {true, true},
		"::ffff:169.254.169.254": {true, true},
	} {
		for blockPrivate, refuse := range map[bool]bool{false: want.always, true: want.private} {
			err := channel.Forbidden(netip.MustParseAddr(addr), blockPrivate)
			if (err != nil) != refuse || err != nil && !errors.Is(err, channel.ErrForbidden) {
				t.Errorf("Forbidden(%s, %t) = %v; want refused=%t", addr, blockPrivate, err, refuse)
			}
		}
	}
}

func TestCheckURLLetsTheUsersPeersBeAnywhere(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://127.0.0.1:1", "http://[::1]:1", "http://192.168.1.2", "https://host.example"} {
		if err := channel.CheckURL(grid.Peer{URL: url, Origin: grid.FromUser}, true); err != nil {
			t.Errorf("the user's %s: %v", url, err)
		}
	}
	err := channel.CheckURL(grid.Peer{URL: "http://127.0.0.1:1", Origin: grid.FromNostr}, false)
	if e, ok := errors.AsType[*channel.Error](err); !ok || e.Step != channel.StepAddress {
		t.Errorf("a learned loopback peer: %v", err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer inside.Close()
	server := httptest.NewServer(http.RedirectHandler(inside.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	peer := grid.Peer{ID: key.FromSeed([32]byte{1}).ID(), URL: server.URL}
	if got, err := get(t, newTransport(t).RoundTripper(peer), server.URL); !strings.HasPrefix(got, "307") || err != nil {
		t.Errorf("got %q, %v; want the 307 itself", got, err)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	l := serve(t, key.FromSeed([32]byte{1}))
	_, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err == nil {
		t.Error("TLS 1.2 was accepted")
	}
}

// What was tried is told once.
func TestErrorTellsTheAddressOnce(t *testing.T) {
	t.Parallel()
	addr := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 17474}
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: os.NewSyscallError("connect", errors.New("connection refused"))}
	e := &channel.Error{Step: channel.StepTCP, Peer: grid.Peer{Label: "mini"}, Addr: addr.String(), Err: refused}
	if got, want := e.Error(), "reach mini at 192.0.2.7:17474: connect: connection refused"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(e, refused) {
		t.Error("it does not unwrap to what went wrong")
	}
}
