package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/alecthomas/kong"

	"lobstah/internal/cli"
	"lobstah/internal/cmdline"
	"lobstah/internal/home"
)

// commands is everything that can be typed; each type stands in the file of its
// name.
type commands struct {
	Up    upCommand    `cmd:"" group:"Start here" help:"Serve this machine's models and ask the pool, in one process."`
	Ask   askCommand   `cmd:"" group:"Start here" help:"Ask a question and see the answer stream in."`
	Batch batchCommand `cmd:"" group:"Start here" help:"Answer a file of requests."`
	Job   jobCommand   `cmd:"" group:"Start here" help:"Questions that are answered when there is time."`
	Demo  demoCommand  `cmd:"" group:"Start here" help:"See two machines lend to each other, on this one."`

	Invite inviteCommand `cmd:"" group:"Pool machines" help:"Print one line that lets another machine join this one."`
	Join   joinCommand   `cmd:"" group:"Pool machines" help:"Join the machine that printed that line."`
	Peers  peersCommand  `cmd:"" group:"Pool machines" help:"The workers that this machine asks."`
	Allow  allowCommand  `cmd:"" group:"Pool machines" help:"The keys that this machine's worker serves."`
	Share  shareCommand  `cmd:"" group:"Pool machines" help:"Lend this machine's models, or stop, without a restart."`
	ID     idCommand     `cmd:"" name:"id" group:"Pool machines" help:"Print this machine's public key."`

	Balance balanceCommand `cmd:"" group:"Accounts" help:"Who served whom, and who owes what."`
	Receipt receiptCommand `cmd:"" group:"Accounts" help:"Check receipts, or make them public."`
	Ledger  ledgerCommand  `cmd:"" group:"Accounts" help:"Look at, copy and check the ledger."`

	Worker  workerCommand  `cmd:"" group:"Run" help:"Serve this machine's models only."`
	Router  routerCommand  `cmd:"" group:"Run" help:"Ask the pool only."`
	Tracker trackerCommand `cmd:"" group:"Run" help:"A directory where workers and routers find each other."`
	Status  statusCommand  `cmd:"" group:"Run" help:"What runs here, and how it does."`
	Doctor  doctorCommand  `cmd:"" group:"Run" help:"Say which step of reaching a peer fails, and what to type."`
	Stop    stopCommand    `cmd:"" group:"Run" help:"Stop what runs here, after its answers are finished."`

	Keygen     keygenCommand     `cmd:"" group:"Set up" help:"Make this machine's key pair."`
	Config     configCommand     `cmd:"" group:"Set up" help:"Print every setting and where its value comes from."`
	Completion completionCommand `cmd:"" group:"Set up" help:"Print what makes a shell complete commands."`
	Version    versionCommand    `cmd:"" group:"Set up" help:"Print the version."`

	Complete completeCommand `cmd:"" name:"__complete" hidden:"" passthrough:""`
}

// An app is one run of the program. Commands get it, and a context that ends
// with the first interrupt.
type app struct {
	cli.IO
	home    home.Home
	sources *sources
	parser  *kong.Kong
}

// run is the whole program. It touches nothing of the process but what it is
// given, and returns the exit code.
func run(ctx context.Context, args []string, streams cli.IO) int {
	streams = streams.Shared()
	return streams.Report(execute(ctx, args, streams))
}

func execute(ctx context.Context, args []string, streams cli.IO) error {
	args = cmdline.Rewrite(args)
	a := &app{IO: streams}
	var err error
	if a.home, err = home.Find(streams.Getenv); err != nil {
		return err
	}
	a.sources = &sources{app: a}
	helped := false
	a.parser, err = program.New(&commands{}, streams, &helped, kong.Resolvers(a.sources))
	if err != nil {
		return err
	}
	parsed, err := a.parser.Parse(args)
	switch {
	case helped:
		return nil
	case err != nil:
		return a.misuse(args, err)
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run(a)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// misuse makes an error of the parser one of ours.
func (a *app) misuse(args []string, err error) error {
	if a.sources.fail != nil {
		return a.sources.fail
	}
	return program.Misuse(a.parser, args, err)
}

// say prints a line of output.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.Out, format+"\n", args...)
}

// note prints a line beside the output.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.Err, format+"\n", args...)
}

// warn prints a line that should be seen.
func (a *app) warn(format string, args ...any) {
	fmt.Fprintf(a.Err, "%s %s\n", a.Style(a.Err).Yellow("warning:"), fmt.Sprintf(format, args...))
}
