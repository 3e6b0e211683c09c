// Package invite brings an invitation (package invitation) from one machine of
// the grid to the other: [Door] is the inviter's route, [Join] the call of the
// one who was invited.
//
// The wire form is described byte for byte in docs/protocol.md. cmd/ imports it;
// it decides nothing about lists of peers: that is done by who mounts the door.
// Hostile are whatever comes through the door and the welcome that an inviter
// answers; each is capped and checked before it is believed. The secret travels
// inside TLS that is pinned to the inviter's key, and nowhere else.
package invite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"lobstah/invitation"
	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

// Path is where a [Door] is mounted.
const Path = "/lobstah/v1/join"

const (
	wireVersion = 1
	maxBody     = 16 << 10
	maxLabel    = 64
	doorTimeout = 10 * time.Second
)

// An Applicant has proved its key and that it knows a secret; whether that
// secret opens anything is for [invitation.Redeem] to say.
type Applicant struct {
	ID        key.ID
	Secret    invitation.Secret
	Label     string     // what it calls itself, one line
	Addresses []string   // host:port where it lends, by its own word
	From      netip.Addr // where the request came from
}

// application is the body of a request.
type application struct {
	Version   int      `json:"version"`
	Secret    string   `json:"secret"` // 32 hex digits
	Label     string   `json:"label,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
}

// A Welcome is what an inviter answers.
type Welcome struct {
	Version int       `json:"version"`
	Label   string    `json:"label,omitempty"` // what the inviter calls itself
	Guest   bool      `json:"guest,omitempty"`
	Models  []string  `json:"models,omitempty"`  // that a guest may use; none named means all
	Expires time.Time `json:"expires,omitzero"`  // when a guest has to leave
	Again   bool      `json:"again,omitempty"`   // it had joined before
	Known   bool      `json:"peer,omitempty"`    // the inviter asks the joiner, too
	Refused string    `json:"refused,omitempty"` // why it does not, although it was offered
}

// A Door answers those who come by an invitation, at [Path]. It listens to
// requests that came through TLS and are signed like every request to a worker,
// so that a secret is bound to the key that uses it. Set Self and Admit before
// the first request; it is safe for concurrent use.
type Door struct {
	Self  key.ID
	Admit func(context.Context, Applicant) (Welcome, error) // a [*invitation.Refusal] is told, other errors are logged
	Log   *slog.Logger
	Now   func() time.Time // nil means time.Now

	attempts attempts
}

// ServeHTTP implements [http.Handler].
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	// A connection that knows no deadlines has other ways to end.
	_ = control.SetReadDeadline(time.Now().Add(doorTimeout))
	_ = control.SetWriteDeadline(time.Now().Add(2 * doorTimeout))
	welcome, fault := d.answer(w, r)
	if fault == nil {
		tell(w, http.StatusOK, welcome)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if fault.Status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", http.MethodPost)
	}
	if fault.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(fault.RetryAfter.Seconds())))
	}
	w.WriteHeader(fault.Status)
	_, _ = w.Write(fault.JSON()) // a client that left needs no answer
}

func tell(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that left needs no answer
}

func (d *Door) now() time.Time {
	if d.Now == nil {
		return time.Now()
	}
	return d.Now()
}

// answer counts what fails against the address that it came from.
func (d *Door) answer(w http.ResponseWriter, r *http.Request) (Welcome, *openai.Error) {
	switch {
	case r.Method != http.MethodPost:
		return Welcome{}, refusal(http.StatusMethodNotAllowed, "method_not_allowed", "joining is a POST")
	case r.TLS == nil:
		return Welcome{}, refusal(http.StatusForbidden, "tls_required", "an invitation is taken through TLS only: its secret is for one key")
	}
	at, _ := netip.ParseAddrPort(r.RemoteAddr) // the zero address for other networks, which share one count
	from := at.Addr().Unmap().WithZone("")
	if !d.attempts.allowed(from, d.now()) {
		fault := refusal(http.StatusTooManyRequests, "too_many_attempts", "too many attempts failed from your address; try again in a minute")
		fault.RetryAfter = attemptWindow
		return Welcome{}, fault
	}
	applicant, fault := d.applicant(w, r)
	if fault != nil {
		d.attempts.failed(from, d.now())
		return Welcome{}, fault
	}
	applicant.From = from
	welcome, err := d.Admit(r.Context(), applicant)
	welcome.Version = wireVersion
	if e, ok := errors.AsType[*invitation.Refusal](err); ok {
		d.attempts.failed(from, d.now())
		return welcome, refusal(http.StatusForbidden, e.Code, "%s", e.Message)
	}
	if err != nil {
		d.Log.Error("cannot let a machine in that was invited", "key", applicant.ID, "err", err)
		return welcome, refusal(http.StatusInternalServerError, "join_failed", "the inviter could not write it down; its log says why")
	}
	return welcome, nil
}

// applicant reads a request and checks its signature.
func (d *Door) applicant(w http.ResponseWriter, r *http.Request) (a Applicant, fault *openai.Error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return a, refusal(http.StatusBadRequest, "bad_join", "the request's body cannot be read, or is larger than %d bytes", maxBody)
	}
	if a.ID, err = d.verify(r, body); err != nil {
		return a, refusal(http.StatusUnauthorized, "bad_signature", "%v; the time here is %s", err, d.now().UTC().Format(time.RFC3339))
	}
	if err := a.read(body); err != nil {
		return a, refusal(http.StatusBadRequest, "bad_join", "the request's body: %v", err)
	}
	return a, nil
}

func (d *Door) verify(r *http.Request, body []byte) (id key.ID, err error) {
	if id, err = key.ParseID(r.Header.Get(receipt.RequesterHeader)); err != nil {
		return id, err
	}
	proof, err := receipt.ParseProof(r.Header.Get(receipt.SignatureHeader))
	if err != nil {
		return id, err
	}
	if now := d.now(); !receipt.Fresh(proof.Time, now) {
		return id, fmt.Errorf("the request was signed %s away from this machine's time, and %s is allowed; set the clock",
			now.Sub(proof.Time).Abs().Round(time.Second), receipt.Window)
	}
	return id, signed(d.Self, id, body).Verify(proof)
}

// signed is what the joiner signs: this body, to this inviter.
func signed(inviter, joiner key.ID, body []byte) receipt.Request {
	return receipt.Request{Method: http.MethodPost, Path: Path, Worker: inviter, Requester: joiner, BodyHash: sha256.Sum256(body)}
}

func (a *Applicant) read(body []byte) error {
	var in application
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&in); err != nil {
		return err
	}
	secret, err := hex.DecodeString(in.Secret)
	switch {
	case in.Version != wireVersion:
		return fmt.Errorf("version %d is unknown; this program speaks %d", in.Version, wireVersion)
	case err != nil || len(secret) != len(a.Secret):
		return errors.New("the secret is not 32 hex digits")
	case len(in.Addresses) > invitation.MaxAddresses:
		return fmt.Errorf("more than %d addresses", invitation.MaxAddresses)
	}
	for _, address := range in.Addresses {
		if err := invitation.CheckAddress(address); err != nil {
			return err
		}
	}
	a.Secret, a.Addresses = invitation.Secret(secret), in.Addresses
	a.Label, err = cleanLabel(in.Label)
	return err
}

// cleanLabel refuses what is no name on one line.
func cleanLabel(label string) (string, error) {
	if len(label) > maxLabel || !utf8.ValidString(label) || strings.ContainsFunc(label, func(r rune) bool { return r < ' ' || r >= 0x7F && r < 0xA0 }) {
		return "", fmt.Errorf("a label has at most %d bytes on one line", maxLabel)
	}
	return strings.TrimSpace(label), nil
}

func refusal(status int, code, format string, args ...any) *openai.Error {
	return &openai.Error{Status: status, Type: "join_error", Code: code, Message: fmt.Sprintf(format, args...)}
}

const (
	attemptWindow = time.Minute
	maxAttempts   = 10   // that may fail from one address within the window
	maxStrangers  = 4096 // addresses that are counted apart; beyond, all newcomers share one count
)

// attempts counts failures by address within a window. The zero value is ready.
type attempts struct {
	mu     sync.Mutex
	since  time.Time          // guarded by mu
	counts map[netip.Addr]int // guarded by mu
}

func (t *attempts) allowed(from netip.Addr, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roll(now)
	return t.counts[t.slot(from)] < maxAttempts
}

func (t *attempts) failed(from netip.Addr, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roll(now)
	t.counts[t.slot(from)]++
}

func (t *attempts) roll(now time.Time) {
	if t.counts == nil || now.Sub(t.since) >= attemptWindow {
		t.since, t.counts = now, map[netip.Addr]int{}
	}
}

// slot is the address that from is counted under. Whoever has an IPv6 address
// has the 2^64 of its network.
func (t *attempts) slot(from netip.Addr) netip.Addr {
	if from.Is6() {
		if network, err := from.Prefix(64); err == nil {
			from = network.Addr()
		}
	}
	if _, known := t.counts[from]; !known && len(t.counts) >= maxStrangers {
		return netip.Addr{}
	}
	return from
}
