package link

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"lobstah/key"
	"lobstah/mesh/mux"
)

const strongText = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"

// testSecret draws quickly: the rounds are not what the tests are about.
func testSecret(t testing.TB, text string) Secret {
	t.Helper()
	s, err := newSecret(text, 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testIdentity(t testing.TB, n byte, secrets ...string) Identity {
	t.Helper()
	id := Identity{Pair: key.FromSeed([32]byte{n}), Epoch: uint64(n)}
	for _, s := range secrets {
		id.Secrets = append(id.Secrets, testSecret(t, s))
	}
	return id
}

// listener is an acceptor behind a real HTTP server; its links run.
type listener struct {
	server *httptest.Server
	links  chan *Link
	ended  chan error
	got    chan string
	log    diary
}

// diary is a log that can be read while it is written.
type diary struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (d *diary) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

func listen(t testing.TB, id Identity, secure bool, heartbeat time.Duration, revoked ...key.ID) *listener {
	t.Helper()
	l := &listener{links: make(chan *Link, 8), ended: make(chan error, 8), got: make(chan string, 8)}
	ctx, cancel := context.WithCancel(context.Background())
	a := &Acceptor{
		Context: ctx, Identity: func() Identity { return id }, Admit: func(id key.ID) error {
			if slices.Contains(revoked, id) {
				return errors.New("revoked")
			}
			return nil
		},
		Heartbeat: heartbeat, Log: slog.New(slog.NewTextHandler(&l.log, nil)),
		Serve: func(ctx context.Context, link *Link) {
			l.links <- link
			l.ended <- link.Run(ctx, func(m []byte) error { l.got <- string(m); return nil })
		},
	}
	if err := a.Check(); err != nil {
		t.Fatal(err)
	}
	if secure {
		l.server = httptest.NewTLSServer(a)
	} else {
		l.server = httptest.NewServer(a)
	}
	t.Cleanup(func() { cancel(); l.server.Close() })
	return l
}

func (l *listener) url() string { return "ws" + strings.TrimPrefix(l.server.URL, "http") }

// run keeps a dialled link up until the test ends.
func run(t testing.TB, l *Link) chan error {
	t.Helper()
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { ended <- l.Run(ctx, func([]byte) error { return nil }) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return ended
}

func TestStreamsAndMessages(t *testing.T) {
	t.Parallel()
	server := listen(t, testIdentity(t, 1, strongText), false, 0)
	dialer := &Dialer{Identity: testIdentity(t, 2, strongText)}
	l, err := dialer.Dial(t.Context(), server.url(), key.ID{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, l)
	far := <-server.links
	if l.Peer != key.FromSeed([32]byte{1}).ID() || far.Peer != dialer.Identity.Pair.ID() || l.PeerEpoch != 1 || far.PeerEpoch != 2 {
		t.Errorf("the ends know each other as %s (epoch %d) and %s (epoch %d)", l.Peer.Short(), l.PeerEpoch, far.Peer.Short(), far.PeerEpoch)
	}
	if !l.Send([]byte("hello")) || <-server.got != "hello" {
		t.Error("a message did not arrive")
	}
	if l.Send(make([]byte, MaxMessage+1)) {
		t.Error("a message beyond the limit was taken")
	}
	echo(t, l, far)
	echo(t, far, l)
}

// echo sends a megabyte there and back over a new stream.
func echo(t *testing.T, from, to *Link) {
	t.Helper()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	done := make(chan error, 1)
	go func() {
		c, err := to.Accept(t.Context())
		if err == nil {
			_, err = io.CopyN(c, c, int64(len(sent)))
			c.Close()
		}
		done <- err
	}()
	c, err := from.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go c.Write(sent)
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("the echo differs (%v)", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	other := strings.ToUpper(strongText)
	for name, test := range map[string]struct {
		dialler, acceptor []string
		want              error
	}{
		"same":                   {[]string{strongText}, []string{strongText}, nil},
		"different":              {[]string{strongText}, []string{other}, ErrRefused},
		"dialler has both":       {[]string{other, strongText}, []string{strongText}, nil},
		"acceptor has both":      {[]string{strongText}, []string{other, strongText}, nil},
		"both have two, crossed": {[]string{strongText, other}, []string{other, strongText}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := listen(t, testIdentity(t, 1, test.acceptor...), false, 0)
			l, err := (&Dialer{Identity: testIdentity(t, 2, test.dialler...)}).Dial(t.Context(), server.url(), key.ID{})
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if err == nil {
				run(t, l)
			}
		})
	}
}

func TestWhomTheSecretIsProvedTo(t *testing.T) {
	t.Parallel()
	const weak = "correct horse battery staple"
	server := key.FromSeed([32]byte{1}).ID()
	for name, test := range map[string]struct {
		secure, trusted bool
		pin             key.ID
		secret          string
		want            error
	}{
		"weak to a stranger":          {secret: weak, want: ErrUnproven},
		"weak to an invalid wss":      {secret: weak, secure: true, want: ErrUnproven},
		"weak to a valid wss":         {secret: weak, secure: true, trusted: true},
		"weak to a pinned node":       {secret: weak, pin: server},
		"strong to a stranger":        {secret: strongText},
		"strong to an invalid wss":    {secret: strongText, secure: true},
		"to another than the pinned":  {secret: strongText, pin: key.FromSeed([32]byte{9}).ID(), want: key.ErrNotPinned},
		"another, with a valid outer": {secret: strongText, secure: true, trusted: true, pin: key.FromSeed([32]byte{9}).ID(), want: key.ErrNotPinned},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := listen(t, testIdentity(t, 1, test.secret), test.secure, 0)
			dialer := &Dialer{Identity: testIdentity(t, 2, test.secret)}
			if test.trusted {
				dialer.Roots = x509.NewCertPool()
				dialer.Roots.AddCert(server.server.Certificate())
			}
			l, err := dialer.Dial(t.Context(), server.url(), test.pin)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if err == nil {
				run(t, l)
			}
		})
	}
}

func TestStrongSecrets(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		strongText:                         true,
		strongText[:31]:                    false,
		strings.Repeat("0", 64):            false,
		"your-shared-secret":               false,
		"correct horse battery staple":     false,
		"correct-horse-battery-staple-too": false,
		"l3Zt0PzA9QdW5yRk7uVhXg":           true,
		"q7-Zt0PzA9QdW5yRk7uVhXgM_w8n2b4c": true,
	} {
		if got := StrongText(text); got != want {
			t.Errorf("StrongText(%q) = %v, want %v", text, got, want)
		}
	}
	if got := testSecret(t, strongText); strings.Contains(got.String()+got.GoString(), hex.EncodeToString(got.key)) {
		t.Error("the secret shows in text")
	}
}

// A node between two others that passes their handshake on gets nowhere: the
// proofs are bound to keys and session.
func TestProofsCannotBeForwarded(t *testing.T) {
	t.Parallel()
	honest, victim, thief := testIdentity(t, 1, strongText), testIdentity(t, 2, strongText), testIdentity(t, 3, "unknown")
	allow := func(key.ID) error { return nil }
	toVictim, atThief := connected(t)
	fromThief, atHonest := connected(t)
	ctx := t.Context()
	var running sync.WaitGroup
	var victimErr, honestErr error
	running.Go(func() {
		_, victimErr = victim.dialHandshake(ctx, toVictim, allow, allow)
		toVictim.Close()
	})
	running.Go(func() {
		_, honestErr = honest.acceptHandshake(ctx, atHonest, allow, alpn)
		atHonest.Close()
	})
	running.Go(func() { // the thief ends TLS on both sides and passes the bytes on
		in, out := thief.relayTLS(t, ctx, atThief, fromThief)
		var copying sync.WaitGroup
		copying.Go(func() { io.Copy(out, in); out.Close() })
		copying.Go(func() { io.Copy(in, out); in.Close() })
		copying.Wait()
	})
	running.Wait()
	if victimErr == nil || honestErr == nil || !strings.Contains(honestErr.Error(), "does not know the cluster secret") {
		t.Errorf("the forwarded handshake gave %v and %v, want both refused", victimErr, honestErr)
	}
}

// A server that does not know the secret cannot pretend by sending the proof back.
func TestReflectedProofIsRefused(t *testing.T) {
	t.Parallel()
	victim, thief := testIdentity(t, 2, strongText), testIdentity(t, 3, "unknown")
	allow := func(key.ID) error { return nil }
	near, far := connected(t)
	ctx := t.Context()
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { thief.reflect(t, ctx, far) })
	if _, err := victim.dialHandshake(ctx, near, allow, allow); !errors.Is(err, ErrFalseServer) {
		t.Errorf("got %v, want ErrFalseServer", err)
	}
	near.Close()
}

func TestHeartbeatTimeout(t *testing.T) {
	t.Parallel()
	server := listen(t, testIdentity(t, 1, strongText), false, time.Hour)
	var frozen atomic.Bool
	dialer := &Dialer{Identity: testIdentity(t, 2, strongText), Heartbeat: 10 * time.Millisecond,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return &freezer{c, &frozen}, err
		}}
	l, err := dialer.Dial(t.Context(), server.url(), key.ID{})
	if err != nil {
		t.Fatal(err)
	}
	frozen.Store(true) // nothing that we write arrives any more, as with a peer that sleeps
	err = <-run(t, l)
	closed, ok := errors.AsType[*ClosedError](err)
	if !ok || closed.Code != CodeHeartbeat || closed.Remote {
		t.Errorf("the link ended with %v, want our code 4002", err)
	}
}

// A ping that is answered makes up for those before it; three that are not end the
// link when the fourth is due.
func TestThreeMissedPingsEndALink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &Link{every: Heartbeat, beats: make(chan []byte, 4), pongs: make(chan uint64, 1), ended: make(chan struct{})}
		ended := make(chan error, 1)
		go func() { ended <- l.beat() }()
		var last time.Time
		const trip = 20 * time.Millisecond
		for i := range 10 {
			var ping []byte
			for range 1 + i%MissedPings { // the last of them is answered
				ping = <-l.beats
			}
			last = time.Now()
			time.Sleep(trip)
			l.pongs <- binary.BigEndian.Uint64(ping[5:])
			synctest.Wait()
		}
		if l.RTT() != trip {
			t.Errorf("the round trip takes %s, want %s", l.RTT(), trip)
		}
		closed, ok := errors.AsType[*ClosedError](<-ended)
		if !ok || closed.Code != CodeHeartbeat || closed.Remote {
			t.Errorf("the link ended with %v, want our code 4002", closed)
		}
		if took, want := time.Since(last), (MissedPings+1)*Heartbeat; took < want*9/10 || took > want*11/10 || len(l.beats) != MissedPings {
			t.Errorf("it ended %s after the last ping that was answered, after %d more; want about %s and %d", took, len(l.beats), want, MissedPings)
		}
	})
}

// freezer swallows writes while it is frozen.
type freezer struct {
	net.Conn
	frozen *atomic.Bool
}

func (f *freezer) Write(p []byte) (int, error) {
	if f.frozen.Load() {
		return len(p), nil
	}
	return f.Conn.Write(p)
}

func TestBothSidesLearnTheCode(t *testing.T) {
	t.Parallel()
	server := listen(t, testIdentity(t, 1, strongText), false, 0)
	l, err := (&Dialer{Identity: testIdentity(t, 2, strongText)}).Dial(t.Context(), server.url(), key.ID{})
	if err != nil {
		t.Fatal(err)
	}
	ended := run(t, l)
	far := <-server.links
	far.Close(CodeRevoked)
	err = <-ended
	near, ok := errors.AsType[*ClosedError](err)
	if !ok || near.Code != CodeRevoked || !near.Remote {
		t.Errorf("the other side learned %v, want code 4004", err)
	}
	if err := <-server.ended; !strings.Contains(err.Error(), "4004") {
		t.Errorf("this side ended with %v, want code 4004", err)
	}
	if _, err := l.Open(t.Context()); err == nil {
		t.Error("a stream was opened on an ended link")
	}
}

// What a stranger may do before it proved the secret.
func TestStrangersAreLimited(t *testing.T) {
	t.Parallel()
	hello := append([]byte{0x16, 3, 1, unprovenBytes >> 8, 0}, make([]byte, unprovenBytes)...) // a record of TLS that is read to its end
	for name, test := range map[string]struct {
		attack func(context.Context, *websocket.Conn) error
		why    string
	}{
		"long message": {func(ctx context.Context, ws *websocket.Conn) error {
			return ws.Write(ctx, websocket.MessageBinary, hello)
		}, "bytes before the proof"},
		"many bytes": {func(ctx context.Context, ws *websocket.Conn) error {
			for part := range slices.Chunk(hello, 4<<10) {
				if err := ws.Write(ctx, websocket.MessageBinary, part); err != nil {
					return err
				}
			}
			return nil
		}, "bytes before the proof"},
		"text": {func(ctx context.Context, ws *websocket.Conn) error {
			return ws.Write(ctx, websocket.MessageText, []byte("{}"))
		}, "a text message"},
		"not TLS": {func(ctx context.Context, ws *websocket.Conn) error {
			return ws.Write(ctx, websocket.MessageBinary, make([]byte, 100))
		}, "does not look like a TLS handshake"},
		"empty ones": {func(ctx context.Context, ws *websocket.Conn) error {
			for range unprovenMessages + 1 {
				if err := ws.Write(ctx, websocket.MessageBinary, nil); err != nil {
					return err
				}
			}
			return nil
		}, "messages before the proof"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := listen(t, testIdentity(t, 1, strongText), false, 0)
			ws, _, err := websocket.Dial(t.Context(), server.url()+Path, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer ws.CloseNow()
			begin := time.Now()
			if err := test.attack(t.Context(), ws); err != nil {
				t.Fatal(err)
			}
			for err == nil { // a TLS alert may come first
				_, _, err = ws.Read(t.Context())
			}
			if took := time.Since(begin); took < refusalDelay {
				t.Errorf("hung up after %s, want %s at least", took, refusalDelay)
			}
			if log := server.log.String(); !strings.Contains(log, test.why) { // and not the end of the handshake's time
				t.Errorf("hung up for another reason than %q: %s", test.why, log)
			}
		})
	}
}

func TestManyAttemptsAreRefusedBeforeTheUpgrade(t *testing.T) {
	t.Parallel()
	server := listen(t, testIdentity(t, 1, strongText), false, 0)
	var attempts sync.WaitGroup
	for range maxFailures {
		attempts.Go(func() {
			_, err := (&Dialer{Identity: testIdentity(t, 2, strings.ToUpper(strongText))}).Dial(t.Context(), server.url(), key.ID{})
			if !errors.Is(err, ErrRefused) {
				t.Errorf("a wrong secret gave %v, want ErrRefused", err)
			}
		})
	}
	attempts.Wait()
	_, err := (&Dialer{Identity: testIdentity(t, 2, strongText)}).Dial(t.Context(), server.url(), key.ID{})
	if err == nil || !strings.Contains(err.Error(), "answered 429") {
		t.Errorf("after %d failures an attempt gave %v, want status 429", maxFailures, err)
	}
	response, err := http.Get(server.server.URL + Path)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") == "" {
		t.Errorf("status %s, Retry-After %q", response.Status, response.Header.Get("Retry-After"))
	}
}

// Nodes that fail before they prove a secret go on dialling, and lock out nobody
// behind the same address: revoked ones, such as expect another key, and those that
// dialled while this one slept and are gone.
func TestOnlyGuessesLockOut(t *testing.T) {
	t.Parallel()
	revoked := testIdentity(t, 3, strongText)
	for name, fail := range map[string]func(t *testing.T, url string) error{
		"revoked": func(t *testing.T, url string) error {
			_, err := (&Dialer{Identity: revoked}).Dial(t.Context(), url, key.ID{})
			return err
		},
		"another key is expected": func(t *testing.T, url string) error {
			_, err := (&Dialer{Identity: testIdentity(t, 2, strongText)}).Dial(t.Context(), url, revoked.Pair.ID())
			return err
		},
		"gone": func(t *testing.T, url string) error {
			ws, _, err := websocket.Dial(t.Context(), url+Path, nil)
			if err != nil {
				t.Error("refused before it said anything")
				return err
			}
			return cmp.Or(ws.CloseNow(), net.ErrClosed)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := listen(t, testIdentity(t, 1, strongText), false, 0, revoked.Pair.ID())
			var attempts sync.WaitGroup
			for range 2 * maxFailures {
				attempts.Go(func() {
					if err := fail(t, server.url()); err == nil || strings.Contains(err.Error(), "answered 429") {
						t.Errorf("an attempt gave %v", err)
					}
				})
			}
			attempts.Wait()
			l, err := (&Dialer{Identity: testIdentity(t, 2, strongText)}).Dial(t.Context(), server.url(), key.ID{})
			if err != nil {
				t.Fatalf("another node of that address: %v", err)
			}
			run(t, l)
			<-server.links
		})
	}
}

// A receiver that does not read must not hold up other streams.
func TestSlowStreamHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	server := listen(t, testIdentity(t, 1, strongText), false, 0)
	l, err := (&Dialer{Identity: testIdentity(t, 2, strongText)}).Dial(t.Context(), server.url(), key.ID{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, l)
	far := <-server.links
	stuck, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var writing sync.WaitGroup
	writing.Go(func() { stuck.Write(make([]byte, 4*mux.Window)) }) // ends when the stream is closed
	unread, err := far.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		echo(t, l, far)
	}
	unread.Close()
	stuck.Close()
	writing.Wait()
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"ws://a":               "ws://a:19000/mesh",
		"wss://a.example/":     "wss://a.example:19000/mesh",
		"ws://[::1]":           "ws://[::1]:19000/mesh",
		"wss://a:443/b/mesh":   "wss://a:443/b/mesh",
		"http://a":             "",
		"a:19000":              "",
		"ws://u:p@a":           "",
		"ws://":                "",
		"ws://a/mesh?secret=1": "",
	} {
		u, err := ParseURL(text)
		if (err != nil) != (want == "") || err == nil && u.String() != want {
			t.Errorf("ParseURL(%q) = %v, %v; want %q", text, u, err, want)
		}
	}
}
