package link

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lobstah/key"
)

func TestTraceNamesTheStepThatFails(t *testing.T) {
	t.Parallel()
	good := listen(t, testIdentity(t, 1, strongText), false, 0)
	secure := listen(t, testIdentity(t, 1, strongText), true, 0)
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	near, _ := connected(t) // nobody listens where a connection comes from, nor can while it lasts
	dial := new(net.Dialer).DialContext
	at := func(url string) string { return "ws" + strings.TrimPrefix(url, "http") }
	id := func(n byte) key.ID { return testIdentity(t, n, strongText).Pair.ID() }
	for name, test := range map[string]struct {
		url    string
		pin    key.ID
		secret string
		admit  func(key.ID) error
		failed Step
	}{
		"all is well":     {good.url(), id(1), strongText, nil, ""},
		"and with TLS":    {secure.url(), id(1), strongText, nil, ""},
		"no URL":          {"http://h", key.ID{}, strongText, nil, StepURL},
		"no such name":    {"ws://no..such.name", key.ID{}, strongText, nil, StepDNS}, // and nobody is asked for it
		"nobody listens":  {"ws://" + near.LocalAddr().String(), key.ID{}, strongText, nil, StepTCP},
		"no TLS there":    {"wss" + strings.TrimPrefix(good.url(), "ws"), key.ID{}, strongText, nil, StepTLS},
		"another program": {at(plain.URL), key.ID{}, strongText, nil, StepWebSocket},
		"another key":     {good.url(), id(3), strongText, nil, StepKey},
		"revoked here":    {good.url(), id(1), strongText, func(key.ID) error { return errors.New("revoked") }, StepKey},
		"another secret":  {good.url(), id(1), "another secret", nil, StepSecret},
		"weak secret":     {good.url(), key.ID{}, "hunter2", nil, StepSecret},
	} {
		d := Dialer{Identity: testIdentity(t, 2, test.secret), Admit: test.admit, DialContext: dial} // by no proxy of the environment
		found := d.Trace(t.Context(), test.url, test.pin)
		last := found[len(found)-1]
		if test.failed == "" && (last.Step != StepSecret || last.Err != nil) || test.failed != "" && (last.Step != test.failed || last.Err == nil) {
			t.Errorf("%s: ended with %+v; want a failure of %q", name, last, test.failed)
		}
		for _, f := range found[:len(found)-1] {
			if f.Note == "" {
				t.Errorf("%s: nothing is told of the step %s", name, f.Step)
			}
			if f.Err != nil {
				t.Errorf("%s: went on after %+v", name, f)
			}
		}
	}
}
