package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/alecthomas/kong"

	"lobstah/internal/cli"
	"lobstah/internal/cmdline"
	"lobstah/internal/control"
	"lobstah/internal/home"
)

// commands is everything that can be typed; each type stands in the file of its
// name.
type commands struct {
	Config string `placeholder:"FILE" help:"The configuration; by default config.yaml or config.json in the home folder."`
	Home   string `placeholder:"DIR" help:"Where this node keeps its key and what it learned; by default CLAWMATRIX_HOME or ~/.clawmatrix."`

	Init  initCommand  `cmd:"" group:"Start here" help:"Write the configuration of the first node of a mesh."`
	Start startCommand `cmd:"" group:"Start here" help:"Run this machine's node."`

	Invite inviteCommand `cmd:"" group:"The mesh" help:"Print one line that lets another machine join."`
	Join   joinCommand   `cmd:"" group:"The mesh" help:"Join the mesh of the machine that printed that line."`
	Status statusCommand `cmd:"" group:"The mesh" help:"How this machine's node does."`
	Peers  peersCommand  `cmd:"" group:"The mesh" help:"The other nodes, and what they offer."`
	Doctor doctorCommand `cmd:"" group:"The mesh" help:"Which step on the way to a node fails, and what to do."`
	Verify verifyCommand `cmd:"" group:"The mesh" help:"Trust a node's key, after comparing six words."`
	Revoke revokeCommand `cmd:"" group:"The mesh" help:"End the membership of a node."`

	Exec  execCommand  `cmd:"" group:"Tools" help:"Run a command on a node."`
	Read  readCommand  `cmd:"" group:"Tools" help:"Print a file of a node."`
	Write writeCommand `cmd:"" group:"Tools" help:"Create or replace a file on a node."`
	Edit  editCommand  `cmd:"" group:"Tools" help:"Replace a text in a file on a node."`
	Tool  toolCommand  `cmd:"" group:"Tools" help:"Call any tool of a node."`
	Tools toolsCommand `cmd:"" group:"Tools" help:"List the tools of a node that this one may use."`
	Audit auditCommand `cmd:"" group:"Tools" help:"What other nodes did here by tools."`

	Handoff handoffCommand `cmd:"" group:"Agents" help:"Hand a task to an agent of any node and print its answer."`
	Send    sendCommand    `cmd:"" group:"Agents" help:"Send a message to an agent of any node."`
	Tasks   tasksCommand   `cmd:"" group:"Agents" help:"What was asked of agents, by this node and of it."`
	Task    taskCommand    `cmd:"" group:"Agents" help:"Follow, answer or cancel a task."`
	MCP     mcpCommand     `cmd:"" name:"mcp" group:"Agents" help:"Serve the mesh to an agent program by MCP."`

	Stop       stopCommand       `cmd:"" group:"Run" help:"Stop this machine's node."`
	ID         idCommand         `cmd:"" name:"id" group:"Run" help:"Print this node's name, key and six words."`
	Completion completionCommand `cmd:"" group:"Run" help:"Print what makes a shell complete commands."`
	Version    versionCommand    `cmd:"" group:"Run" help:"Print the version."`

	Complete completeCommand `cmd:"" name:"__complete" hidden:"" passthrough:""`
}

// program is what --help says beside the commands.
var program = cmdline.Program{
	Name: "clawmatrix",
	Intro: `clawmatrix joins machines behind NAT into a mesh that shares models, tools and
agents. Nodes dial outwards and relay for each other; there is no server.
`,
	Outro: `
Try it:
  clawmatrix init --listen     on a machine that the others reach: writes its configuration
  clawmatrix start             runs the node
  clawmatrix invite            prints the line that lets the next machine join
  clawmatrix join LINE         there; then clawmatrix start

Files are in ~/.clawmatrix; CLAWMATRIX_HOME or --home names another folder. Every
command explains itself: clawmatrix COMMAND --help
`,
}

// An app is one run of the program. Commands get it, and a context that ends
// with the first interrupt.
type app struct {
	cli.IO
	home    home.Home
	options *commands
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
	a := &app{IO: streams, options: new(commands)}
	helped := false
	var err error
	if a.parser, err = program.New(a.options, streams, &helped); err != nil {
		return err
	}
	parsed, err := a.parser.Parse(args)
	switch {
	case helped:
		return nil
	case err != nil:
		return program.Misuse(a.parser, args, err)
	}
	if a.home, err = a.findHome(); err != nil {
		return err
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run(a)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// say prints a line of output.
func (a *app) say(format string, args ...any) { fmt.Fprintf(a.Out, format+"\n", args...) }

// note prints a line beside the output.
func (a *app) note(format string, args ...any) { fmt.Fprintf(a.Err, format+"\n", args...) }

// warn prints a line that should be seen.
func (a *app) warn(format string, args ...any) {
	fmt.Fprintf(a.Err, "%s %s\n", a.Style(a.Err).Yellow("warning:"), fmt.Sprintf(format, args...))
}

// json prints v for programs.
func (a *app) json(v any) error {
	enc := json.NewEncoder(a.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// jsonLine prints v for programs that read line by line.
func jsonLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// callTimeout bounds a question to the running node, tellTimeout one for which it
// has to ask nobody else.
const (
	callTimeout = 30 * time.Second
	tellTimeout = 10 * time.Second
)

var errNotRunning = errors.New("no node runs here")

// running returns the socket of the node that runs with this home.
func (a *app) running() (home.Holder, control.Client, error) {
	h, ok, err := a.home.Holder()
	switch {
	case err != nil:
		return h, control.Client{}, err
	case !ok:
		return h, control.Client{}, cli.Hintf(fmt.Errorf("%w (%s)", errNotRunning, a.home.Dir), "%s", a.first("start it, in another terminal: clawmatrix start"))
	case h.Socket == "":
		return h, control.Client{}, errors.New("the node is still starting")
	}
	return h, control.Client{Path: h.Socket}, nil
}

// first is what to do where no node runs: to start it, or to make one before.
func (a *app) first(start string) string {
	if !exists(a.home.Config) && !exists(a.guestPath()) {
		return makeOne
	}
	return start
}

// makeOne is advice for who has no configuration yet.
const makeOne = "clawmatrix init begins a mesh, clawmatrix join LINE joins one, --config FILE names another file"

// call asks the running node.
func (a *app) call(ctx context.Context, method, path string, in, out any) error {
	return a.callFor(ctx, callTimeout, method, path, in, out)
}

// callFor is call for what may take longer.
func (a *app) callFor(ctx context.Context, patience time.Duration, method, path string, in, out any) error {
	h, client, err := a.running()
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = client.Call(limited, method, path, in, out)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return cli.Hintf(fmt.Errorf("the node (process %d) has not answered for %s", h.PID, cli.Duration(patience)), "it may be stopped, stuck, or waiting for others; if it answers nothing at all, end that process and start it again")
	}
	return err
}

// get asks what the node can tell at once.
func (a *app) get(ctx context.Context, path string, out any) error {
	return a.callFor(ctx, tellTimeout, http.MethodGet, path, nil, out)
}
