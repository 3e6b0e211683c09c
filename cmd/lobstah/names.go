package main

import (
	"fmt"
	"slices"
	"strings"

	"lobstah/grid/allow"
	"lobstah/grid/discover"
	"lobstah/internal/cli"
	"lobstah/internal/home"
	"lobstah/key"
)

// A nameplate is a name that a key bears on one of this machine's lists.
type nameplate struct {
	id    key.ID
	label string
}

// nameplates reads whom this machine asks and whom it serves.
func nameplates(h home.Home) ([]nameplate, error) {
	var all []nameplate
	peers, err := discover.Read(h.Peers)
	if err != nil {
		return nil, err
	}
	for _, p := range peers {
		all = append(all, nameplate{p.ID, p.Label})
	}
	allowed, err := allow.Read(h.Allow)
	if err != nil {
		return nil, err
	}
	for _, e := range allowed {
		all = append(all, nameplate{e.ID, e.Label})
	}
	return all, nil
}

// knownAs is what this machine calls a key already; empty for nothing.
func knownAs(id key.ID, all []nameplate) string {
	i := slices.IndexFunc(all, func(n nameplate) bool { return n.id == id && n.label != "" })
	if i < 0 {
		return ""
	}
	return all[i].label
}

// distinctName returns label, with a number where another key than id bears it: two
// machines from one shop have the same host name, and peers revoke NAME has to
// mean one of them.
func distinctName(label string, id key.ID, all []nameplate) string {
	taken := map[string]bool{"": false}
	for _, n := range all {
		if n.id != id {
			taken[n.label] = n.label != ""
		}
	}
	name := label
	for i := 2; taken[name]; i++ {
		number := fmt.Sprintf("-%d", i)
		name = strings.ToValidUTF8(label[:min(len(label), discover.MaxLabel-len(number))], "") + number
	}
	return name
}

// keyMeant reads a key, the label of exactly one machine, or the beginning of
// exactly one machine's key.
func keyMeant(text string, all []nameplate) (key.ID, error) {
	if id, err := key.ParseID(text); err == nil {
		return id, nil
	}
	found := keysOf(all, func(n nameplate) bool { return n.label != "" && n.label == text })
	if len(found) == 0 && len(text) >= len("lob1")+8 {
		found = keysOf(all, func(n nameplate) bool { return strings.HasPrefix(n.id.String(), text) })
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return key.ID{}, cli.Hintf(cli.Usagef("%q is neither a key nor the label of one machine", text), "lobstah peers and lobstah allow list print them")
	}
	return key.ID{}, cli.Hintf(cli.Usagef("%d machines are called %q", len(found), text),
		"name the one you mean by the beginning of its key; lobstah peers and lobstah allow list print them")
}

// keysOf returns the keys whose nameplates match, each once.
func keysOf(all []nameplate, match func(nameplate) bool) []key.ID {
	var found []key.ID
	for _, n := range all {
		if match(n) && !slices.Contains(found, n.id) {
			found = append(found, n.id)
		}
	}
	return found
}
