package main

import (
	"strings"

	"lobstah/internal/cli"
)

// A missing is something that the original, or the documentation of what is to
// come, knows and this version does not.
type missing struct {
	command string // how it begins
	flag    string // with --; empty when it is the command itself
	what    string
	instead string
}

var missings = []missing{
	{"peers sync", "", "asking a tracker for peers", "add them by hand: lobstah peers add PUBKEY URL"},
	{"peers gossip-nostr", "", "finding peers over Nostr", "add them by hand: lobstah peers add PUBKEY URL"},
	{"balance", "--network", "collecting other people's receipts from relays", "lobstah balance shows this machine's own ledger"},
	{"balance", "--nostr-relay", "collecting other people's receipts from relays", "lobstah balance shows this machine's own ledger"},
	{"worker", "--publish-via-nostr", "announcing over Nostr", joinInstead},
	{"worker", "--nostr-relay", "announcing over Nostr", joinInstead},
	{"worker", "--announce-to", "announcing to a tracker", joinInstead},
	{"worker", "--announce-url", "announcing to a tracker", joinInstead},
	{"worker", "--announce-label", "announcing to a tracker", joinInstead},
	{"worker", "--announce-ttl", "announcing to a tracker", joinInstead},
}

const joinInstead = "join the two machines by one line instead: lobstah invite here, lobstah join LINE there"

// notYet refuses what is not in this version, instead of ignoring it.
func notYet(args []string) error {
	line := strings.Join(args, " ") + " "
	for _, m := range missings {
		if strings.HasPrefix(line, m.command+" ") && m.asked(args) {
			return cli.Hintf(cli.Usagef("%s is not in this version", m.what), "%s", m.instead)
		}
	}
	return nil
}

func (m missing) asked(args []string) bool {
	if m.flag == "" {
		return true
	}
	for _, arg := range args {
		if arg == m.flag || strings.HasPrefix(arg, m.flag+"=") {
			return true
		}
	}
	return false
}
