package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"lobstah/key"
)

// A Step is one stage on the way to a node.
type Step string

// The steps of [Dialer.Trace], in their order.
const (
	StepURL       Step = "url"
	StepDNS       Step = "dns"
	StepTCP       Step = "tcp"
	StepTLS       Step = "tls" // the outer one, of wss
	StepWebSocket Step = "websocket"
	StepKey       Step = "key"    // the inner TLS, which proves the node keys
	StepSecret    Step = "secret" // of the mesh
)

// A Finding is what came of a step.
type Finding struct {
	Step Step
	Note string // what was found, for people
	Took time.Duration
	Err  error
}

// Trace makes a link step by step, tells what came of each, ends it, and stops at
// the first that fails. Its Identity should have the Epoch 0, which no other link
// of the node gives way to.
func (d *Dialer) Trace(ctx context.Context, address string, pin key.ID) []Finding {
	t := tracer{dialer: d, pin: pin}
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	u, err := ParseURL(address)
	if err != nil {
		t.note(StepURL, time.Now(), "", err)
		return t.findings
	}
	t.url = u
	t.note(StepURL, time.Now(), u.String(), nil)
	t.run(ctx)
	return t.findings
}

type tracer struct {
	dialer   *Dialer
	url      *url.URL
	pin      key.ID
	findings []Finding
}

func (t *tracer) note(step Step, begin time.Time, note string, err error) bool {
	t.findings = append(t.findings, Finding{step, note, time.Since(begin), err})
	return err == nil
}

func (t *tracer) run(ctx context.Context) {
	target, proxied, err := t.target()
	if !t.resolve(ctx, target, proxied, err) {
		return
	}
	begin := time.Now()
	dial := t.dialer.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", target)
	if !t.note(StepTCP, begin, "connected to "+target, err) {
		return
	}
	ok := t.outerTLS(ctx, conn, proxied)
	conn.Close()
	if ok {
		t.prove(ctx)
	}
}

// target is where TCP goes: the node, or the proxy of the environment.
func (t *tracer) target() (hostPort string, proxied bool, err error) {
	schemes := map[string]string{"ws": "http", "wss": "https"}
	as := *t.url
	as.Scheme = schemes[as.Scheme]
	if t.dialer.DialContext != nil {
		return t.url.Host, false, nil
	}
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &as})
	if err != nil || proxy == nil {
		return t.url.Host, false, err
	}
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080"}[proxy.Scheme]
	}
	return net.JoinHostPort(proxy.Hostname(), port), true, nil
}

func (t *tracer) resolve(ctx context.Context, target string, proxied bool, err error) bool {
	begin := time.Now()
	host, _, splitErr := net.SplitHostPort(target)
	if err = errors.Join(err, splitErr); err != nil {
		return t.note(StepDNS, begin, "", err)
	}
	note := host + " is an address"
	if _, parseErr := netip.ParseAddr(host); parseErr != nil {
		var found []netip.Addr
		found, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		for i, addr := range found {
			found[i] = addr.Unmap()
		}
		note = fmt.Sprintf("%s is %v", host, found)
	}
	if proxied {
		note += ", the proxy that the environment names"
	}
	return t.note(StepDNS, begin, note, err)
}

// outerTLS looks at what a TLS-terminating proxy, or the node itself, shows. It
// need not be valid: the inner TLS decides.
func (t *tracer) outerTLS(ctx context.Context, conn net.Conn, proxied bool) bool {
	begin := time.Now()
	switch {
	case t.url.Scheme == "ws":
		return t.note(StepTLS, begin, "none, since the address is ws://; others see that this is a mesh, not what it carries", nil)
	case proxied:
		return t.note(StepTLS, begin, "inside of the proxy's tunnel", nil)
	}
	outer := outerCheck{host: t.url.Hostname(), roots: t.dialer.Roots}
	client := tls.Client(conn, &tls.Config{ServerName: t.url.Hostname(), InsecureSkipVerify: true, VerifyConnection: outer.verify})
	if err := client.HandshakeContext(ctx); err != nil {
		return t.note(StepTLS, begin, "", err)
	}
	note := "a certificate of its own, which is fine: the key inside is what counts"
	if outer.valid {
		note = "a valid certificate for " + t.url.Hostname()
	}
	return t.note(StepTLS, begin, note, nil)
}

// prove opens the WebSocket and runs the handshake inside of it.
func (t *tracer) prove(ctx context.Context) {
	begin := time.Now()
	s, outer, err := t.dialer.socket(ctx, ctx, t.url)
	if !t.note(StepWebSocket, begin, "the server speaks it at "+t.url.Path, err) {
		return
	}
	defer s.Close()
	begin = time.Now()
	_, err = t.dialer.Identity.dialHandshake(ctx, s, t.dialer.admit(t.pin), func(id key.ID) error {
		note := "it is " + id.String()
		if !t.pin.IsZero() {
			note += ", as expected"
		}
		t.note(StepKey, begin, note, nil)
		begin = time.Now()
		if t.pin.IsZero() && !outer.valid && !t.dialer.strong() {
			return ErrUnproven
		}
		return nil
	})
	if t.findings[len(t.findings)-1].Step != StepKey {
		t.note(StepKey, begin, "", err)
		return
	}
	t.note(StepSecret, begin, "both have the same, and have proven it", err)
}
