package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lobstah/grid"
	"lobstah/grid/channel"
	"lobstah/internal/cli"
	"lobstah/key"
	"lobstah/openai"
	"lobstah/receipt"
)

// examine goes the whole way to a peer and stops where it fails.
func (c *doctorCommand) examine(ctx context.Context, a *app, p grid.Peer) *examined {
	e := &examined{Name: p.Name(), URL: p.URL, Origin: string(p.Origin)}
	if p.ID.IsZero() {
		e.Name = ""
		var ok bool
		if p, ok = c.meet(ctx, e, p); !ok {
			return e
		}
	}
	e.Pubkey = p.ID.String()
	id, err := key.Load(a.home.Identity)
	if err != nil {
		e.fail("key", "this machine has no key with which it could ask", "lobstah keygen makes one")
		return e
	}
	v := &visit{examined: e, peer: p, pair: id.Pair, patience: c.Timeout}
	defer v.transport.Close()
	v.transport.ConnectTimeout = c.Timeout
	v.run(ctx)
	return e
}

// meet learns who answers at an address that is no peer's.
func (c *doctorCommand) meet(ctx context.Context, e *examined, p grid.Peer) (grid.Peer, bool) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	u, err := url.Parse(p.URL)
	if err != nil {
		e.fail("url", err.Error(), "")
		return p, false
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		step := channel.Error{Step: channel.StepTCP}
		if _, ok := errors.AsType[*net.DNSError](err); ok {
			step.Step = channel.StepDNS
		}
		e.fail(string(step.Step), err.Error(), step.Hint())
		return p, false
	}
	defer conn.Close()
	secure := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}) // the key that it proves is all there is to see
	if err := secure.HandshakeContext(ctx); err != nil {
		e.fail("tls", "something listens there that speaks no TLS 1.3: "+err.Error(), plainHint(ctx, u.Host))
		return p, false
	}
	if p.ID, err = key.PeerID(secure.ConnectionState()); err != nil {
		e.fail("key", "what answers there proves no key of lobstah's", "is the port right? lobstah up and lobstah worker start say which it is")
		return p, false
	}
	e.note("key", "no peer of this machine; it proves the key "+p.ID.String(), "if its owner sees the same with lobstah id: lobstah peers add "+p.ID.String()+" "+u.Host)
	return p, true
}

// plainHint says what answers HTTP at a place that speaks no TLS.
func plainHint(ctx context.Context, host string) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/", nil)
	if err != nil {
		return ""
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(r)
	if err != nil {
		return "is the port right? lobstah up and lobstah worker start say which it is"
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 200)) // what came is what there is to tell
	switch {
	case strings.HasPrefix(string(text), "lobstah-tracker"):
		return "that is a tracker: lobstah peers sync http://" + host
	case strings.HasPrefix(string(text), "lobstah-router"):
		return "that is a router; the worker's port is another one, by default 17474"
	case strings.HasPrefix(string(text), "lobstah-worker"):
		return "that is a worker without TLS, such as the original's: lobstah peers add --insecure KEY http://" + host
	}
	return "is the port right? lobstah up and lobstah worker start say which it is"
}

// A visit is one peer being looked at.
type visit struct {
	*examined
	peer      grid.Peer
	pair      key.Pair
	patience  time.Duration
	transport channel.Transport
}

// onTheWay are the steps of a connection, and what it means that each is well.
var onTheWay = []struct {
	step channel.Step
	well string
}{
	{channel.StepURL, "the address can be read"},
	{channel.StepDNS, "its name leads somewhere"},
	{channel.StepAddress, "a peer may be there"},
	{channel.StepTCP, "something listens there"},
	{channel.StepTLS, "it speaks TLS 1.3"},
	{channel.StepKey, "it proves the key that it is known by"},
}

func (v *visit) run(ctx context.Context) {
	response, body, err := v.ask(ctx, http.MethodGet, "/capacity", nil)
	if !v.arrived(err) {
		return
	}
	if !v.onTime(response, body) || !v.tells(response, body) {
		return
	}
	v.lets(ctx)
}

// ask sends a signed request.
func (v *visit) ask(ctx context.Context, method, path string, body []byte) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*v.patience) // to connect, and to answer
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(v.peer.URL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, &channel.Error{Step: channel.StepURL, Peer: v.peer, Err: err}
	}
	request := receipt.Request{Method: method, Path: path, Worker: v.peer.ID, Requester: v.pair.ID(), BodyHash: sha256.Sum256(body)}
	r.Header.Set(receipt.RequesterHeader, v.pair.ID().String())
	r.Header.Set(receipt.SignatureHeader, request.Sign(v.pair, time.Now()).String())
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := v.transport.RoundTripper(v.peer).RoundTrip(r)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, grid.MaxCapacityBytes))
	return response, text, err
}

// arrived notes how far the connection came.
func (v *visit) arrived(err error) bool {
	e, onWay := errors.AsType[*channel.Error](err)
	var passed []string
	for _, stage := range onTheWay {
		if onWay && e.Step == stage.step {
			if len(passed) > 0 {
				v.ok("so far", strings.Join(passed, ", "))
			}
			v.fail(string(e.Step), cause(e).Error(), e.Hint())
			return false
		}
		passed = append(passed, stage.well)
	}
	if err != nil {
		v.fail("answer", "it takes connections and does not answer: "+err.Error(), "is it very busy, or asleep? Its owner sees more with: lobstah status")
		return false
	}
	v.ok("reached", "name, connection, TLS and key are as they should be")
	return true
}

func cause(err *channel.Error) error {
	if err.Err != nil {
		return err.Err
	}
	return err
}

// onTime compares the clocks, by what the worker tells of its own.
func (v *visit) onTime(response *http.Response, body []byte) bool {
	its, ok := itsClock(response, body)
	if !ok {
		return true // programs of the original tell none
	}
	v.skew = time.Until(its)
	switch far := v.skew.Abs(); {
	case far > receipt.Window:
		v.fail("clock", fmt.Sprintf("its clock is %s %s this machine's; requests are refused beyond %s", cli.Duration(far), aheadOrBehind(v.skew), cli.Duration(receipt.Window)),
			"set the clock of the machine that is wrong (timedatectl set-ntp true)")
		return false
	case far > clockTolerance:
		v.note("clock", fmt.Sprintf("its clock is %s %s this machine's; beyond %s requests are refused", cli.Duration(far), aheadOrBehind(v.skew), cli.Duration(receipt.Window)), "set the clock of the machine that is wrong (timedatectl set-ntp true)")
	default:
		v.ok("clock", "agrees within "+cli.Duration(max(far, time.Second)))
	}
	return true
}

func itsClock(response *http.Response, body []byte) (time.Time, bool) {
	if ms, err := strconv.ParseInt(response.Header.Get(grid.TimeHeader), 10, 64); err == nil {
		return time.UnixMilli(ms), true
	}
	var c struct{ Now int64 }
	if json.Unmarshal(body, &c) == nil && c.Now > 0 {
		return time.UnixMilli(c.Now), true
	}
	if at, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		return at, true
	}
	return time.Time{}, false
}

// tells notes what the peer says it has.
func (v *visit) tells(response *http.Response, body []byte) bool {
	if response.StatusCode != http.StatusOK {
		v.refused(response.StatusCode, openai.ParseError(response.StatusCode, body))
		return false
	}
	var c grid.Capacity
	err := json.Unmarshal(body, &c)
	if err == nil {
		err = c.Validate(v.peer.ID)
	}
	if err != nil {
		v.fail("worker", "what answers there is no worker: "+err.Error(), "is the port right? lobstah up and lobstah worker start say which it is")
		return false
	}
	if len(c.Models) == 0 {
		v.fail("models", "it has none", "its owner starts an engine with a model; lobstah status there says which engines it sees")
		return false
	}
	v.ok("models", shortList(c.Models))
	busy := fmt.Sprintf("%d of %d places taken, %d waiting", c.Running, max(c.Concurrency, 1), c.QueueDepth)
	if c.MaxQueue > 0 && c.QueueDepth >= c.MaxQueue {
		v.note("load", busy+": its queue is full", "it takes more when some are answered; its owner may raise --concurrency or --queue")
	} else {
		v.ok("load", busy)
	}
	return true
}

// noSuchModel is asked for to see whether a question would be let in: nothing
// is run for it.
const noSuchModel = "lobstah-doctor-asks-whether-it-may"

// lets notes whether the peer would answer this machine.
func (v *visit) lets(ctx context.Context) {
	response, body, err := v.ask(ctx, http.MethodPost, "/v1/chat/completions", []byte(`{"model":"`+noSuchModel+`","messages":[{"role":"user","content":"may I?"}]}`))
	if err != nil {
		v.fail("answer", err.Error(), "")
		return
	}
	e := openai.ParseError(response.StatusCode, body)
	switch response.StatusCode {
	case http.StatusNotFound, http.StatusBadGateway: // the original's engines say so
		v.ok("allowed", "it answers this machine")
	case http.StatusPaymentRequired:
		v.fail("credit", e.Message, "serve it in return, or ask its owner to raise the limit (--credit)")
	default:
		v.refused(response.StatusCode, e)
	}
}

// refused explains a refusal by its status and code.
func (v *visit) refused(status int, e *openai.Error) {
	own := v.pair.ID().String()
	switch {
	case status == http.StatusForbidden && e.Code == "model_not_allowed":
		v.ok("allowed", "it answers this machine, as a guest")
	case status == http.StatusForbidden:
		grade := checkFail
		if !v.peer.Origin.Trusted() {
			grade = checkNote // most strangers serve their friends only
		}
		v.add(grade, "allowed", "it does not serve this machine: "+e.Message, "its owner types: lobstah allow "+own+"\nor invites this machine: lobstah invite")
	case status == http.StatusUnauthorized && e.Code == "stale_signature":
		v.fail("clock", e.Message, "set the clock of the machine that is wrong (timedatectl set-ntp true)")
	case status == http.StatusUnauthorized:
		v.fail("signature", e.Message, "update the older of both programs; lobstah version tells")
	case status == http.StatusTooManyRequests:
		v.note("load", e.Message, "it takes more when some are answered")
	case status == http.StatusServiceUnavailable || status == http.StatusInternalServerError:
		v.fail("engine", e.Message, "its owner looks with: lobstah doctor")
	default:
		v.fail("answer", fmt.Sprintf("status %d: %s", status, e.Message), "is that a worker? lobstah up and lobstah worker start say at which port it is")
	}
}
