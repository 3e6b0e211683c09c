package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"lobstah/grid/allow"
	"lobstah/grid/discover"
	"lobstah/internal/cli"
	"lobstah/invitation"
	"lobstah/key"
)

// home looks at this machine: its files, what runs, and what it could run.
func (c *doctorCommand) home(ctx context.Context, a *app) *examined {
	e := &examined{Name: "this machine", URL: a.home.Dir}
	c.files(a, e)
	c.disk(a, e)
	c.ledger(ctx, a, e)
	if r, running := c.process(ctx, a, e); running {
		c.parts(ctx, e, r)
	} else if !e.failed() {
		c.ports(e)
		c.engines(ctx, a, e)
	}
	return e
}

const asIs = "the file was left as it is; correct the line, or move the file away"

// files reads everything that people may have written.
func (c *doctorCommand) files(a *app, e *examined) {
	id, err := key.Load(a.home.Identity)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.note("key", "none yet", "lobstah up makes one")
	case err != nil:
		e.fail("key", err.Error(), "put the file back from a backup, or move it away for a new identity")
	default:
		e.Pubkey = id.ID().String()
		e.ok("key", e.Pubkey)
		c.readable(a.home.Identity, e)
	}
	peers, err := discover.Read(a.home.Peers)
	if err != nil {
		e.fail("peers", err.Error(), asIs)
	}
	allowed, notAllowed := allow.Read(a.home.Allow)
	if notAllowed != nil {
		e.fail("allowed", notAllowed.Error(), asIs)
	}
	if _, err := invitation.Read(a.home.Invites); err != nil {
		e.fail("invites", err.Error(), asIs)
	}
	if err := a.sources.load(); err != nil {
		e.fail("settings", err.Error(), strings.Join(cli.Hints(err), "\n"))
	}
	if !e.failed() {
		e.ok("files", cli.Plural(len(peers), "peer")+", "+cli.Plural(len(allowed), "allowed key")+", settings in order")
	}
}

// readable wants the identity to be the owner's alone.
func (c *doctorCommand) readable(path string, e *examined) {
	info, err := os.Stat(path)
	if err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		e.fail("key", "others on this machine can read "+path, "chmod 600 "+path)
	}
}

const (
	tooLittle = 64 << 20 // bytes; less and receipts may not be kept
	little    = 1 << 30
)

func (c *doctorCommand) disk(a *app, e *examined) {
	dir := a.home.Dir
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return // there is nothing yet that could fill it
	}
	free, err := freeBytes(dir)
	text := fmt.Sprintf("%.1f GiB free", float64(free)/(1<<30))
	switch {
	case err != nil:
		e.fail("disk", err.Error(), "")
	case free < tooLittle:
		e.fail("disk", text+"; receipts can soon be kept no more, and then nothing is answered", "make room on the disk of "+dir)
	case free < little:
		e.note("disk", text, "make room on the disk of "+dir)
	default:
		e.ok("disk", text)
	}
}

func (c *doctorCommand) ledger(ctx context.Context, a *app, e *examined) {
	s, err := a.accounts(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.ok("ledger", "no receipts yet")
	case err != nil:
		e.fail("ledger", err.Error(), strings.Join(append(cli.Hints(err), "lobstah ledger verify names what is damaged"), "\n"))
	case e.Pubkey != "" && s.Owner.String() != e.Pubkey:
		e.fail("ledger", "it belongs to "+s.Owner.String(), "put the identity back that made it, or move the ledger away to begin another")
	default:
		e.ok("ledger", cli.Plural(s.Receipts, "receipt")+"; lobstah ledger verify checks each")
	}
}

// process asks what runs here.
func (c *doctorCommand) process(ctx context.Context, a *app, e *examined) (r report, running bool) {
	_, client, err := a.running()
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, c.Timeout)
		defer cancel()
		err = client.Call(ctx, http.MethodGet, "/status", nil, &r)
	}
	switch {
	case errors.Is(err, errNothingRuns):
		e.note("process", "nothing runs here", "lobstah up starts worker and router")
		return r, false
	case err != nil:
		e.fail("process", err.Error(), "lobstah stop; when that does not help, end the process by its number and start it again")
		return r, true
	}
	e.ok("process", fmt.Sprintf("%s, process %d, version %s", r.What, r.PID, r.Version))
	if r.Version != version() {
		e.note("version", "what runs is "+r.Version+", this program is "+version(), "start it again to use the newer one")
	}
	for _, problem := range r.Problems {
		e.fail("files", problem, asIs)
	}
	return r, true
}

// parts looks at what a running process says of its parts.
func (c *doctorCommand) parts(ctx context.Context, e *examined, r report) {
	if r.Holder.Worker != "" {
		c.answers(ctx, e, "worker", r.Holder.Worker)
		switch {
		case r.Worker == nil:
			e.fail("engine", "the worker's engine or its ledger is out of order", "start the engine, such as ollama serve; the log of what runs says more")
		case len(r.Worker.Models) == 0:
			e.fail("engine", "no engine has a model", strings.Join(getEngine(), "\n"))
		default:
			e.ok("engine", strings.Join(r.Engines, "; ")+": "+shortList(r.Worker.Models))
		}
		if at, err := net.ResolveTCPAddr("tcp", strings.TrimPrefix(r.Holder.Worker, "http://")); err == nil && at.IP.IsLoopback() {
			e.note("reach", "the worker listens on this machine only", "to lend to others: lobstah invite, or start with --worker-host 0.0.0.0")
		}
	}
	if r.Holder.Router != "" {
		c.answers(ctx, e, "router", r.Holder.Router)
	}
	for _, b := range r.Boards {
		if b.LastError != "" {
			e.fail("announce", b.announcedText(), "it is tried again by itself; is the place right (--announce-to, --nostr-relay)?")
		} else {
			e.ok("announce", b.announcedText())
		}
	}
	for _, s := range r.Sources {
		if s.LastError != "" && !s.answered() {
			e.fail("discover", s.discoversText(), "it is asked again by itself; is the place right (--discover-from, --nostr-relay)?")
		} else {
			e.ok("discover", s.discoversText())
		}
	}
}

// answers sees whether a port of this machine's process takes requests.
func (c *doctorCommand) answers(ctx context.Context, e *examined, part, base string) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/pubkey", nil)
	if err == nil {
		var response *http.Response
		if response, err = http.DefaultClient.Do(r); err == nil {
			err = response.Body.Close()
		}
	}
	if err != nil {
		e.fail(part, "its port does not answer: "+err.Error(), "lobstah stop, and start it again")
		return
	}
	e.ok(part, base)
}

// ports sees whether lobstah up could listen.
func (c *doctorCommand) ports(e *examined) {
	for _, part := range []struct {
		name, flag, host string
		port             int
	}{
		{"worker", "--worker-port", c.Worker.Host, c.Worker.Port},
		{"router", "--port", c.Router.Host, c.Router.Port},
	} {
		address := net.JoinHostPort(part.host, strconv.Itoa(part.port))
		l, err := net.Listen("tcp", address)
		switch {
		case err == nil:
			e.ok(part.name, address+" is free")
			if err := l.Close(); err != nil {
				e.fail(part.name, err.Error(), "")
			}
		case inUse(err):
			e.fail(part.name, address+" is taken: "+portHolder(part.host, part.port)+" has that port", "stop that, or take another port: lobstah up "+part.flag+" N")
		default:
			e.fail(part.name, err.Error(), "name an address of this machine")
		}
	}
}

// engines looks for what lobstah up would serve.
func (c *doctorCommand) engines(ctx context.Context, a *app, e *examined) {
	if len(c.Engines.Model) > 0 {
		e.ok("engine", "llama-server with "+strings.Join(c.Engines.Model, ", ")+", when it is started")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 3*c.Timeout)
	defer cancel()
	found, err := a.findEngines(ctx, c.Engines)
	switch {
	case err != nil:
		e.fail("engine", err.Error(), strings.Join(cli.Hints(err), "\n"))
	case found.onlyDemo:
		hints := found.advice
		if len(hints) == 0 {
			hints = getEngine()
		}
		e.note("engine", "none with a model answers here; lobstah up would serve the demo model, which answers nothing", strings.Join(hints, "\n"))
	default:
		start := time.Now()
		models, err := found.live.Models(ctx)
		if err != nil || len(models) == 0 {
			e.fail("engine", strings.Join(found.facts, "; ")+", and no model", strings.Join(found.advice, "\n"))
			return
		}
		var names []string
		for _, m := range models {
			names = append(names, m.ID)
		}
		e.ok("engine", fmt.Sprintf("%s: %s, told in %s", strings.Join(found.facts, "; "), shortList(names), cli.Duration(time.Since(start))))
	}
}
