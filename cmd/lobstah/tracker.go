package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"lobstah/grid"
	"lobstah/grid/channel"
	"lobstah/grid/tracker"
	"lobstah/internal/cli"
	"lobstah/internal/durable"
)

type trackerCommand struct {
	Start trackerStartCommand `cmd:"" help:"List the workers that announce themselves, until it is stopped."`
}

type trackerStartCommand struct {
	trackerSettings `embed:""`
	BlockPrivate    bool   `setting:"block-private-addrs" name:"block-private-addrs" help:"List no worker in a private network."`
	LogLevel        string `setting:"log.level" default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"Least important line of the log: debug, info, warn or error."`
	LogJSON         bool   `setting:"log.json" help:"Log lines in JSON."`
}

// trackerSettings are the tracker's.
type trackerSettings struct {
	Host        string         `setting:"tracker.host" default:"127.0.0.1" placeholder:"ADDR" help:"Address on which the tracker listens; 0.0.0.0 is every one."`
	Port        int            `setting:"tracker.port" default:"17476" placeholder:"N" help:"Port of the tracker; 0 takes a free one."`
	Snapshot    string         `setting:"tracker.snapshot" placeholder:"FILE" help:"Where the list is kept over a restart; tracker.jsonl in the home folder by default, none keeps it in memory only."`
	MaxPeers    int            `setting:"tracker.max-peers" default:"150000" placeholder:"N" help:"Keys that are listed at most."`
	DialBack    bool           `setting:"tracker.dial-back" help:"List only workers that prove their key at the URL they announce, at public addresses. Workers of the original prove none."`
	DialPrivate bool           `setting:"tracker.dial-private" help:"With --dial-back, reach into private networks too: for the tracker of one LAN."`
	TrustProxy  []netip.Prefix `setting:"tracker.trust-proxy" placeholder:"CIDR" help:"Believe X-Forwarded-For of reverse proxies here; repeatable."`
}

// Help is printed by --help.
func (trackerStartCommand) Help() string {
	return `Workers tell it that they are there, routers ask it who serves a model. It holds
no key and sees no request. Open its address in a browser to look around.

Examples:
  lobstah tracker start
  lobstah tracker start --host 0.0.0.0 --dial-back
  lobstah tracker start --snapshot /var/lib/lobstah/tracker.jsonl --trust-proxy 127.0.0.1/32

Ask it:
  curl http://127.0.0.1:17476/peers
  curl 'http://127.0.0.1:17476/peers?model=llama3.1:8b&capability=tools&limit=20'
  curl -N http://127.0.0.1:17476/peers/stream`
}

const (
	trackerSaves   = time.Minute
	trackerLeaving = 5 * time.Second // for the answers that run when it is stopped
)

func (c *trackerStartCommand) Run(ctx context.Context, a *app) error {
	if c.MaxPeers < 1 {
		return cli.Usagef("--max-peers %d: want at least 1", c.MaxPeers)
	}
	log, level := logger(a.IO, processSettings{LogLevel: c.LogLevel, LogJSON: c.LogJSON})
	store, where, err := c.openStore(a)
	if err != nil {
		return cli.Hintf(err, "the file was left as it is; move it away to begin with an empty list")
	}
	if a.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(tracker.MemoryLimit)
	}
	t := tracker.New(c.config(store, log))
	file, keeps := store.(*tracker.File)
	if keeps {
		readPlots(t, where, log)
	}
	l, err := c.listen()
	if err != nil {
		return err
	}
	save := func() error {
		if !keeps {
			return nil
		}
		return errors.Join(file.Save(), durable.Write(plotsPath(where), 0o600, t.WritePlots))
	}
	ready := func() {
		c.sayHello(a, l, where)
		level.Set(processSettings{LogLevel: c.LogLevel}.level())
	}
	return errors.Join(serveTracker(ctx, t, l, log, ready, save), save())
}

// serveTracker runs t on l until ctx ends or something fails, saving now and
// then. It calls ready when the tracker answers, and waits for all it began.
func serveTracker(ctx context.Context, t *tracker.Tracker, l net.Listener, log *slog.Logger, ready func(), save func() error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var tasks sync.WaitGroup
	failed := make(chan error, 2)
	tasks.Go(func() {
		if err := t.Run(ctx); err != nil {
			failed <- err
		}
	})
	select {
	case <-t.Ready(): // who asks first should see what was there before
	case <-ctx.Done():
	}
	server := &http.Server{
		Handler: t, ReadHeaderTimeout: headerPatience, IdleTimeout: idlePatience, MaxHeaderBytes: maxHeader,
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx }, // ends the streams
	}
	tasks.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serve on %s: %w", l.Addr(), err)
		}
	})
	ready()
	err := keepSaved(ctx, save, log, failed)
	stop()
	leaving, cancel := context.WithTimeout(context.Background(), trackerLeaving)
	defer cancel()
	if server.Shutdown(leaving) != nil {
		err = errors.Join(err, server.Close())
	}
	tasks.Wait()
	return err
}

// plotsPath is where the plots of the last day are kept, beside the list.
func plotsPath(snapshot string) string { return snapshot + ".plots" }

// readPlots takes up the plots of the last day. Without them the tracker works
// as well.
func readPlots(t *tracker.Tracker, snapshot string, log *slog.Logger) {
	f, err := os.Open(plotsPath(snapshot))
	if err == nil {
		defer f.Close()
		err = t.ReadPlots(f)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("the plots of the last day begin anew", "file", plotsPath(snapshot), "error", err)
	}
}

// openStore opens the snapshot, and says where it is.
func (c *trackerStartCommand) openStore(a *app) (tracker.Store, string, error) {
	path := c.Snapshot
	switch path {
	case "none":
		return tracker.NewMemory(nil), "in memory", nil
	case "":
		path = filepath.Join(a.home.Dir, "tracker.jsonl")
	}
	file, err := tracker.OpenFile(path, nil)
	return file, path, err
}

func (c *trackerStartCommand) config(store tracker.Store, log *slog.Logger) tracker.Config {
	blockPrivate := c.BlockPrivate || c.DialBack && !c.DialPrivate
	config := tracker.Config{
		Store: store, MaxPeers: c.MaxPeers, Proxies: c.TrustProxy, Logger: log.With("part", "tracker"),
		Allow: func(peer grid.Peer) error { return channel.CheckURL(peer, blockPrivate) },
	}
	if c.DialBack {
		transport := &channel.Transport{BlockPrivate: blockPrivate, ConnectTimeout: 3 * time.Second, MaxConns: 1}
		config.Reach = func(ctx context.Context, peer grid.Peer) error { return reachWorker(ctx, transport, peer) }
	}
	return config
}

// reachWorker asks a worker for its key. The transport has proved it when any
// answer comes, and looks at the address that it really dials.
func reachWorker(ctx context.Context, transport *channel.Transport, peer grid.Peer) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, peer.URL+"/pubkey", nil)
	if err != nil {
		return err
	}
	r.Close = true // it will not be asked again for a while
	response, err := transport.RoundTripper(peer).RoundTrip(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it answered %s", response.Status)
	}
	_, err = io.CopyN(io.Discard, response.Body, 4<<10)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (c *trackerStartCommand) listen() (net.Listener, error) {
	address := net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	l, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		return l, nil
	case inUse(err):
		return nil, cli.Hintf(fmt.Errorf("the tracker cannot listen on %s: %s has that port", address, portHolder(c.Host, c.Port)), "stop that, or take another port: --port N")
	}
	return nil, cli.Hintf(fmt.Errorf("the tracker cannot listen on %s: %w", address, err), "--port takes another port, --host another address")
}

// sayHello prints what runs. The first words are the original's, for scripts.
func (c *trackerStartCommand) sayHello(a *app, l net.Listener, where string) {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	base := "http://" + localAddress(l.Addr())
	a.say("lobstah-tracker listening on %s", net.JoinHostPort(c.Host, port))
	a.say("  registry: %s", where)
	a.say("  endpoints: GET / GET /peers GET /peers/stream POST /announce POST /unannounce")
	a.say("  page:     %s/", base)
	a.say("")
	a.say("Ctrl-C stops.")
}

// keepSaved saves the list now and then until ctx ends or something failed.
func keepSaved(ctx context.Context, save func() error, log *slog.Logger, failed <-chan error) error {
	saves := time.NewTicker(trackerSaves)
	defer saves.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-saves.C:
			if err := save(); err != nil {
				log.Error("the list was not saved; it will be tried again", "error", err)
			}
		}
	}
}
