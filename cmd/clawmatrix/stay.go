package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"path/filepath"
	"time"

	"lobstah/internal/cli"
	"lobstah/internal/control"
	"lobstah/internal/durable"
	"lobstah/internal/home"
	"lobstah/internal/livefile"
	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/invite"
)

// A stay is what a guest keeps: whose models it was lent, and for how long.
type stay struct {
	Node       string    `json:"node"`
	Host       key.ID    `json:"host"`
	URLs       []string  `json:"urls"` // of the host, the one that led to it first
	Credential string    `json:"credential"`
	Models     []string  `json:"models,omitempty"`
	Expires    time.Time `json:"expires"`
	ProxyPort  int       `json:"proxyPort"`
}

func (a *app) guestPath() string { return filepath.Join(a.home.Dir, "guest.json") }

func (a *app) writeGuest(ctx context.Context, s stay) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("keep the credential: %w", err)
	}
	return a.home.Edit(ctx, func() error { return durable.WriteFile(a.guestPath(), append(data, '\n'), 0o600) })
}

func (a *app) readGuest() (s stay, err error) {
	return livefile.Read(a.guestPath(), func(data []byte) (s stay, err error) {
		if err := json.Unmarshal(data, &s); err != nil {
			return s, livefile.JSON(data, err)
		}
		return s, nil
	})
}

// beGuest serves the models that were lent to programs of this machine, until ctx
// ends.
func (a *app) beGuest(ctx context.Context, log *slog.Logger) (err error) {
	s, err := a.readGuest()
	if err != nil {
		return err
	}
	lock, err := a.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	id, err := a.identity(ctx)
	if err != nil {
		return err
	}
	host, err := mesh.NewVisitor(mesh.Visit{Pair: id.Pair, Host: s.Host, URLs: s.URLs})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	ctx, halt := context.WithCancel(ctx)
	defer halt()
	parts, err := a.guestParts(lock, s, host, log, halt)
	if err != nil {
		return err
	}
	a.say("guest   of %s, until %s", cli.CleanLine(s.Node), s.Expires.Local().Format(time.DateTime))
	a.say("models  %s/v1", s.base())
	return serveUntil(ctx, log, parts)
}

// guestParts opens what a guest serves: the port of the models, for programs of
// this machine, and the socket, for its owner.
func (a *app) guestParts(lock *home.Lock, s stay, host http.RoundTripper, log *slog.Logger, halt func()) (map[net.Listener]http.Handler, error) {
	l, err := openPort("127.0.0.1", s.ProxyPort, "proxyPort in "+a.guestPath())
	if err != nil {
		return nil, err
	}
	owner, err := control.Listen(a.home.Dir)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	h := lock.Holder()
	h.Socket = owner.Path()
	if err := lock.Update(h); err != nil {
		return nil, errors.Join(err, l.Close(), owner.Close())
	}
	return map[net.Listener]http.Handler{l: localOnly(s.ProxyPort, s.proxy(host, log)), owner: a.guestCommands(h, s, halt)}, nil
}

// guestCommands answers the owner's commands: how it is, stop, and to all others
// that a guest is no node.
func (a *app) guestCommands(h home.Holder, s stay, halt func()) http.Handler {
	mux := http.NewServeMux()
	answer(mux, "GET /status", func(ctx context.Context, _ none) (report, error) {
		id, err := a.identity(ctx)
		return report{
			Holder: h, Node: "guest of " + s.Node, Key: id.ID(), Version: version(), Config: a.guestPath(), Proxy: s.base(),
			Guest: &lodging{Host: s.Host, Models: orEmpty(s.Models), Expires: s.Expires},
		}, err
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) {
		halt()
		control.Reply(w, none{}, nil)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		control.Reply(w, nil, &control.Error{
			Status: http.StatusForbidden, Message: fmt.Sprintf("this machine is a guest of %s: it may use models there, and is no node of the mesh", s.Node),
			Hint: "clawmatrix status shows what it may use; to be a node, ask for an invitation without --guest and join with another folder: --home DIR",
		})
	})
	return mux
}

// base is the address of the models for programs of this machine.
func (s *stay) base() string { return "http://" + hostPort("127.0.0.1", s.ProxyPort) }

// proxy passes what programs of this machine ask on to the host.
func (s *stay) proxy(host http.RoundTripper, log *slog.Logger) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "https", s.Host.String()
			r.Out.Header.Set(invite.Header, s.Credential)
			if r.Out.Header.Get("Content-Type") == "application/x-www-form-urlencoded" { // curl says so of any text, and members may
				r.Out.Header.Set("Content-Type", "application/json")
			}
		},
		Transport: host, FlushInterval: -1, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			apiError(w, http.StatusBadGateway, "host_unreachable", fmt.Errorf("the node that lends the models cannot be reached, or its owner ended this stay: %w", err))
		},
	}
}

// serveUntil serves several listeners until ctx ends or one fails.
func serveUntil(ctx context.Context, log *slog.Logger, parts map[net.Listener]http.Handler) error {
	failed := make(chan error, len(parts))
	var servers []*http.Server
	for l, handler := range parts {
		server := &http.Server{Handler: handler, ReadHeaderTimeout: headerPatience, IdleTimeout: idlePatience, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
		servers = append(servers, server)
		go func() { failed <- server.Serve(l) }()
	}
	var err error
	left := len(servers)
	select {
	case <-ctx.Done():
	case err = <-failed:
		left--
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastBytes)
	defer cancel()
	for _, server := range servers {
		if server.Shutdown(last) != nil { // the answer to stop has to leave, and nothing waits for longer ones
			err = errors.Join(err, server.Close())
		}
	}
	for range left {
		<-failed // that it was closed
	}
	return err
}
