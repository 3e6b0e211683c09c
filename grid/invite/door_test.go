package invite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lobstah/internal/dualport"
	"lobstah/internal/testport"
	"lobstah/invitation"
	"lobstah/key"
	"lobstah/receipt"
)

var (
	inviter = key.FromSeed([32]byte{0x11})
	joiner  = key.FromSeed([32]byte{0x22})
	secret  = invitation.Secret{0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33}
	expires = time.Unix(1_800_000_000, 0).UTC()
	made    = time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)
)

func code(err error) string {
	if refusal, ok := errors.AsType[*invitation.Refusal](err); ok {
		return refusal.Code
	}
	return ""
}

// serveDoor serves a door behind TLS of pair's, and tells its address.
func serveDoor(t *testing.T, pair key.Pair, admit func(context.Context, Applicant) (Welcome, error)) string {
	t.Helper()
	config, err := pair.ServerTLS()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(&Door{Self: pair.ID(), Admit: admit, Log: slog.New(slog.DiscardHandler)})
	server.Listener.Close()
	server.Listener = dualport.Listen(l, config)
	server.Start()
	t.Cleanup(server.Close)
	return l.Addr().String()
}

func to(addresses ...string) invitation.Invitation {
	return invitation.Invitation{Inviter: inviter.ID(), Secret: secret, Expires: expires, Addresses: addresses}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	var got Applicant
	good := serveDoor(t, inviter, func(_ context.Context, a Applicant) (Welcome, error) {
		got = a
		return Welcome{Label: "Ann", Guest: true, Models: []string{"m"}}, nil
	})
	// What comes before the right address: nobody, and somebody else.
	var thefts atomic.Int32
	thief := serveDoor(t, joiner, func(context.Context, Applicant) (Welcome, error) {
		thefts.Add(1)
		return Welcome{}, nil
	})
	closed := "127.0.0.1:" + testport.Free()
	w, address, err := Join(t.Context(), to(closed, thief, good), joiner, Offer{"Ben", []string{"192.0.2.1:17474"}})
	if err != nil || address != good || w.Label != "Ann" || !w.Guest {
		t.Fatalf("%+v at %s, %v; want Ann's welcome at %s", w, address, err, good)
	}
	if got.ID != joiner.ID() || got.Secret != secret || got.Label != "Ben" || len(got.Addresses) != 1 || !got.From.IsLoopback() {
		t.Errorf("the door saw %+v", got)
	}
	_, _, err = Join(t.Context(), to(closed, thief), joiner, Offer{})
	if err == nil || !strings.Contains(err.Error(), "another machine answers there") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v; want both reasons", err)
	}
	if thefts.Load() != 0 {
		t.Error("the secret went to another key")
	}
}

func TestRefusalsAreTold(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"used":    {&invitation.Refusal{Code: "invitation_used", Message: "it was used"}, "invitation_used"},
		"unknown": {invitation.ErrUnknown, "invitation_unknown"},
		"failure": {errors.New("disk of secrets full"), "join_failed"},
	} {
		at := serveDoor(t, inviter, func(context.Context, Applicant) (Welcome, error) { return Welcome{}, tt.err })
		_, _, err := Join(t.Context(), to(at), joiner, Offer{})
		if code(err) != tt.want || strings.Contains(err.Error(), "disk") {
			t.Errorf("%s: %v; want %s", name, err, tt.want)
		}
	}
}

func post(t *testing.T, at string, change func(*http.Request), body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+at+Path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(receipt.RequesterHeader, joiner.ID().String())
	r.Header.Set(receipt.SignatureHeader, signed(inviter.ID(), joiner.ID(), []byte(body)).Sign(joiner, time.Now()).String())
	if change != nil {
		change(r)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: key.PinnedTLS(inviter.ID()), DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var e struct{ Error struct{ Code string } }
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return response.StatusCode, e.Error.Code
}

const goodBody = `{"version":1,"secret":"33333333333333333333333333333333"}`

func TestDoorRefuses(t *testing.T) {
	t.Parallel()
	sign := func(id key.ID, pair key.Pair, at time.Time) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set(receipt.SignatureHeader, signed(id, pair.ID(), []byte(goodBody)).Sign(pair, at).String())
		}
	}
	for name, tt := range map[string]struct {
		body   string
		change func(*http.Request)
		status int
		code   string
	}{
		"good":                {goodBody, nil, 200, ""},
		"unsigned":            {goodBody, func(r *http.Request) { r.Header.Del(receipt.SignatureHeader) }, 401, "bad_signature"},
		"signed by another":   {goodBody, sign(inviter.ID(), inviter, time.Now()), 401, "bad_signature"},
		"for another inviter": {goodBody, sign(joiner.ID(), joiner, time.Now()), 401, "bad_signature"},
		"long ago":            {goodBody, sign(inviter.ID(), joiner, time.Now().Add(-time.Hour)), 401, "bad_signature"},
		"another body":        {goodBody + " ", sign(inviter.ID(), joiner, time.Now()), 401, "bad_signature"},
		"no JSON":             {"{", nil, 400, "bad_join"},
		"short secret":        {`{"version":1,"secret":"33"}`, nil, 400, "bad_join"},
		"version 2":           {strings.Replace(goodBody, "1", "2", 1), nil, 400, "bad_join"},
		"two lines of label":  {strings.Replace(goodBody, "{", `{"label":"a\nb",`, 1), nil, 400, "bad_join"},
		"terminal codes":      {strings.Replace(goodBody, "{", `{"label":"\u009b31m",`, 1), nil, 400, "bad_join"},
		"address":             {strings.Replace(goodBody, "{", `{"addresses":["x"],`, 1), nil, 400, "bad_join"},
		"too many addresses":  {strings.Replace(goodBody, "{", `{"addresses":["a:1","a:1","a:1","a:1","a:1","a:1","a:1","a:1","a:1"],`, 1), nil, 400, "bad_join"},
		"too large":           {goodBody + strings.Repeat(" ", maxBody), nil, 400, "bad_join"},
		"a GET":               {"", func(r *http.Request) { r.Method = http.MethodGet }, 405, "method_not_allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := serveDoor(t, inviter, func(context.Context, Applicant) (Welcome, error) { return Welcome{}, nil })
			if status, code := post(t, at, tt.change, tt.body); status != tt.status || code != tt.code {
				t.Errorf("%d %s; want %d %s", status, code, tt.status, tt.code)
			}
		})
	}
}

func TestDoorSpeaksTLSOnly(t *testing.T) {
	t.Parallel()
	at := serveDoor(t, inviter, func(context.Context, Applicant) (Welcome, error) {
		t.Error("let somebody in")
		return Welcome{}, nil
	})
	response, err := http.Post("http://"+at+Path, "application/json", bytes.NewReader([]byte(goodBody)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("status %d; want 403", response.StatusCode)
	}
}

// Guessing is slow, and those who guess do not keep others out.
func TestAttemptsAreCounted(t *testing.T) {
	t.Parallel()
	at := serveDoor(t, inviter, func(context.Context, Applicant) (Welcome, error) { return Welcome{}, invitation.ErrUnknown })
	for range maxAttempts {
		if status, code := post(t, at, nil, goodBody); status != 403 || code != "invitation_unknown" {
			t.Fatalf("%d %s; want 403 %s", status, code, "invitation_unknown")
		}
	}
	if status, code := post(t, at, nil, goodBody); status != 429 || code != "too_many_attempts" {
		t.Errorf("%d %s; want 429", status, code)
	}
	var a attempts
	addr := netip.MustParseAddr
	for range maxAttempts {
		a.failed(addr("2001:db8::1"), made)
	}
	for text, want := range map[string]bool{"2001:db8::1": false, "2001:db8::ffff": false, "2001:db8:1::1": true, "192.0.2.1": true} {
		if got := a.allowed(addr(text), made); got != want {
			t.Errorf("%s is allowed: %v; want %v", text, got, want)
		}
	}
	if !a.allowed(addr("2001:db8::1"), made.Add(attemptWindow)) {
		t.Error("still refused after the window")
	}
	for i := range maxStrangers + 100 {
		a.failed(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), made.Add(attemptWindow))
	}
	if len(a.counts) > maxStrangers+1 {
		t.Errorf("%d addresses are remembered; want at most %d", len(a.counts), maxStrangers+1)
	}
}

func FuzzApplication(f *testing.F) {
	f.Add([]byte(goodBody))
	f.Add([]byte(`{"version":1,"secret":"33333333333333333333333333333333","label":"x","addresses":["192.0.2.1:1"]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var a Applicant
		if a.read(body) == nil && (len(a.Addresses) > invitation.MaxAddresses || len(a.Label) > maxLabel) {
			t.Errorf("%q: accepted %+v", body, a)
		}
	})
}

func FuzzWelcome(f *testing.F) {
	f.Add([]byte(`{"version":1,"label":"Ann","guest":true,"models":["m"],"expires":"2026-11-22T07:00:00Z"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if w, err := readWelcome(body); err == nil && len(w.Label) > maxLabel {
			t.Errorf("%q: accepted %+v", body, w)
		}
	})
}
