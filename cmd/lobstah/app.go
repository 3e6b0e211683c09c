package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"lobstah/internal/cli"
	"lobstah/internal/home"
)

// commands is everything that can be typed; each type stands in the file of its
// name.
type commands struct {
	Up   upCommand   `cmd:"" group:"Start here" help:"Serve this machine's models and ask the pool, in one process."`
	Ask  askCommand  `cmd:"" group:"Start here" help:"Ask a question and see the answer stream in."`
	Demo demoCommand `cmd:"" group:"Start here" help:"See two machines lend to each other, on this one."`

	Invite inviteCommand `cmd:"" group:"Pool machines" help:"Print one line that lets another machine join this one."`
	Join   joinCommand   `cmd:"" group:"Pool machines" help:"Join the machine that printed that line."`
	Peers  peersCommand  `cmd:"" group:"Pool machines" help:"The workers that this machine asks."`
	Allow  allowCommand  `cmd:"" group:"Pool machines" help:"The keys that this machine's worker serves."`
	ID     idCommand     `cmd:"" name:"id" group:"Pool machines" help:"Print this machine's public key."`

	Balance balanceCommand `cmd:"" group:"Accounts" help:"Who served whom, and who owes what."`
	Receipt receiptCommand `cmd:"" group:"Accounts" help:"Check receipts."`
	Ledger  ledgerCommand  `cmd:"" group:"Accounts" help:"Look at, copy and check the ledger."`

	Worker  workerCommand  `cmd:"" group:"Run" help:"Serve this machine's models only."`
	Router  routerCommand  `cmd:"" group:"Run" help:"Ask the pool only."`
	Tracker trackerCommand `cmd:"" group:"Run" help:"A directory where workers and routers find each other."`
	Status  statusCommand  `cmd:"" group:"Run" help:"What runs here, and how it does."`
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
	return streams.Report(execute(ctx, args, streams))
}

func execute(ctx context.Context, args []string, streams cli.IO) error {
	args = rewrite(args)
	if err := notYet(args); err != nil {
		return err
	}
	a := &app{IO: streams}
	var err error
	if a.home, err = home.Find(streams.Getenv); err != nil {
		return err
	}
	a.sources = &sources{app: a}
	helped := false
	a.parser, err = kong.New(&commands{},
		kong.Name("lobstah"),
		kong.Writers(streams.Out, streams.Err),
		kong.Exit(func(int) { helped = true }), // after --help, which has printed
		kong.Help(printHelp),
		kong.Resolvers(a.sources),
	)
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

// rewrite maps the other spellings of things onto the commands.
func rewrite(args []string) []string {
	switch {
	case len(args) == 0:
		return []string{"--help"}
	case args[0] == "help":
		return append(args[1:len(args):len(args)], "--help")
	case args[0] == "--version" || args[0] == "-v":
		return []string{"version"}
	case args[0] == "--help" || args[0] == "-h":
		return []string{"--help"}
	}
	return args
}

// misuse makes an error of the parser one of ours.
func (a *app) misuse(args []string, err error) error {
	if a.sources.fail != nil {
		return a.sources.fail
	}
	command := "lobstah"
	if e, ok := errors.AsType[*kong.ParseError](err); ok {
		if node := e.Context.Selected(); node != nil {
			command = "lobstah " + path(node)
		} else if a.unknown(args[0]) {
			err := cli.Usagef("unknown command: %s", args[0])
			if near := cli.Nearest(args[0], a.commandNames()); len(near) > 0 {
				return cli.Hintf(err, "did you mean: lobstah %s", strings.Join(near, ", lobstah "))
			}
			return cli.Hintf(err, "lobstah --help lists the commands")
		}
	}
	return cli.Hintf(cli.Usagef("%v", err), "%s --help shows how it is used", command)
}

func (a *app) unknown(name string) bool {
	for _, n := range a.parser.Model.Children {
		if n.Name == name {
			return false
		}
	}
	return !strings.HasPrefix(name, "-")
}

func (a *app) commandNames() []string {
	var names []string
	for _, n := range a.parser.Model.Children {
		if !n.Hidden {
			names = append(names, n.Name)
		}
	}
	return names
}

// path is how a command is typed, after the program's name.
func path(node *kong.Node) string {
	var words []string
	for ; node != nil && node.Type == kong.CommandNode; node = node.Parent {
		words = append([]string{node.Name}, words...)
	}
	return strings.Join(words, " ")
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
