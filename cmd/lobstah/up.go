package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"lobstah/internal/cli"
)

const upName = "lobstah up"

type upCommand struct {
	Router  routerAddress   `embed:""`
	Worker  workerAddress   `embed:"" prefix:"worker-"`
	Asking  askingSettings  `embed:""`
	Serving servingSettings `embed:""`
	Engines engineSettings  `embed:""`
	Process processSettings `embed:""`

	Announce  announceSettings  `embed:""`
	Discovery discoverySettings `embed:""`
	Nostr     nostrSettings     `embed:""`
	Mesh      meshSettings      `embed:""`
	NoCheck   bool              `help:"Do not send the one request that checks the whole way."`
	UntilEOF  bool              `name:"until-eof" help:"End when standard input ends, too: for programs that start this one, so that it does not outlive them."`
}

// Help is printed by --help.
func (upCommand) Help() string {
	return `Makes this machine's key if there is none, looks for engines (at OLLAMA_HOST and
on ports 11434, 8080, 1234 and 8000 of this machine), serves their models, and
answers OpenAI's API at one address. With no engine it serves a small built-in
demo model, so that everything can be tried.

Beyond this machine nobody can use it until you say so: --worker-host lets others
reach the worker, lobstah allow lets a key in.

Examples:
  lobstah up
  lobstah up --engine http://127.0.0.1:9000 --engine auto
  lobstah up --model hf:ggml-org/gemma-3-4b-it-GGUF
  lobstah up --worker-host 0.0.0.0          lend to the keys that are allowed
  lobstah up --discover-from https://tracker.example   ask also the workers that announce there`
}

func (c *upCommand) Run(ctx context.Context, a *app) (err error) {
	if err := cmp.Or(c.Serving.check(), c.Announce.check(c.Nostr, c.Worker), c.Discovery.check(c.Nostr)); err != nil {
		return err
	}
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
	p, ctx, err := a.openProcess(ctx, upName, c.Process)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	p.keys = c.Asking.APIKey
	b := &banner{process: p}
	b.identity()
	found, err := p.startEngines(ctx, p.background, c.Engines)
	if err != nil {
		return interrupted(ctx, err)
	}
	b.engines(found)
	address, err := c.serve(ctx, p, found)
	if err != nil {
		return err
	}
	b.worker(c.Worker, c.Serving)
	b.router(c.Router, address)
	if len(c.Discovery.From) > 0 {
		b.row("discovers", "peers from %s, again and again", strings.Join(c.Discovery.From, ", "))
	}
	p.sayAnnouncing(c.Announce, c.Worker, c.Serving.Open)
	model := b.check(ctx, address, c.NoCheck)
	if ctx.Err() == nil {
		b.next(address, model)
		p.sayHowToAdd(c.Worker.Host)
		p.sayMesh()
		b.addMachine()
	}
	return p.wait(ctx)
}

// serve opens the worker's port and the router's, and returns the router's URL.
func (c *upCommand) serve(ctx context.Context, p *process, found *engines) (address string, err error) {
	if err := p.joinMesh(ctx, c.Mesh, workerTag); err != nil {
		return "", err
	}
	worker, err := p.serveWorker(p.background, c.Worker, c.Serving, found)
	if err != nil {
		return "", err
	}
	if err := p.learn(ctx, c.Discovery, c.Nostr, c.Asking.BlockPrivate); err != nil {
		return "", err
	}
	if address, err = p.serveRouter(c.Router, c.Asking, worker); err != nil {
		return "", err
	}
	return address, p.announceWorker(c.Announce, c.Nostr, c.Engines)
}

// interrupted forgives what failed because the user stopped the program.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// startEngines finds the engines and runs what belongs to this process as long
// as life goes on.
func (p *process) startEngines(ctx, life context.Context, s engineSettings) (*engines, error) {
	found, err := p.findEngines(ctx, s)
	if err != nil {
		return nil, err
	}
	p.task(func() {
		if err := found.run(life, p.log); err != nil && life.Err() == nil {
			p.log.Error("an engine of this process ended", "err", err)
		}
	})
	for _, child := range found.children {
		done := p.Progress("waiting for " + child.Name())
		err := child.WaitReady(ctx)
		done()
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// A banner tells a person what has started and what to do next.
type banner struct{ *process }

func (b *banner) row(name, format string, args ...any) {
	for i, line := range strings.Split(fmt.Sprintf(format, args...), "\n") {
		if i > 0 {
			name = ""
		}
		b.say("%-9s %s", name, line)
	}
}

func (b *banner) identity() {
	b.say("lobstah %s", version())
	b.say("")
	made := ""
	if b.created {
		made = "\nmade just now; the secret half is in " + b.home.Identity
	}
	b.row("key", "%s%s", b.id.ID(), made)
}

func (b *banner) engines(found *engines) {
	for i, fact := range found.facts {
		name := "engine"
		if i > 0 {
			name = ""
		}
		b.row(name, "%s", fact)
	}
	if !found.onlyDemo {
		for _, line := range found.advice {
			b.row("", "(%s)", line)
		}
		return
	}
	b.say("")
	if len(found.advice) > 0 {
		b.say("No engine with a model answers here:")
		for _, line := range found.advice {
			b.say("  %s", line)
		}
	} else {
		b.say("No engine runs here. Any of these gets one:")
		for _, line := range getEngine() {
			b.say("  %s", line)
		}
	}
	b.say("Until one answers, the built-in demo model is served: it shows how everything works,")
	b.say("but it only strings words together and answers nothing. An engine is taken as soon as")
	b.say("it has a model; there is no need to start again.")
	b.say("")
}

func (b *banner) worker(at workerAddress, s servingSettings) {
	base := strings.TrimPrefix(b.lock.Holder().Worker, "http://")
	who := "this machine"
	if keys := len(b.allowed.Entries()); keys > 0 {
		who += " and " + cli.Plural(keys, "allowed key")
	}
	if s.Open {
		who = "everybody who can reach it"
	}
	b.row("worker", "%s, serves %s", base, who)
	b.warnReach(at.Host, s.Open)
}

func (b *banner) router(at routerAddress, address string) {
	b.row("router", "%s/v1", address)
	if n := len(b.peers.Peers()); n > 0 {
		b.row("", "asks %s beside this machine", cli.Plural(n, "peer"))
	}
	b.openRouter(at.Host, address)
}

// openRouter warns of a router that anybody may spend with.
func (b *banner) openRouter(host, address string) {
	if !loopbackHost(host) && len(b.keys) == 0 {
		_, port, _ := net.SplitHostPort(strings.TrimPrefix(address, "http://"))
		b.warn("whoever reaches port %s of this machine can ask the pool in its name; --api-key KEY makes clients show a key", port)
	}
}

// check sends one real request the whole way and says how it went.
func (b *banner) check(ctx context.Context, address string, skip bool) (model string) {
	client := &apiClient{base: address}
	if len(b.keys) > 0 {
		client.key = b.keys[0]
	}
	limited, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	models, err := client.models(limited)
	best, ok := bestModel(models)
	switch {
	case ctx.Err() != nil:
		return ""
	case err != nil:
		b.row("check", "FAILED: %v", err)
		return ""
	case !ok:
		b.row("check", "not made: no model answers questions yet")
		return ""
	case skip:
		return best.ID
	}
	done := b.Progress("checking the whole way with " + best.ID)
	start := time.Now()
	err = client.try(limited, best.ID)
	done()
	style := b.Style(b.Out)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		b.row("check", "%s: %s answered through router and worker in %s", style.Green("ok"), best.ID, cli.Duration(time.Since(start)))
	case limited.Err() != nil:
		b.row("check", "no answer from %s within %s; it may still be loading", best.ID, cli.Duration(checkPatience))
	default:
		b.row("check", "%s: %s", style.Red("FAILED"), cli.CleanLine(err.Error()))
	}
	return best.ID
}

// checkPatience is how long a model may take to load before the first answer.
const checkPatience = 2 * time.Minute

func (b *banner) next(address, model string) {
	if model == "" {
		model = "MODEL"
	}
	auth, key := "", ""
	if len(b.keys) > 0 {
		auth = " -H 'authorization: Bearer KEY'"
		if kept, err := b.sources.first("router.api-keys"); err != nil || kept == "" {
			key = " --api-key KEY" // else our own commands know it
		}
	}
	b.say("")
	b.say("Ask it from another terminal:")
	b.say(`  lobstah ask%s "why is the sky blue?"`, key)
	b.say(`  curl %s/v1/chat/completions%s -d '{"model":"%s","messages":[{"role":"user","content":"hello"}]}'`, address, auth, model)
	b.say("Any program that speaks OpenAI's API: base URL %s/v1%s", address, map[bool]string{true: "", false: ", any API key"}[len(b.keys) > 0])
}

func (b *banner) addMachine() {
	b.say("")
	b.say("Let another machine join this one, and type there what this prints:")
	b.say("  lobstah invite")
	b.say("By hand: on a machine that lends to this one,")
	b.say("  lobstah allow %s", b.id.ID())
	b.say("  lobstah up --worker-host 0.0.0.0")
	b.say("and here what that prints, which is: lobstah peers add ITS-KEY ITS-ADDRESS")
	b.say("")
	b.say("Ctrl-C stops.")
}
