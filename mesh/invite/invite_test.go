package invite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lobstah/invitation"
	"lobstah/key"
)

var (
	host   = key.FromSeed([32]byte{1})
	joiner = key.FromSeed([32]byte{2})
	now    = time.Unix(1_800_000_000, 0)
)

// through is a connection of the joiner's to a door.
type through struct{ *Door }

func (d through) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result(), nil
}

func door(admit func(Applicant) (Welcome, error)) through {
	caller := func(*http.Request) (key.ID, error) { return joiner.ID(), nil }
	return through{NewDoor(caller, func(_ context.Context, a Applicant) (Welcome, error) { return admit(a) }, slog.New(slog.DiscardHandler))}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	v := invitation.Invitation{Inviter: host.ID(), Secret: invitation.Secret{7}}
	var got Applicant
	w, err := Join(t.Context(), door(func(a Applicant) (Welcome, error) {
		got = a
		return Welcome{Node: "cloud-01", Secrets: []string{"s"}}, nil
	}), v, "home-01")
	if err != nil || w.Node != "cloud-01" || len(w.Secrets) != 1 {
		t.Errorf("welcome %+v, %v", w, err)
	}
	if want := (Applicant{joiner.ID(), "home-01", v.Secret}); got != want {
		t.Errorf("the door saw %+v; want %+v", got, want)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	refusal := &invitation.Refusal{Code: "invitation_used", Message: "it was used"}
	for name, test := range map[string]struct {
		admit func(Applicant) (Welcome, error)
		node  string
		want  string
	}{
		"used":     {func(Applicant) (Welcome, error) { return Welcome{}, refusal }, "a", "it was used"},
		"failure":  {func(Applicant) (Welcome, error) { return Welcome{}, errors.New("the disk of secrets is full") }, "a", "its log says why"},
		"bad name": {nil, "a b", "is no name of a node"},
		"no name":  {func(Applicant) (Welcome, error) { return Welcome{Secrets: []string{"s"}}, nil }, "a", "it has no name"},
		"nothing":  {func(Applicant) (Welcome, error) { return Welcome{Node: "n"}, nil }, "a", "want either secrets"},
		"both": {func(Applicant) (Welcome, error) {
			return Welcome{Node: "n", Secrets: []string{"s"}, Credential: "c"}, nil
		}, "a", "want either secrets"},
		"many secrets": {func(Applicant) (Welcome, error) { return Welcome{Node: "n", Secrets: make([]string, 5)}, nil }, "a", "want either secrets"},
	} {
		_, err := Join(t.Context(), door(test.admit), invitation.Invitation{}, test.node)
		if _, ok := errors.AsType[*invitation.Refusal](err); !ok || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "disk") {
			t.Errorf("%s: %v; want %q", name, err, test.want)
		}
	}
}

func TestDoorReadsOnlyWhatItKnows(t *testing.T) {
	t.Parallel()
	d := door(func(Applicant) (Welcome, error) {
		t.Error("admitted")
		return Welcome{}, nil
	})
	for _, body := range []string{
		"", "{", "[]", `{"version":2,"secret":"00000000000000000000000000000000","node":"a"}`,
		`{"version":1,"secret":"00","node":"a"}`, `{"version":1,"secret":"zz000000000000000000000000000000","node":"a"}`,
		`{"version":1,"node":"` + strings.Repeat("a", maxBody) + `"}`,
	} {
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest(http.MethodPost, Path, strings.NewReader(body)))
		if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "bad_join") {
			t.Errorf("%.60q: %d %s", body, w.Code, w.Body)
		}
	}
}

func TestAttemptsAreLimited(t *testing.T) {
	t.Parallel()
	tried := 0
	d := door(func(Applicant) (Welcome, error) { tried++; return Welcome{}, invitation.ErrUnknown })
	for range 3 * attemptBurst {
		_, err := Join(t.Context(), d, invitation.Invitation{}, "a")
		if refusal, ok := errors.AsType[*invitation.Refusal](err); ok && refusal.Code == "too_many_attempts" {
			return
		}
	}
	t.Errorf("%d attempts in a moment were looked at", tried)
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	text, err := Credential{Guest: joiner.ID(), Models: []string{"m"}, Expires: now.Add(time.Hour).Unix()}.Sign(host)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(text, joiner.ID(), now)
	if err != nil || c.Issuer != host.ID() || !c.Lends("m") || c.Lends("n") {
		t.Errorf("%+v, %v", c, err)
	}
	if !(Credential{}).Lends("anything") {
		t.Error("no model named is all of them")
	}
	forged, err := Credential{Guest: joiner.ID(), Expires: now.Add(time.Hour).Unix()}.Sign(joiner)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := Open(forged, joiner.ID(), now); err != nil || c.Issuer != joiner.ID() {
		t.Errorf("one that a guest signed itself: %+v, %v; want its own key as the issuer", c, err)
	}
	for name, test := range map[string]struct {
		text   string
		holder key.ID
		at     time.Time
		want   string
	}{
		"none":    {"", joiner.ID(), now, "shows a credential"},
		"noise":   {"abc", joiner.ID(), now, "no credential"},
		"stolen":  {text, host.ID(), now, "is for"},
		"late":    {text, joiner.ID(), now.Add(time.Hour), "ended at"},
		"altered": {text[:len(text)-6] + "AAAAAA", joiner.ID(), now, ""},
		"long":    {strings.Repeat("A", maxCredential+1), joiner.ID(), now, "no credential"},
	} {
		if c, err := Open(test.text, test.holder, test.at); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %+v, %v; want %q", name, c, err, test.want)
		}
	}
}

func TestSecretsStayOutOfText(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		if text := fmt.Sprintf(verb, Welcome{Node: "n", Secrets: []string{"hunter2"}}); strings.Contains(text, "hunter2") {
			t.Errorf("%s shows the secret: %s", verb, text)
		}
	}
}

func FuzzOpen(f *testing.F) {
	text, err := Credential{Guest: joiner.ID(), Expires: now.Unix() + 1}.Sign(host)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, changed string) {
		if c, err := Open(changed, joiner.ID(), now); err == nil && c.Issuer == host.ID() && changed != text {
			t.Errorf("%q passes for %q", changed, text)
		}
	})
}

func FuzzWelcome(f *testing.F) {
	f.Add(`{"version":1,"node":"a","secrets":["s"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if w, err := readWelcome([]byte(text)); err == nil && (w.Node == "" || len(w.Secrets) == 0 && w.Credential == "") {
			t.Errorf("%q reads as %+v", text, w)
		}
	})
}

func FuzzApplication(f *testing.F) {
	f.Add(`{"version":1,"secret":"00000000000000000000000000000000","node":"a"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var a Applicant
		if err := a.read([]byte(text)); err == nil && a.Node == "" {
			t.Errorf("%q reads as %+v", text, a)
		}
	})
}
