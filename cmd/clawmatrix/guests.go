package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"lobstah/mesh"
	"lobstah/mesh/invite"
)

const (
	maxGuestBody  = 32 << 20
	maxGuestModel = 4 << 20 // bytes of the list of models
)

// lent serves models to guests: those that their credential names, and nothing
// else of h.
func (n *node) lent(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := n.credential(r)
		if err != nil {
			apiError(w, http.StatusForbidden, "guest_refused", err)
			return
		}
		n.mesh.KeepGuest(c.Guest, time.Unix(c.Expires, 0))
		switch {
		case r.Method == http.MethodGet && r.URL.Path == "/v1/models":
			listLent(w, r, h, c)
		case r.Method == http.MethodPost && slices.Contains([]string{"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"}, r.URL.Path):
			useLent(w, r, h, c)
		default:
			apiError(w, http.StatusNotFound, "not_lent", errors.New("guests may use models, and nothing else"))
		}
	})
}

// credential checks what a guest shows. Issuers are this node and those that it
// has verified.
func (n *node) credential(r *http.Request) (c invite.Credential, err error) {
	caller, err := mesh.Caller(r)
	if err != nil {
		return c, err
	}
	if c, err = invite.Open(r.Header.Get(invite.Header), caller, time.Now()); err != nil {
		return c, err
	}
	if c.Issuer != n.id.ID() && !n.state.pins(c.Issuer) {
		return c, fmt.Errorf("the credential is of %s, whom this node has not verified", c.Issuer.Short())
	}
	if n.mesh.Revoked(caller) || n.mesh.Revoked(c.Issuer) {
		return c, errors.New("the key was revoked")
	}
	return c, nil
}

// useLent passes a request on when its model is lent.
func useLent(w http.ResponseWriter, r *http.Request, h http.Handler, c invite.Credential) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxGuestBody))
	if err != nil {
		apiError(w, http.StatusRequestEntityTooLarge, "too_large", fmt.Errorf("the request is larger than %d bytes", maxGuestBody))
		return
	}
	model, err := modelOf(body)
	if err != nil {
		apiError(w, http.StatusBadRequest, "bad_request", fmt.Errorf("read the request: %w", err))
		return
	}
	if !c.Lends(model) {
		apiError(w, http.StatusForbidden, "model_not_lent", fmt.Errorf("the model %.128q was not lent to you", model))
		return
	}
	inner := r.Clone(r.Context())
	inner.Body, inner.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	inner.Header.Del(invite.Header)
	h.ServeHTTP(w, inner)
}

// modelOf reads the one member "model" of a request. A second one, in whatever
// case, is refused: the engine might take that.
func modelOf(body []byte) (model string, err error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if first, err := decoder.Token(); err != nil || first != json.Delim('{') {
		return "", errors.New("want a JSON object")
	}
	found := false
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return "", err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return "", err
		}
		if text, ok := name.(string); !ok || !strings.EqualFold(text, "model") {
			continue
		}
		if found || name != "model" {
			return "", errors.New("want the member \"model\" once")
		}
		found = true
		if err := json.Unmarshal(value, &model); err != nil {
			return "", err
		}
	}
	if !found {
		return "", errors.New("the member \"model\" is missing")
	}
	return model, nil
}

// listLent answers with those models of h's list that are lent.
func listLent(w http.ResponseWriter, r *http.Request, h http.Handler, c invite.Credential) {
	page := &kept{header: http.Header{}, status: http.StatusOK}
	h.ServeHTTP(page, r)
	var list struct {
		Object string            `json:"object"`
		Data   []json.RawMessage `json:"data"`
	}
	if page.status != http.StatusOK || json.Unmarshal(page.Bytes(), &list) != nil {
		apiError(w, http.StatusBadGateway, "no_models", errors.New("this node's models cannot be listed now"))
		return
	}
	list.Data = slices.DeleteFunc(list.Data, func(raw json.RawMessage) bool {
		var m struct {
			ID string `json:"id"`
		}
		return json.Unmarshal(raw, &m) != nil || !c.Lends(m.ID)
	})
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list) // a client that left needs no answer
}

// kept is a response that stays in memory, up to a limit.
type kept struct {
	bytes.Buffer
	header http.Header
	status int
}

func (k *kept) Header() http.Header    { return k.header }
func (k *kept) WriteHeader(status int) { k.status = status }

func (k *kept) Write(p []byte) (int, error) {
	if k.Len()+len(p) > maxGuestModel {
		return 0, errors.New("the list of models is too long")
	}
	return k.Buffer.Write(p)
}

// apiError answers in the shape of OpenAI's errors.
func apiError(w http.ResponseWriter, status int, code string, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": err.Error(), "type": "invalid_request_error", "param": nil, "code": code}})
}
