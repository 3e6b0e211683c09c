package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"lobstah/key"
)

// Path is where a node's server accepts links.
const Path = "/mesh"

// Acceptor is the [http.Handler] that accepts links. Admit refuses keys before
// they may prove anything; Serve owns each link and must call its Run, at once or in
// a goroutine of its own. Context ends handshakes and is handed to Serve.
type Acceptor struct {
	Context   context.Context
	Identity  func() Identity // asked for each link, since secrets rotate
	Admit     func(key.ID) error
	Serve     func(context.Context, *Link)
	Guest     func(context.Context, *Link)
	Proxies   Proxies
	Heartbeat time.Duration // zero means [Heartbeat]
	Log       *slog.Logger

	guard guard
	noted sync.Once // that a proxy is not believed
}

// ServeHTTP upgrades the connection, proves both sides and hands the link over.
func (a *Acceptor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from := a.Proxies.callerOf(r)
	a.noteProxy(r, from)
	if !a.guard.admit(time.Now(), from) {
		w.Header().Set("Retry-After", strconv.Itoa(int(backOff.Seconds())))
		http.Error(w, "too many attempts from your network: wait, and check the cluster secret", http.StatusTooManyRequests)
		return
	}
	l := a.prove(w, r, from)
	switch {
	case l == nil:
	case l.Guest:
		a.Guest(a.Context, l)
	default:
		a.Serve(a.Context, l)
	}
}

// noteProxy tells the owner once when a proxy of this machine names clients and is
// not believed: all of them then count as one, and one that fails locks all out.
func (a *Acceptor) noteProxy(r *http.Request, from netip.Addr) {
	if from.IsLoopback() && r.Header.Get("X-Forwarded-For") != "" {
		a.noted.Do(func() {
			a.Log.Warn("a proxy of this machine names its clients and is not believed, so that they count as one: name it in trustedProxies", "proxy", from)
		})
	}
}

func (a *Acceptor) protocols() []string {
	if a.Guest == nil {
		return []string{alpn}
	}
	return []string{alpn, alpnGuest}
}

// prove returns nil when there is no link. The caller was admitted by the guard.
func (a *Acceptor) prove(w http.ResponseWriter, r *http.Request, from netip.Addr) *Link {
	defer func() { a.guard.leave(time.Now(), from) }()
	// Browsers send Origin, and no page has business here: Accept refuses others'.
	up := &upgrading{ResponseWriter: w}
	ws, err := websocket.Accept(up, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return nil // the response says why
	}
	// The link ends by its Run, which says goodbye; the handshake by its context.
	s := newSocket(context.WithoutCancel(a.Context), ws, up.wire, false, address(from.String()))
	ctx, cancel := context.WithTimeout(a.Context, handshakeTime)
	defer cancel()
	e, err := a.Identity().acceptHandshake(ctx, s, a.Admit, a.protocols()...)
	// Only who sent a proof guessed, or did not have to. Nodes that hung up before, were
	// revoked or expect another key go on dialling, and share their address with others.
	if errors.Is(err, errUnknownSecret) || err == nil && !e.guest {
		a.guard.judge(time.Now(), from, err == nil)
	}
	if err != nil {
		log := a.Log.With("from", from, "err", err)
		if !e.peer.IsZero() {
			log = log.With("key", e.peer)
		}
		log.Info("refused a link")
		select { // the same silence, whatever was wrong
		case <-time.After(refusalDelay):
		case <-a.Context.Done():
		}
		s.Close()
		return nil
	}
	return newLink(e, s, false, orHeartbeat(a.Heartbeat))
}

func orHeartbeat(d time.Duration) time.Duration {
	if d == 0 {
		return Heartbeat
	}
	return d
}

// Check says whether the fields that must be set are.
func (a *Acceptor) Check() error {
	if a.Context == nil || a.Identity == nil || a.Admit == nil || a.Serve == nil || a.Log == nil {
		return errors.New("an acceptor needs a context, an identity, an admission, a server and a log")
	}
	if err := a.Identity().check(); err != nil {
		return fmt.Errorf("accept links: %w", err)
	}
	return nil
}
