package invite

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"lobstah/invitation"
	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

const (
	connectTimeout = 4 * time.Second
	joinTimeout    = 20 * time.Second
	maxWelcome     = 64 << 10
)

// An Offer is what the joiner says of itself.
type Offer struct {
	Label     string
	Addresses []string // host:port where it lends, the best first; none when it does not
}

// Join takes an invitation for the machine whose pair this is. It tries the
// addresses in order and returns the one that answered. The secret goes to
// nobody but who proves the inviter's key. A [*invitation.Refusal] is the inviter's own
// answer; any other error means that no address led to it.
func Join(ctx context.Context, v invitation.Invitation, pair key.Pair, offer Offer) (w Welcome, address string, err error) {
	transport := &http.Transport{
		Proxy:               nil, // the connection is for one key, whatever the environment says
		DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSClientConfig:     key.PinnedTLS(v.Inviter),
		TLSHandshakeTimeout: connectTimeout,
		DisableKeepAlives:   true,
	}
	client := &http.Client{
		Transport: transport, Timeout: joinTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var errs []error
	for _, address := range v.Addresses {
		w, err := apply(ctx, client, address, v, pair, offer)
		if _, refused := errors.AsType[*invitation.Refusal](err); err == nil || refused {
			return w, address, err
		}
		errs = append(errs, fmt.Errorf("%s: %w", address, plain(err)))
		if ctx.Err() != nil {
			break
		}
	}
	return Welcome{}, "", errors.Join(errs...)
}

func apply(ctx context.Context, client *http.Client, address string, v invitation.Invitation, pair key.Pair, offer Offer) (w Welcome, err error) {
	body, err := json.Marshal(application{wireVersion, hex.EncodeToString(v.Secret[:]), offer.Label, offer.Addresses})
	if err != nil {
		return w, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+Path, bytes.NewReader(body))
	if err != nil {
		return w, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(receipt.RequesterHeader, pair.ID().String())
	request.Header.Set(receipt.SignatureHeader, signed(v.Inviter, pair.ID(), body).Sign(pair, time.Now()).String())
	response, err := client.Do(request)
	if err != nil {
		return w, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxWelcome))
	if err != nil {
		return w, err
	}
	if response.StatusCode != http.StatusOK {
		e := openai.ParseError(response.StatusCode, text)
		return w, &invitation.Refusal{Code: e.Code, Message: e.Message}
	}
	return readWelcome(text)
}

func readWelcome(text []byte) (w Welcome, err error) {
	if err = json.Unmarshal(text, &w); err == nil && w.Version != wireVersion {
		err = fmt.Errorf("version %d is unknown; update lobstah", w.Version)
	}
	if err == nil {
		w.Label, err = cleanLabel(w.Label)
	}
	if err != nil {
		return Welcome{}, &invitation.Refusal{Code: "bad_welcome", Message: "the inviter's answer: " + err.Error()}
	}
	return w, nil
}

// plain takes the request's line off an error, which says nothing new.
func plain(err error) error {
	if errors.Is(err, key.ErrNotPinned) {
		return errors.New("another machine answers there: it proved another key than the inviter's")
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
