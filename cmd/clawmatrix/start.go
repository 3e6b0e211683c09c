package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"

	"lobstah/internal/cli"
	"lobstah/mesh"
)

type startCommand struct {
	LogLevel string `default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"Least important line of the log: debug, info, warn or error."`
	LogJSON  bool   `help:"Log lines in JSON."`
	UntilEOF bool   `name:"until-eof" help:"End when standard input ends, too: for programs that start this one, so that it does not outlive them."`
}

// Help is printed by --help.
func (startCommand) Help() string {
	return `Runs in the foreground until Ctrl-C, SIGTERM or clawmatrix stop, keeps links to
the peers of the configuration, and dials again what is lost. Exit code 3 means
that another process with this node's key began later: do not restart this one.

A configuration of the original works as it is:
  clawmatrix start --config cloud-01.json`
}

func (c *startCommand) Run(ctx context.Context, a *app) (err error) {
	if c.UntilEOF {
		var end context.CancelFunc
		ctx, end = context.WithCancel(ctx)
		defer end()
		// It ends with the input or with this process: a read cannot be called off.
		go func() {
			_, _ = io.Copy(io.Discard, a.In)
			end()
		}()
	}
	if !exists(a.home.Config) && exists(a.guestPath()) {
		return a.beGuest(ctx, c.logger(a))
	}
	n, ctx, err := a.openNode(ctx, c.logger(a))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	n.introduce()
	err = n.run(ctx)
	if cli.Terminal(a.Err) {
		a.note("")
	}
	if errors.Is(err, mesh.ErrSuperseded) {
		a.Report(err)
		return cli.Exit(superseded)
	}
	a.note("Leaving the mesh.")
	return err
}

// superseded is the exit code of a node whose key another process has: whoever
// restarts what fails must not restart that, or the two would replace each other
// for ever.
const superseded = 3

func (c *startCommand) logger(a *app) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo // the parser let only the known ones pass
	}
	options := &slog.HandlerOptions{Level: level}
	if c.LogJSON {
		return slog.New(slog.NewJSONHandler(a.Err, options))
	}
	return slog.New(slog.NewTextHandler(a.Err, options))
}

// introduce prints what the node is, and what its owner should know.
func (n *node) introduce() {
	r := n.report()
	table := cli.Table{}
	table.Row("node", r.Node+"  "+r.Key.String())
	table.Row("config", r.Config)
	if r.Listen != "" {
		table.Row("listens", r.Listen+", ws and wss")
	}
	table.Row("models", r.Proxy+"/v1")
	_ = table.Print(n.Out, "") // a reader that left stops nothing
	for _, warning := range n.config.Warnings() {
		n.warn("%s", warning)
	}
	for _, problem := range n.problems {
		n.warn("%s", cli.CleanLine(problem))
	}
	if info, err := os.Stat(n.home.Config); err == nil && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		n.warn("other users of this machine may read the secret: chmod 600 %s", n.home.Config)
	}
	if !n.config.Listen && len(n.config.Peers) == 0 {
		n.warn("this node neither listens nor dials anybody: set listen or peers in %s", n.home.Config)
	}
}

func (n *node) report() report {
	r := report{
		Holder: n.lock.Holder(), Node: n.config.NodeID, Key: n.id.ID(), Version: version(), Config: n.home.Config, Trust: string(n.config.Trust),
		Secret: n.secretsDrawn(), Relayed: n.mesh.Relayed(),
		Problems: n.problems,
		Proxy:    "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(n.config.ProxyPort)),
	}
	if n.config.Listen {
		r.Listen = net.JoinHostPort(n.config.ListenHost, strconv.Itoa(n.config.ListenPort))
	}
	return r
}
