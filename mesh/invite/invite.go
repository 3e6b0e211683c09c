// Package invite brings an invitation (package invitation) from one node to
// another: [Door] is the inviter's route, [Join] the call of the one who was
// invited. Whoever is let in gets the secret of the mesh, or, as a guest, a
// [Credential] that lends models and nothing else.
//
// Both run over a guest's connection (mesh.Visitor), which has proven both keys:
// the one-time secret goes to the inviter and nobody else, and what the inviter
// answers to the joiner alone. cmd/ imports it; what is done with who comes is
// decided by who mounts the door. Hostile are whatever comes through it, and the
// welcome of an inviter: each is capped and checked before it is believed.
package invite

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"lobstah/invitation"
	"lobstah/key"
	"lobstah/mesh/link"
	"lobstah/mesh/member"
)

// Path is where a [Door] is mounted.
const Path = "/mesh/v1/join"

const (
	wireVersion = 1
	maxBody     = 16 << 10
	maxWelcome  = 64 << 10
)

// An application is the body of a request.
type application struct {
	Version int    `json:"version"`
	Secret  string `json:"secret"` // 32 hex digits
	Node    string `json:"node"`   // what the joiner is called
}

// An Applicant has proven its key and shown a secret; whether that opens anything
// is for [invitation.Redeem] to say.
type Applicant struct {
	ID     key.ID
	Node   string
	Secret invitation.Secret
}

// A Welcome is what the inviter answers.
type Welcome struct {
	Version    int       `json:"version"`
	Node       string    `json:"node"`                 // the inviter
	Secrets    []string  `json:"secrets,omitempty"`    // of the mesh, the newest first; none for guests
	Credential string    `json:"credential,omitempty"` // of a guest
	Models     []string  `json:"models,omitempty"`     // of a guest; none named means all
	Expires    time.Time `json:"expires,omitzero"`     // when a guest has to leave
	Again      bool      `json:"again,omitempty"`      // it had joined before
}

// String keeps the secrets out of texts.
func (w Welcome) String() string { return "welcome to " + w.Node }

// GoString does for %#v what String does for the others.
func (w Welcome) GoString() string { return w.String() }

// Attempts that a door looks at, whoever makes them: keys are free, so they cannot
// be counted by key, and each attempt costs a look at a file.
const (
	attemptsPerSec = 20
	attemptBurst   = 60
)

// A Door answers those who come by an invitation. Make it with [NewDoor].
type Door struct {
	caller   func(*http.Request) (key.ID, error)
	admit    func(context.Context, Applicant) (Welcome, error)
	log      *slog.Logger
	attempts *rate.Limiter
}

// NewDoor makes a door. caller tells whose key a connection has proven; an
// [*invitation.Refusal] of admit is told to the applicant, other errors are logged.
func NewDoor(caller func(*http.Request) (key.ID, error), admit func(context.Context, Applicant) (Welcome, error), log *slog.Logger) *Door {
	return &Door{caller, admit, log, rate.NewLimiter(attemptsPerSec, attemptBurst)}
}

// ServeHTTP implements [http.Handler].
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	welcome, err := d.answer(w, r)
	w.Header().Set("Content-Type", "application/json")
	if errors.Is(err, errBusy) {
		tell(w, http.StatusTooManyRequests, &invitation.Refusal{Code: "too_many_attempts", Message: err.Error()})
		return
	}
	if err == nil {
		_ = json.NewEncoder(w).Encode(welcome) // a client that left needs no answer
		return
	}
	refusal, ok := errors.AsType[*invitation.Refusal](err)
	status := http.StatusForbidden
	if !ok {
		d.log.Error("cannot let a node in that was invited", "err", err)
		refusal = &invitation.Refusal{Code: "join_failed", Message: "the inviter could not write it down; its log says why"}
		status = http.StatusInternalServerError
	}
	tell(w, status, refusal)
}

var errBusy = errors.New("many try to join now: try again in a moment")

func tell(w http.ResponseWriter, status int, why *invitation.Refusal) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"code": why.Code, "message": why.Message}}) // a client that left needs no answer
}

func (d *Door) answer(w http.ResponseWriter, r *http.Request) (welcome Welcome, err error) {
	var a Applicant
	if !d.attempts.Allow() {
		return welcome, errBusy
	}
	if a.ID, err = d.caller(r); err != nil {
		return welcome, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		err = a.read(body)
	}
	if err != nil {
		return welcome, &invitation.Refusal{Code: "bad_join", Message: "the request's body: " + err.Error()}
	}
	welcome, err = d.admit(r.Context(), a)
	welcome.Version = wireVersion
	return welcome, err
}

func (a *Applicant) read(body []byte) error {
	var in application
	if err := json.Unmarshal(body, &in); err != nil {
		return err
	}
	secret, err := hex.DecodeString(in.Secret)
	switch {
	case in.Version != wireVersion:
		return fmt.Errorf("version %d is unknown; this program speaks %d", in.Version, wireVersion)
	case err != nil || len(secret) != len(a.Secret):
		return errors.New("the secret is not 32 hex digits")
	case !member.ValidName(in.Node):
		return fmt.Errorf("%.80q is no name of a node", in.Node)
	}
	a.Secret, a.Node = invitation.Secret(secret), in.Node
	return nil
}

// Join takes an invitation for the node of this name. A [*invitation.Refusal] is
// the inviter's own answer; any other error means that it was not reached.
func Join(ctx context.Context, host http.RoundTripper, v invitation.Invitation, node string) (w Welcome, err error) {
	body, err := json.Marshal(application{wireVersion, hex.EncodeToString(v.Secret[:]), node})
	if err != nil {
		return w, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://inviter"+Path, bytes.NewReader(body))
	if err != nil {
		return w, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := host.RoundTrip(request)
	if err != nil {
		return w, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxWelcome))
	if err != nil {
		return w, err
	}
	if response.StatusCode != http.StatusOK {
		return w, refused(response.Status, text)
	}
	return readWelcome(text)
}

func refused(status string, text []byte) error {
	var answer struct {
		Error struct{ Code, Message string }
	}
	if json.Unmarshal(text, &answer) != nil || answer.Error.Message == "" {
		return fmt.Errorf("the node answered %s: it may be of another version", status)
	}
	return &invitation.Refusal{Code: answer.Error.Code, Message: answer.Error.Message}
}

func readWelcome(text []byte) (w Welcome, err error) {
	err = json.Unmarshal(text, &w)
	switch {
	case err != nil:
	case w.Version != wireVersion:
		err = fmt.Errorf("version %d is unknown; update the program", w.Version)
	case !member.ValidName(w.Node):
		err = errors.New("it has no name")
	case len(w.Secrets) > link.MaxSecrets || (len(w.Secrets) == 0) == (w.Credential == ""):
		err = errors.New("want either secrets or a credential")
	}
	if err != nil {
		return Welcome{}, &invitation.Refusal{Code: "bad_welcome", Message: "the inviter's answer: " + err.Error()}
	}
	return w, nil
}
