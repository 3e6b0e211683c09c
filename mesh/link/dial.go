package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"

	"lobstah/key"
)

// Port is the port of the mesh when a URL names none.
const Port = "19000"

// Dialer makes links. The zero values of the optional fields will do.
type Dialer struct {
	Identity Identity
	Admit    func(key.ID) error // optional: refuses keys that were revoked

	Heartbeat   time.Duration                                                     // optional
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error) // optional
	Roots       *x509.CertPool                                                    // optional: of outer certificates
}

// ParseURL reads a peer's address: ws or wss, host, port 19000 unless another is
// named, path /mesh unless another is named.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("address of a peer: %w", err)
	}
	if u.Scheme != "ws" && u.Scheme != "wss" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is no address of a peer: want ws://HOST:%s or wss://HOST:%s", text, Port, Port)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), Port)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = Path
	}
	return u, nil
}

// Dial makes a link to the node at address (see [ParseURL]). A pin that is not
// zero is the only key that is taken; the error shows both. See [ErrRefused],
// [ErrFalseServer] and [ErrUnproven].
func (d *Dialer) Dial(ctx context.Context, address string, pin key.ID) (*Link, error) {
	u, err := ParseURL(address)
	if err != nil {
		return nil, err
	}
	if err := d.Identity.check(); err != nil {
		return nil, err
	}
	timed, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	l, err := d.dial(ctx, timed, u, pin)
	if err != nil {
		return nil, fmt.Errorf("link to %s: %w", u.Redacted(), inTime(ctx, timed, err))
	}
	return l, nil
}

// inTime says of an error that the time of the handshake was up, if that is why.
func inTime(ctx, timed context.Context, err error) error {
	if ctx.Err() == nil && timed.Err() != nil {
		return fmt.Errorf("no answer within %v", handshakeTime)
	}
	return err
}

// Visit makes a link as a guest, to the node with this key: it proves both keys
// and no secret, so Identity needs none. What a guest may do the node decides.
func (d *Dialer) Visit(ctx context.Context, address string, pin key.ID) (*Link, error) {
	u, err := ParseURL(address)
	if err != nil {
		return nil, err
	}
	if d.Identity.Pair.IsZero() || pin.IsZero() {
		return nil, errors.New("a guest needs a key, and that of its host")
	}
	timed, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	s, _, err := d.socket(ctx, timed, u)
	if err != nil {
		return nil, fmt.Errorf("visit %s: %w", u.Redacted(), inTime(ctx, timed, err))
	}
	conn, err := d.Identity.dialKeys(timed, s, d.admit(pin), alpnGuest)
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("visit %s: %w", u.Redacted(), inTime(ctx, timed, err))
	}
	return newLink(established{conn: conn, peer: pin, guest: true}, s, true, orHeartbeat(d.Heartbeat)), nil
}

// socket opens the WebSocket, and tells whether the outer certificate is valid.
// It outlives the handshake's time; the link's Run ends it.
func (d *Dialer) socket(ctx, timed context.Context, u *url.URL) (*socket, *outerCheck, error) {
	outer := &outerCheck{host: u.Hostname(), roots: d.Roots}
	var below *wire
	ws, err := d.upgrade(timed, u, outer, func(conn net.Conn) net.Conn {
		below = &wire{Conn: conn, bare: u.Scheme == "ws"}
		return below
	})
	if err != nil {
		return nil, nil, err
	}
	return newSocket(context.WithoutCancel(ctx), ws, below, true, address(u.Host)), outer, nil
}

func (d *Dialer) dial(ctx, timed context.Context, u *url.URL, pin key.ID) (*Link, error) {
	s, outer, err := d.socket(ctx, timed, u)
	if err != nil {
		return nil, err
	}
	e, err := d.Identity.dialHandshake(timed, s, d.admit(pin), func(key.ID) error {
		if pin.IsZero() && !outer.valid && !d.strong() {
			return ErrUnproven
		}
		return nil
	})
	if err != nil {
		s.Close()
		return nil, err
	}
	return newLink(e, s, true, orHeartbeat(d.Heartbeat)), nil
}

func (d *Dialer) upgrade(ctx context.Context, u *url.URL, outer *outerCheck, wrap func(net.Conn) net.Conn) (*websocket.Conn, error) {
	dial := d.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return wrap(conn), nil
		},
		Proxy:               http.ProxyFromEnvironment,
		TLSHandshakeTimeout: handshakeTime,
		DisableKeepAlives:   true,
		// The outer certificate decides only whether the proof may be sent to an
		// unknown server; the inner TLS protects everything in any case.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyConnection: outer.verify},
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("the server redirects, which a node does not do")
	}}
	ws, response, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPClient: client})
	return ws, upgradeFault(response, err)
}

// upgradeFault is why there is no WebSocket, without what the libraries say around
// it: the request, its address, and that it failed.
func upgradeFault(response *http.Response, err error) error {
	request, failed := errors.AsType[*url.Error](err)
	switch {
	case err == nil:
		return nil
	case failed && response != nil: // a redirect
		return fmt.Errorf("the server answered %s, and not as a node of a mesh: %w", response.Status, request.Err)
	case failed:
		return request.Err
	case response != nil && response.StatusCode != http.StatusSwitchingProtocols:
		return fmt.Errorf("the server answered %s, and not as a node of a mesh", response.Status)
	}
	return err
}

func (d *Dialer) admit(pin key.ID) func(key.ID) error {
	return func(peer key.ID) error {
		if !pin.IsZero() && peer != pin {
			return fmt.Errorf("%w: expected %s, got %s", key.ErrNotPinned, pin, peer)
		}
		if d.Admit != nil {
			return d.Admit(peer)
		}
		return nil
	}
}

func (d *Dialer) strong() bool {
	for _, s := range d.Identity.Secrets {
		if !s.Strong() {
			return false
		}
	}
	return true
}

// outerCheck remembers whether the outer certificate is valid for the host.
type outerCheck struct {
	host  string
	roots *x509.CertPool
	valid bool
}

func (o *outerCheck) verify(state tls.ConnectionState) error {
	options := x509.VerifyOptions{DNSName: o.host, Roots: o.roots, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(options)
	o.valid = err == nil
	return nil
}
