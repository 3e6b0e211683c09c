package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"lobstah/grid"
	"lobstah/grid/allow"
	"lobstah/grid/discover"
	"lobstah/internal/cli"
	"lobstah/internal/home"
	"lobstah/receipt"
)

type demoCommand struct {
	Two demoTwoCommand `cmd:"" help:"One machine lends, another asks: see the debt arise in two ledgers."`
}

type demoTwoCommand struct {
	Question []string `arg:"" optional:"" help:"What to ask."`
	Engine   []string `placeholder:"auto|demo|URL" help:"The engine that lends; by default the built-in demo model."`
	Keep     bool     `help:"Leave the two home folders, and say where."`
}

// Help is printed by --help.
func (demoTwoCommand) Help() string {
	return `Makes two identities in a temporary folder, runs a worker for the one and a
router for the other on free ports of this machine, asks one question, and shows
what each side has written down. Your own identity and ledger are not touched.

Examples:
  lobstah demo two
  lobstah demo two --engine auto "why is the sky blue?"`
}

func (c *demoTwoCommand) Run(ctx context.Context, a *app) (err error) {
	root, err := os.MkdirTemp("", "lobstah-demo-")
	if err != nil {
		return err
	}
	defer func() {
		if c.Keep {
			a.note("The two home folders are in %s", root)
			return
		}
		err = errors.Join(err, os.RemoveAll(root))
	}()
	d := &demo{app: a, question: "What is a lobster?", engines: engineSettings{Engine: c.Engine}}
	if len(c.Question) > 0 {
		d.question = c.Question[0]
	}
	if len(c.Engine) == 0 {
		d.engines.Engine = []string{engineDemo}
	}
	return d.run(ctx, root)
}

// A demo is two machines on one: Ann lends, Ben asks.
type demo struct {
	*app
	question string
	engines  engineSettings
	ann, ben *process
}

func (d *demo) run(ctx context.Context, root string) (err error) {
	settings := processSettings{LogLevel: "error"}
	if d.ann, _, err = d.machine(root, "ann").openProcess(ctx, "lobstah demo two", settings); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.ann.close()) }()
	if d.ben, _, err = d.machine(root, "ben").openProcess(ctx, "lobstah demo two", settings); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.ben.close()) }()
	d.say("Two machines, Ann's and Ben's, each with its own key and ledger:")
	d.say("  Ann  %s", d.ann.id.ID())
	d.say("  Ben  %s", d.ben.id.ID())
	address, err := d.connect(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	signed, err := d.askOnce(ctx, address)
	if err != nil {
		return interrupted(ctx, err)
	}
	return d.compare(ctx, signed)
}

// machine is this program with another home and no say in the environment.
func (d *demo) machine(root, name string) *app {
	dir := filepath.Join(root, name)
	return &app{
		IO: cli.IO{In: d.In, Out: io.Discard, Err: d.Err, Env: []string{"OLLAMA_HOST=" + d.Getenv("OLLAMA_HOST")}},
		home: home.Home{
			Dir: dir, Identity: filepath.Join(dir, "identity.json"), Peers: filepath.Join(dir, "peers.json"),
			Allow: filepath.Join(dir, "allow.json"), Invites: filepath.Join(dir, "invites.json"),
			Ledger: filepath.Join(dir, "ledger.db"), Config: filepath.Join(dir, "config.yaml"),
		},
	}
}

// connect starts both sides and lets them know of each other.
func (d *demo) connect(ctx context.Context) (router string, err error) {
	const loopback = "127.0.0.1"
	found, err := d.ann.startEngines(ctx, d.ann.background, d.engines)
	if err != nil {
		return "", err
	}
	worker, err := d.ann.serveWorker(d.ann.background, workerAddress{Host: loopback}, servingSettings{Tier: grid.BestEffort, Concurrency: 1, Queue: 1}, found)
	if err != nil {
		return "", err
	}
	d.say("")
	d.say("Ann lends %s:", found.facts[0])
	d.say("  ann$ lobstah worker start")
	d.say("  ann$ lobstah allow %s Ben", d.ben.id.ID().Short()+"…")
	if _, err := allow.Add(d.ann.home.Allow, allow.Entry{ID: d.ben.id.ID(), Label: "Ben", Since: time.Now().UTC()}); err != nil {
		return "", err
	}
	d.say("")
	d.say("Ben adds her, and asks:")
	d.say("  ben$ lobstah peers add %s %s Ann", d.ann.id.ID().Short()+"…", worker)
	if _, err := discover.Add(d.ben.home.Peers, grid.Peer{ID: d.ann.id.ID(), URL: worker, Label: "Ann"}); err != nil {
		return "", err
	}
	if err := errors.Join(d.ann.reload(), d.ben.reload()); err != nil {
		return "", err
	}
	d.say("  ben$ lobstah router start")
	return d.ben.serveRouter(routerAddress{Host: loopback}, askingSettings{}, "")
}

// askOnce asks Ben's router and returns the receipt that it accepted.
func (d *demo) askOnce(ctx context.Context, address string) (*receipt.Signed, error) {
	client := &apiClient{base: address}
	model, err := d.pickModel(ctx, client)
	if err != nil {
		return nil, err
	}
	d.say("  ben$ lobstah ask %q", d.question)
	d.say("")
	got, err := client.stream(ctx, chatRequest{Model: model, Messages: []message{{"user", d.question}}, MaxTokens: 60}, listener{
		Piece: func(piece string) { fmt.Fprint(d.Out, cli.Clean(piece)) },
	})
	d.say("")

	if err != nil {
		return nil, err
	}
	if err := client.findReceipt(ctx, got); err != nil {
		return nil, err
	}
	if got.Receipt == nil {
		return nil, errors.New("no receipt came for the answer")
	}
	return got.Receipt, nil
}

// compare shows what both have written down, and checks it.
func (d *demo) compare(ctx context.Context, s *receipt.Signed) error {
	d.say("")
	d.say("With the answer came a receipt, signed by Ann: %s with %s", cli.Plural(s.Total(), "token"), s.Model)
	d.say("(%d of the question, %d of the answer), receipt %s.", s.InputTokens, s.OutputTokens, s.Nonce)
	if err := s.Countersigned(); err != nil {
		return fmt.Errorf("the receipt should carry Ben's signature: %w", err)
	}
	d.say("It holds Ben's signature under the request, too. So neither can deny it or make it up.")
	d.say("")
	d.say("What each ledger says now:")
	for _, side := range []struct {
		name, other string
		p           *process
	}{{"Ann", "Ben", d.ann}, {"Ben", "Ann", d.ben}} {
		if err := d.balanceOf(ctx, side.name, side.other, side.p); err != nil {
			return err
		}
	}
	d.say("")
	d.say("Both were verified: every receipt, the sums, and the signed tree over them, which")
	d.say("shows later that nothing was taken out.")
	d.say("")
	d.say("Now with your own machines: lobstah up")
	return nil
}

func (d *demo) balanceOf(ctx context.Context, name, other string, p *process) error {
	s, err := p.book.Balances(ctx)
	if err != nil {
		return err
	}
	if _, err := p.book.Checkpoint(ctx); err != nil {
		return err
	}
	checked, err := p.book.Verify(ctx)
	if err != nil {
		return err
	}
	if !checked.OK() || checked.Entries != 1 || len(s.Peers) != 1 {
		return fmt.Errorf("%s's ledger is not in order: %d entries, %v", name, checked.Entries, checked.Faults)
	}
	text := fmt.Sprintf("%s owes %s", other, cli.Plural(s.Owed(s.Peers[0]), "token"))
	if owed := s.Owed(s.Peers[0]); owed < 0 {
		text = fmt.Sprintf("I owe %s %s", other, cli.Plural(-owed, "token"))
	}
	d.say("  %s  earned %s, spent %s: %s   %s", name, cli.Count(s.Self.Earned), cli.Count(s.Self.Spent), text,
		d.Style(d.Out).Green("verified"))
	return nil
}
