package worker

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

// How a claim is proved.
type how uint8

const (
	byNothing    how = iota // anonymous
	bySignature             // the signature over the request; verify checks it
	byConnection            // the connection proved the key before
	byLegacy                // the owner lets the address name the key
)

// A claim is what a request's head says about who sent it.
type claim struct {
	id       key.ID // zero for anonymous
	how      how
	proof    receipt.Proof
	header   string // the proof as it came, for the receipt
	named    string // the key that an unsigned request names in vain
	local    bool   // from this machine, by no other machine's hand
	notLocal string // why a request from loopback is not taken for local
}

// claim reads who a request says it is from. A signature that cannot be one is
// refused; an unsigned request is anonymous whatever key it names.
func (w *Worker) claim(r *http.Request) (claim, *openai.Error) {
	var c claim
	addr := remoteAddr(r)
	c.local, c.notLocal = isLocal(addr, r)
	c.header = r.Header.Get(receipt.SignatureHeader)
	if w.config.Connection != nil && c.header == "" {
		if id, ok := w.config.Connection(r); ok {
			c.id, c.how = id, byConnection
			return c, nil
		}
	}
	named := r.Header.Get(receipt.RequesterHeader)
	id, err := key.ParseID(named)
	switch {
	case c.header == "" && err == nil && w.config.Admission.Legacy(addr, id):
		c.id, c.how = id, byLegacy
	case c.header == "":
		c.named = named
	case err != nil:
		return c, w.unauthorized("bad_signature", "the request is signed, but its %s header is no key: %v", receipt.RequesterHeader, err)
	default:
		c.id, c.how = id, bySignature
		if c.proof, err = receipt.ParseProof(c.header); err != nil {
			return c, w.unauthorized("bad_signature", "%s header: %v", receipt.SignatureHeader, err)
		}
		return c, w.checkTime(c.proof.Time)
	}
	return c, nil
}

// checkTime refuses what is outside of the window, and what was signed before
// the worker started, because replays of that time are not remembered.
func (w *Worker) checkTime(signed time.Time) *openai.Error {
	now := w.config.Now()
	switch {
	case !receipt.Fresh(signed, now):
		return w.unauthorized("stale_signature", "the request was signed %s away from this worker's time; %s is allowed. Set the clock, or sign again",
			now.Sub(signed).Abs().Round(time.Second), receipt.Window)
	case signed.Before(w.started):
		return w.unauthorized("stale_signature", "the request was signed before this worker started; sign it again")
	}
	return nil
}

// verify proves a claim over the body and remembers the proof, so that it
// counts once.
func (w *Worker) verify(r *http.Request, c claim, rq requester, bodyHash [32]byte) *openai.Error {
	if c.how != bySignature {
		return nil
	}
	request := receipt.Request{Method: r.Method, Path: r.URL.Path, Worker: w.id, Requester: c.id, BodyHash: bodyHash}
	if err := request.Verify(c.proof); err != nil {
		return w.unauthorized("bad_signature", "%v, which is %s; the signature covers method, path, both keys, time, nonce and the body's bytes", err, w.id)
	}
	memory := w.nonces.known
	if rq.class != self && rq.class != allowed {
		memory = w.nonces.strangers
	}
	switch memory.add(c.id, c.proof, w.config.Now()) {
	case nonceSeen:
		return w.unauthorized("replayed_signature", "this very request was made before; sign each one anew")
	case nonceFull:
		return unavailable("too_many_requests", 30*time.Second, "more signed requests within %s than this worker remembers", receipt.Window)
	}
	return nil
}

func (w *Worker) unauthorized(code, format string, args ...any) *openai.Error {
	now := w.config.Now()
	return &openai.Error{
		Status:  http.StatusUnauthorized,
		Type:    "authentication_error",
		Code:    code,
		Message: fmt.Sprintf(format, args...) + "; the time here is " + now.UTC().Format(time.RFC3339),
		Extra:   map[string]any{"serverTime": now.UnixMilli()},
	}
}

// timeOf is what a 401 puts into [grid.TimeHeader].
func timeOf(e *openai.Error) string {
	ms, ok := e.Extra["serverTime"].(int64)
	if !ok {
		return ""
	}
	return strconv.FormatInt(ms, 10)
}

func remoteAddr(r *http.Request) netip.Addr {
	addr, _ := netip.ParseAddrPort(r.RemoteAddr) // the zero address for other networks
	return addr.Addr().Unmap().WithZone("")
}

// IsLocal reports whether a program on this machine sent r for itself, and not a
// proxy for somebody else or a browser for a web page; such requests need no
// signature.
func IsLocal(r *http.Request) bool {
	ok, _ := isLocal(remoteAddr(r), r)
	return ok
}

// isLocal reports whether a program on this machine sent r for itself: neither
// a proxy for somebody else, nor a browser for a web page.
func isLocal(addr netip.Addr, r *http.Request) (ok bool, why string) {
	if !addr.IsLoopback() {
		return false, ""
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip"} {
		if r.Header.Get(name) != "" {
			return false, "was passed on by a proxy (" + name + ")"
		}
	}
	if !loopbackHost(r.Host) {
		return false, fmt.Sprintf("is for the host %.80q", r.Host)
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || !loopbackHost(u.Host) {
			return false, fmt.Sprintf("comes from the web page %.80q", origin)
		}
	}
	return true, ""
}

// loopbackHost reports whether a Host header or an origin's host names this
// machine; a name that somebody's DNS lets point to it does not.
func loopbackHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "" || strings.EqualFold(host, "localhost") {
		return host != ""
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
