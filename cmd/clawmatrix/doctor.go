package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"lobstah/internal/cli"
	"lobstah/internal/control"
	"lobstah/key"
	"lobstah/mesh/config"
	"lobstah/mesh/link"
	"lobstah/mesh/member"
)

type doctorCommand struct {
	Peer string `arg:"" help:"A node's name or key, or an address such as wss://cloud.example."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (doctorCommand) Help() string {
	return `Goes the way to a node step by step, and says which one fails and what to do: name
look-up, TCP, TLS, WebSocket, the node's key, the secret; then whether it is a
member, answers over the mesh, and is trusted. Exit code 1 when one fails.`
}

// The steps beyond those of a link.
const (
	stepMember link.Step = "membership"
	stepAnswer link.Step = "answer"
	stepClock  link.Step = "clock"
	stepTrust  link.Step = "trust"
)

// A finding is what came of one step.
type finding struct {
	Step link.Step `json:"step"`
	OK   bool      `json:"ok"`
	Note string    `json:"note,omitempty"`
	Took float64   `json:"ms"`
	Hint string    `json:"hint,omitempty"`
}

func (c *doctorCommand) Run(ctx context.Context, a *app) error {
	var list []finding
	err := a.call(ctx, http.MethodPost, "/doctor", nodeName{c.Peer}, &list)
	if errors.Is(err, errNotRunning) {
		a.note("No node runs here, so this looks no further than a link.")
		list, err = a.doctor(ctx, c.Peer)
	}
	if err != nil {
		return err
	}
	failed := false
	for _, f := range list {
		failed = failed || !f.OK
	}
	if c.JSON {
		err = a.json(list)
	} else {
		a.printFindings(list)
	}
	if err == nil && failed {
		err = cli.Exit(cli.Failure)
	}
	return err
}

func (a *app) printFindings(list []finding) {
	style := a.Style(a.Out)
	for _, f := range list {
		word := style.Green("ok    ")
		if !f.OK {
			word = style.Red("FAILED")
		}
		a.say("%s  %-10s  %s", word, f.Step, cli.CleanLine(f.Note))
		if f.Hint != "" {
			a.say("        %-10s  -> %s", "", cli.Clean(f.Hint))
		}
	}
}

// doctor looks at an address of the configuration without a running node.
func (a *app) doctor(ctx context.Context, who string) ([]finding, error) {
	conf, err := a.config()
	if err != nil {
		return nil, err
	}
	id, err := a.identity(ctx)
	if err != nil {
		return nil, err
	}
	s, err := openState(a.home, conf)
	if err != nil {
		return nil, err
	}
	url, pin := address(conf, s, who)
	if url == "" {
		return nil, cli.Hintf(fmt.Errorf("the configuration has no address of %q", who), "start the node (clawmatrix start), which may know it from others, or name an address")
	}
	current, retired, err := s.secrets()
	if err != nil {
		return nil, err
	}
	d := link.Dialer{Identity: link.Identity{Pair: id.Pair, Secrets: current, Retired: retired, Pinned: s.pins}}
	return traced(d.Trace(ctx, url, pin)), nil
}

// address is where a peer is dialled, and the key that it must have.
func address(c *config.Config, s *state, who string) (url string, pin key.ID) {
	if strings.Contains(who, "://") {
		return who, key.ID{}
	}
	id, _ := key.ParseID(who) // the zero key for a name
	for _, p := range c.Peers {
		want := p.ID()
		if want.IsZero() {
			want = s.pinned()[p.NodeID]
		}
		if p.NodeID == who || !id.IsZero() && want == id {
			return p.URL, want
		}
	}
	return "", key.ID{}
}

// diagnose goes the whole way to a node.
func (n *node) diagnose(ctx context.Context, in nodeName) (list []finding, err error) {
	url, pin := address(n.config, n.state, in.Node)
	if url != "" {
		d, err := n.dialer()
		if err != nil {
			return nil, err
		}
		list = traced(d.Trace(ctx, url, pin))
		if strings.Contains(in.Node, "://") {
			return list, nil
		}
	}
	id, name, err := n.identify(in.Node)
	if err != nil {
		if refusal, ok := errors.AsType[*control.Error](err); ok && url != "" {
			return append(list, finding{Step: stepMember, Note: refusal.Message, Hint: "it appears once a link to it, or to a node that has one, is up"}), nil
		}
		return nil, err
	}
	if url == "" {
		list = append(list, finding{Step: link.StepURL, OK: true, Note: "none is configured here: it is reached through others, or dials this node"})
	}
	if last := list[len(list)-1]; !last.OK && !n.reached(id) {
		return list, nil // what follows from that says nothing new
	}
	return append(list, n.diagnoseMember(ctx, id, name)...), nil
}

// reached reports whether any way leads to a node.
func (n *node) reached(id key.ID) bool {
	return slices.ContainsFunc(n.mesh.Members(), func(m member.Member) bool { return m.Key == id && m.Status == member.Alive })
}

func (n *node) dialer() (link.Dialer, error) {
	current, retired, err := n.state.secrets()
	return link.Dialer{
		Identity: link.Identity{Pair: n.id.Pair, Secrets: current, Retired: retired, Pinned: n.state.pins},
		Admit: func(id key.ID) error {
			if n.mesh.Revoked(id) {
				return fmt.Errorf("%s: %w", id.Short(), member.ErrRevoked)
			}
			return nil
		},
	}, err
}

// diagnoseMember looks at a node as a member.
func (n *node) diagnoseMember(ctx context.Context, id key.ID, name string) (list []finding) {
	for _, v := range n.peers() {
		if v.Key != id {
			continue
		}
		f := finding{Step: stepMember, OK: v.State != unreachable, Note: "it is " + v.State}
		if v.Via != "" {
			f.Note += " through " + v.Via
		}
		if !f.OK {
			f.Note += ": " + strings.Join(v.Why, "; ")
			f.Hint = "see whether it runs, and what clawmatrix doctor says there of a node that both dial"
			if n.mesh.Revoked(id) {
				f.Hint = "that machine needs a new key (move its identity.json away) and an invitation"
			}
		}
		list = append(list, f)
		if f.OK {
			list = append(list, n.diagnoseAnswer(ctx, id, name)...)
		}
		return append(list, n.diagnoseTrust(id, name))
	}
	return []finding{{Step: stepMember, Note: name + " is not known", Hint: "clawmatrix peers lists the nodes"}}
}

const answerTime = 10 * time.Second

// diagnoseAnswer asks the node itself, end to end.
func (n *node) diagnoseAnswer(ctx context.Context, id key.ID, name string) []finding {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	begin := time.Now()
	got, at, err := n.greet(ctx, id)
	took := time.Since(begin)
	f := finding{Step: stepAnswer, OK: err == nil, Took: milliseconds(took)}
	if err != nil {
		f.Note, f.Hint = err.Error(), "a relay may be overloaded, or the node stuck: clawmatrix status there"
		return []finding{f}
	}
	f.Note = fmt.Sprintf("%s, version %s, in %.1f ms", got.Node, got.Version, milliseconds(took))
	list := []finding{f}
	if skew := at.Sub(begin.Add(took / 2)).Abs(); !at.IsZero() && skew > 30*time.Second {
		list = append(list, finding{Step: stepClock, Note: "its clock and this one are " + cli.Duration(skew) + " apart", Hint: "set both: ends of invitations and credentials and the order of secrets go by the clock"})
	}
	if !got.Trusted {
		list = append(list, finding{Step: stepTrust, Note: "it does not trust this node with tools and agents", Hint: "there: clawmatrix verify " + n.config.NodeID})
	}
	return list
}

func (n *node) diagnoseTrust(id key.ID, name string) finding {
	f := finding{Step: stepTrust, OK: n.verified(id), Note: "this node trusts it with tools and agents, as far as their rules go"}
	if pin, ok := n.state.pin(id); ok {
		f.Note = fmt.Sprintf("its key is verified here, by %s", pin.How)
	}
	if !f.OK {
		f.Note, f.Hint = "it is not verified here", "compare six words with its owner: clawmatrix verify "+name
	}
	return f
}

// traced puts the findings of a link into words, with what to do.
func traced(list []link.Finding) (out []finding) {
	for _, f := range list {
		got := finding{Step: f.Step, OK: f.Err == nil, Note: f.Note, Took: milliseconds(f.Took)}
		if f.Err != nil {
			got.Note, got.Hint = f.Err.Error(), hintOf(f)
		}
		out = append(out, got)
	}
	return out
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func hintOf(f link.Finding) string {
	switch f.Step {
	case link.StepURL:
		return "write it as wss://HOST or wss://HOST:PORT"
	case link.StepDNS:
		return "check the spelling of the host, or name its address"
	case link.StepTCP:
		return "see that the node runs there with listen: true, and that no firewall is between; the port is " + link.Port + " unless another is named"
	case link.StepTLS:
		return "the port answers something else: check it, or a proxy before it"
	case link.StepWebSocket:
		return "something else answers there: a proxy before the node must pass WebSockets at " + link.Path + " on"
	case link.StepKey:
		return keyHint(f.Err)
	case link.StepSecret:
		return secretHint(f.Err)
	}
	return ""
}

func keyHint(err error) string {
	switch {
	case errors.Is(err, key.ErrNotPinned):
		return "another machine answers there, or the node has a new key: ask its owner for the six words (clawmatrix id)"
	case errors.Is(err, member.ErrRevoked):
		return "its key was revoked: that machine needs a new one, and an invitation"
	}
	return "the node may have revoked this one's key, or may be stopping: its log says why"
}

func secretHint(err error) string {
	switch {
	case errors.Is(err, link.ErrUnproven):
		return "write its key beside its url in the configuration, or verify it: clawmatrix id prints the key there"
	case errors.Is(err, link.ErrFalseServer):
		return "it is not a node of this mesh: do not go on with it"
	}
	return "compare secret in both configurations; after a revocation clawmatrix status tells which is in force; a fresh invitation sets it right"
}
