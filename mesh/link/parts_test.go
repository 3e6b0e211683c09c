package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"lobstah/key"
)

// relayTLS is the middle of an attack: it ends the victim's TLS and begins one
// with the honest server, both with the thief's key.
func (id Identity) relayTLS(t *testing.T, ctx context.Context, victim, honest net.Conn) (in, out *tls.Conn) {
	config, err := id.tls(func(key.ID) error { return nil }, alpn)
	if err != nil {
		t.Error(err)
	}
	in, out = tls.Server(victim, config), tls.Client(honest, config)
	var both sync.WaitGroup
	both.Go(func() {
		if err := in.HandshakeContext(ctx); err != nil {
			t.Error(err)
		}
	})
	both.Go(func() {
		if err := out.HandshakeContext(ctx); err != nil {
			t.Error(err)
		}
	})
	both.Wait()
	return in, out
}

// reflect is a false server: it returns the proof that it got.
func (id Identity) reflect(t *testing.T, ctx context.Context, raw net.Conn) {
	config, err := id.tls(func(key.ID) error { return nil }, alpn)
	if err != nil {
		t.Error(err)
		return
	}
	conn := tls.Server(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		t.Error(err)
		return
	}
	conn.Write(append([]byte{handshakeVersion}, make([]byte, challengeBytes-1)...))
	answer := make([]byte, answerBytes+proofBytes)
	if _, err := io.ReadFull(conn, answer); err != nil {
		t.Error(err)
	}
	conn.Write(append([]byte{0}, answer[answerBytes:]...))
	raw.Close()
}

func TestProofCoversEverything(t *testing.T) {
	t.Parallel()
	secret := testSecret(t, strongText)
	base := secret.prove(roleDial, &transcript{})
	for name, change := range map[string]func(*transcript){
		"dialler":        func(t *transcript) { t.dialler[5] = 1 },
		"acceptor":       func(t *transcript) { t.acceptor[5] = 1 },
		"dialler nonce":  func(t *transcript) { t.diallerNonce[5] = 1 },
		"acceptor nonce": func(t *transcript) { t.acceptorNonce[5] = 1 },
		"exporter":       func(t *transcript) { t.exporter[5] = 1 },
		"dialler epoch":  func(t *transcript) { t.diallerEpoch = 1 },
		"acceptor epoch": func(t *transcript) { t.acceptorEpoch = 1 },
	} {
		var changed transcript
		change(&changed)
		if bytes.Equal(secret.prove(roleDial, &changed), base) {
			t.Errorf("the proof does not cover the %s", name)
		}
	}
	if bytes.Equal(secret.prove(roleAccept, &transcript{}), base) {
		t.Error("the proof does not cover the role")
	}
}

func TestGuard(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	home, neighbour, far := netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("203.0.113.6"), netip.MustParseAddr("198.51.100.1")

	var g guard
	for range maxFailures {
		if !g.admit(now, home) {
			t.Fatal("refused before it failed")
		}
		g.judge(now, home, false)
		g.leave(now, home)
	}
	if g.admit(now, home) || g.admit(now.Add(backOff-time.Second), home) {
		t.Error("an address that failed five times was admitted")
	}
	if !g.admit(now, neighbour) {
		t.Error("its neighbour was refused")
	}
	if !g.admit(now.Add(backOff), home) {
		t.Error("it was refused after the back-off")
	}

	g = guard{}
	admitted := 0
	for range 2 * unprovenPerPrefix {
		if g.admit(now, home) {
			admitted++
		}
	}
	if admitted != unprovenPerPrefix || g.admit(now, neighbour) || !g.admit(now, far) {
		t.Errorf("%d connections of one network were admitted, want %d, and those of others", admitted, unprovenPerPrefix)
	}

	g = guard{}
	for i := range 2 * maxTracked {
		from := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1})
		if g.admit(now.Add(time.Duration(i)*time.Millisecond), from) {
			g.leave(now, from)
		}
	}
	if len(g.prefixes) > maxTracked+1 {
		t.Errorf("%d prefixes are kept, want at most %d", len(g.prefixes), maxTracked)
	}
}

func TestCallerBehindAProxy(t *testing.T) {
	t.Parallel()
	believed := Proxies{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.1.0.0/16")}
	for _, test := range []struct {
		proxies                 Proxies
		remote, forwarded, want string
	}{
		{nil, "127.0.0.1:4", "203.0.113.9", "127.0.0.1"}, // nobody is believed by default
		{believed, "198.51.100.7:4", "", "198.51.100.7"},
		{believed, "198.51.100.7:4", "1.2.3.4", "198.51.100.7"}, // a stranger's word
		{believed, "127.0.0.1:4", "1.2.3.4, 203.0.113.9", "203.0.113.9"},
		{believed, "[::ffff:127.0.0.1]:4", "1.2.3.4,203.0.113.9", "203.0.113.9"},
		{believed, "127.0.0.1:4", "1.2.3.4, 203.0.113.9, 10.1.2.3", "203.0.113.9"}, // two proxies
		{believed, "127.0.0.1:4", "10.1.2.3", "10.1.2.3"},
		{believed, "127.0.0.1:4", "203.0.113.9, nonsense", "127.0.0.1"},
		{believed, "127.0.0.1:4", "nonsense", "127.0.0.1"},
		{believed, "127.0.0.1:4", "", "127.0.0.1"},
		{believed, "[::ffff:198.51.100.7]:4", "", "198.51.100.7"},
		{believed, "[fe80::1%eth0]:4", "", "fe80::1"},
	} {
		r := httptest.NewRequest("GET", "/mesh", nil)
		r.RemoteAddr = test.remote
		if test.forwarded != "" {
			r.Header.Set("X-Forwarded-For", test.forwarded)
		}
		if got := test.proxies.callerOf(r).String(); got != test.want {
			t.Errorf("a connection from %s, forwarded for %q, counts for %s, want %s", test.remote, test.forwarded, got, test.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	var b Backoff
	longest := make([]time.Duration, 10)
	for range 200 {
		b = Backoff{}
		for i := range longest {
			longest[i] = max(longest[i], b.Next())
		}
	}
	for i, got := range longest {
		span := min(time.Minute, time.Second<<i)
		if got > span || got < span/2 {
			t.Errorf("the longest of 200 waits after failure %d is %s, want somewhat less than %s", i+1, got, span)
		}
	}
	b.Lasted(59 * time.Second)
	if b.failures == 0 {
		t.Error("a short link made the wait short again")
	}
	b.Lasted(time.Minute)
	if b.failures != 0 {
		t.Error("a link of a minute did not make the wait short again")
	}
}

func FuzzHandshakeAnswer(f *testing.F) {
	id := testIdentity(f, 1, strongText)
	t0 := &transcript{diallerNonce: [32]byte{1}, diallerEpoch: 7}
	f.Add(id.answer(t0))
	f.Add(make([]byte, answerBytes))
	f.Fuzz(func(t *testing.T, data []byte) {
		reply, err := id.checkAnswer(readOnly{Reader: bytes.NewReader(data)}, &transcript{})
		if err == nil && !bytes.Contains(data, id.Secrets[0].prove(roleDial, readBack(data))) {
			t.Errorf("%x was taken for a proof and answered %x", data, reply)
		}
	})
}

func readBack(answer []byte) *transcript {
	return &transcript{diallerNonce: [32]byte(answer[:32]), diallerEpoch: binary.BigEndian.Uint64(answer[32:40])}
}

type readOnly struct {
	net.Conn
	io.Reader
}

func (r readOnly) Read(p []byte) (int, error) { return r.Reader.Read(p) }

func FuzzControlFrame(f *testing.F) {
	f.Add(appendFrame(nil, frameMessage, []byte("m")))
	f.Add([]byte{framePinging, 0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, body, _, err := readFrame(bytes.NewReader(data), nil)
		if err == nil && !bytes.HasPrefix(data, appendFrame(nil, kind, body)) {
			t.Errorf("%x was read as a frame of kind %q with the body %x", data, kind, body)
		}
	})
}

// A proxy of this machine that is not believed makes all its clients one, which the
// owner is told, once.
func TestAProxyThatIsNotBelievedIsTold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		proxies Proxies
		remote  string
		header  string
		want    int
	}{
		{nil, "127.0.0.1:4", "203.0.113.9", 1},
		{nil, "127.0.0.1:4", "", 0},
		{nil, "198.51.100.7:4", "203.0.113.9", 0}, // anybody may write that
		{Proxies{netip.MustParsePrefix("127.0.0.1/32")}, "127.0.0.1:4", "203.0.113.9", 0},
	} {
		var log bytes.Buffer
		a := &Acceptor{Proxies: test.proxies, Log: slog.New(slog.NewTextHandler(&log, nil))}
		for range 2 {
			r := httptest.NewRequest("GET", "/mesh", nil)
			r.RemoteAddr = test.remote
			r.Header.Set("X-Forwarded-For", test.header)
			a.noteProxy(r, a.Proxies.callerOf(r))
		}
		if got := strings.Count(log.String(), "trustedProxies"); got != test.want {
			t.Errorf("%+v: told %d times, want %d: %s", test, got, test.want, log.String())
		}
	}
}
