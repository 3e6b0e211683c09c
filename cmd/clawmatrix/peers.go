package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"lobstah/internal/cli"
	"lobstah/key"
	"lobstah/mesh"
	"lobstah/mesh/config"
	"lobstah/mesh/member"
	"lobstah/mesh/trust"
)

type peersCommand struct {
	JSON  bool          `name:"json" help:"Print JSON; with --watch one line for each look."`
	Watch bool          `help:"Look again and again, until Ctrl-C."`
	Every time.Duration `default:"2s" placeholder:"TIME" help:"How often --watch looks."`
}

// Help is printed by --help.
func (peersCommand) Help() string {
	return `STATE is direct (a link of its own), relayed (through other nodes, which can
neither read nor change what passes) or unreachable. A node is verified when its
key is pinned here: by an invitation, the configuration, or compared words.
clawmatrix doctor NODE looks into one that does not work.`
}

// The states of a node as seen from here.
const (
	direct      = "direct"
	relayed     = "relayed"
	unreachable = "unreachable"
)

// A peerView is another node as this one sees it.
type peerView struct {
	Name     string         `json:"name"`
	Key      key.ID         `json:"key,omitzero"` // missing for a peer that was never reached
	State    string         `json:"state"`
	Via      string         `json:"via,omitempty"` // the first relay
	Hops     int            `json:"hops,omitempty"`
	Latency  float64        `json:"latencyMs,omitempty"` // there and back
	Since    time.Time      `json:"since,omitzero"`
	Verified bool           `json:"verified"` // its key is pinned here
	How      trust.How      `json:"how,omitempty"`
	Revoked  bool           `json:"revoked,omitempty"`
	Trusted  bool           `json:"trusted"` // may use tools and agents here, as far as their rules go
	Agents   []member.Agent `json:"agents"`
	Models   []member.Model `json:"models"`
	Tools    []string       `json:"tools"`
	Tags     []string       `json:"tags"`
	URL      string         `json:"url,omitempty"` // that the configuration dials
	Why      []string       `json:"why,omitempty"` // what is not as it might be
}

func (n *node) peers() []peerView {
	members := n.mesh.Members()
	names := map[key.ID]string{}
	for _, m := range members {
		names[m.Key] = m.Name
	}
	seen := map[key.ID]bool{}
	list := []peerView{}
	for _, m := range members {
		seen[m.Key] = true
		list = append(list, n.view(m, names))
	}
	for _, p := range n.state.pinList() {
		if !seen[p.Key] {
			seen[p.Key] = true
			list = append(list, n.absent(p))
		}
	}
	list = n.addDials(list)
	slices.SortFunc(list, func(a, b peerView) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), slices.Compare(a.Key[:], b.Key[:]))
	})
	return list
}

// view is a node that the membership knows.
func (n *node) view(m member.Member, names map[key.ID]string) peerView {
	v := peerView{
		Name: m.Name, Key: m.Key, State: unreachable, Since: m.Since, Trusted: n.verified(m.Key),
		Agents: orEmpty(m.Agents), Models: orEmpty(m.Models), Tools: orEmpty(m.Tools), Tags: orEmpty(m.Tags),
	}
	v.trustOf(n)
	switch {
	case n.mesh.Revoked(m.Key):
		v.Revoked, v.Why = true, append(v.Why, "its key was revoked")
	case m.Status == member.Dead && m.Gone:
		v.Why = append(v.Why, "it said goodbye")
	case m.Status == member.Dead:
		v.Why = append(v.Why, "no link leads to it any more")
	case m.Status == member.Suspect:
		v.Why = append(v.Why, "no link leads to it just now; it is given up soon if that lasts")
	case m.Direct:
		v.State = direct
	default:
		v.State, v.Via, v.Hops = relayed, cmp.Or(names[m.Via], m.Via.Short()), m.Hops
	}
	if v.State != unreachable {
		v.Latency = float64(m.RTT.Microseconds()) / 1000
	}
	return v
}

// absent is a verified node that nobody has spoken of since this one started.
func (n *node) absent(p trust.Pin) peerView {
	v := peerView{Name: p.Name, Key: p.Key, State: unreachable, Agents: []member.Agent{}, Models: []member.Model{}, Tools: []string{}, Tags: []string{}}
	v.trustOf(n)
	v.Trusted = n.verified(p.Key)
	if v.Revoked = n.mesh.Revoked(p.Key); v.Revoked {
		v.Why = append(v.Why, "its key was revoked")
	} else {
		v.Why = append(v.Why, "not seen since this node started")
	}
	return v
}

// trustOf says whether and how the node is verified, and why not.
func (v *peerView) trustOf(n *node) {
	if pin, ok := n.state.pin(v.Key); ok {
		v.Verified, v.How = true, pin.How
		if pin.Name != v.Name {
			v.Why = append(v.Why, fmt.Sprintf("it is verified as %s, which is its name here, and calls itself %s; clawmatrix verify %s takes that over", pin.Name, v.Name, v.Name))
		}
		return
	}
	if other, taken := n.state.pinned()[v.Name]; taken && !n.mesh.Revoked(other) && !n.mesh.Revoked(v.Key) {
		v.Why = append(v.Why, fmt.Sprintf("IMPOSTOR? %s is verified with another key, %s; this one is %s, and clawmatrix revoke with that key ends it", v.Name, other.Short(), v.Key))
		return
	}
	if n.config.Trust == config.Verified && !n.mesh.Revoked(v.Key) {
		v.Why = append(v.Why, "not verified: it may use models here, and neither tools nor agents; clawmatrix verify "+v.Name)
	}
}

// addDials tells of configured peers where they are dialled, and why in vain.
func (n *node) addDials(list []peerView) []peerView {
	for _, d := range n.mesh.Dials() {
		i := slices.IndexFunc(list, func(v peerView) bool {
			return !d.Key.IsZero() && v.Key == d.Key || !d.Reached.IsZero() && v.Key == d.Reached || d.Reached.IsZero() && d.Key.IsZero() && d.Name != "" && v.Name == d.Name
		})
		if i < 0 {
			i = len(list)
			v := n.absent(trust.Pin{Name: cmp.Or(d.Name, d.URL), Key: d.Key})
			v.Why = nil
			list = append(list, v)
		}
		list[i].URL = d.URL
		if why := dialFault(d); why != "" {
			list[i].Why = append(list[i].Why, why)
		}
	}
	return list
}

func dialFault(d mesh.Dial) string {
	switch {
	case d.Up:
		return ""
	case d.Err == nil:
		return d.URL + " is being dialled for the first time"
	case d.Next.IsZero():
		return fmt.Sprintf("%s is being dialled again after: %v", d.URL, plainly(d.Err))
	}
	return fmt.Sprintf("%s: %v; dialled again within %s", d.URL, plainly(d.Err), cli.Duration(max(time.Until(d.Next).Round(time.Second), time.Second)))
}

// plainly is the cause of a failed request, without the address that is said before
// it and what the request was.
func plainly(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (c *peersCommand) Run(ctx context.Context, a *app) error {
	if !c.Watch {
		list, err := a.peers(ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.json(list)
		}
		return a.printPeers(list)
	}
	if c.Every < 100*time.Millisecond {
		return cli.Usagef("--every %s: want at least 100ms", c.Every)
	}
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	for {
		if err := c.look(ctx, a); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil // that is how watching ends
		}
	}
}

func (c *peersCommand) look(ctx context.Context, a *app) error {
	list, err := a.peers(ctx)
	if err != nil || c.JSON {
		if err == nil {
			err = jsonLine(a.Out, list)
		}
		return err
	}
	if cli.Terminal(a.Out) {
		fmt.Fprint(a.Out, "\x1b[H\x1b[2J")
	}
	a.say("%s", time.Now().Format(time.TimeOnly))
	return a.printPeers(list)
}

func (a *app) peers(ctx context.Context) (list []peerView, err error) {
	return list, a.get(ctx, "/peers", &list)
}

func (a *app) printPeers(list []peerView) error {
	if len(list) == 0 {
		a.say("no other node is known yet")
		a.note("clawmatrix invite lets one in; peers in the configuration are dialled")
		return nil
	}
	t := cli.Table{Right: []int{3}}
	t.Row("NODE", "STATE", "VIA", "LATENCY", "VERIFIED", "AGENTS", "MODELS", "TOOLS", "TAGS")
	for _, v := range list {
		t.Row(v.Name, v.State, v.Via, v.latency(), v.verifiedBy(), names(v.Agents, func(a member.Agent) string { return a.ID }),
			names(v.Models, func(m member.Model) string { return m.ID }), strings.Join(v.Tools, ","), strings.Join(v.Tags, ","))
	}
	if err := t.Print(a.Out, ""); err != nil {
		return err
	}
	for _, v := range list {
		for _, why := range v.Why {
			a.say("%s: %s", cli.CleanLine(v.Name), cli.CleanLine(why))
		}
	}
	return nil
}

func (v *peerView) latency() string {
	if v.State == unreachable {
		return ""
	}
	return fmt.Sprintf("%.1f ms", v.Latency)
}

func (v *peerView) verifiedBy() string {
	switch {
	case v.Revoked:
		return "revoked"
	case !v.Verified:
		return "no"
	}
	return "by " + string(v.How)
}

func names[T any](list []T, name func(T) string) string {
	texts := make([]string, len(list))
	for i, item := range list {
		texts[i] = name(item)
	}
	return strings.Join(texts, ",")
}
