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
	l, err := net.Listen("tcp", hostPort("127.0.0.1", s.ProxyPort))
	if err != nil {
		return cli.Hintf(err, "choose another port: proxyPort in %s", a.guestPath())
	}
	owner, err := control.Listen(a.home.Dir)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	h := lock.Holder()
	h.Socket = owner.Path()
	if err := lock.Update(h); err != nil {
		return errors.Join(err, l.Close(), owner.Close())
	}
	ctx, halt := context.WithCancel(ctx)
	defer halt()
	commands := http.NewServeMux()
	commands.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) {
		halt()
		control.Reply(w, none{}, nil)
	})
	a.say("guest   of %s, until %s", cli.CleanLine(s.Node), s.Expires.Local().Format(time.DateTime))
	a.say("models  http://%s/v1", l.Addr())
	return serveUntil(ctx, log, map[net.Listener]http.Handler{l: localOnly(s.ProxyPort, s.proxy(host, log)), owner: commands})
}

// proxy passes what programs of this machine ask on to the host.
func (s *stay) proxy(host http.RoundTripper, log *slog.Logger) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "https", s.Host.String()
			r.Out.Header.Set(invite.Header, s.Credential)
		},
		Transport: host, FlushInterval: -1, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			apiError(w, http.StatusBadGateway, "host_unreachable", fmt.Errorf("the node that lends the models cannot be reached: %w", err))
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
	for _, server := range servers {
		err = errors.Join(err, server.Close())
	}
	for range left {
		<-failed // that it was closed
	}
	return err
}
