// Package home is the folder where a machine keeps its identity, its peers and
// its ledger: which files there are, and the lock that lets one process at a
// time use them.
//
// Start from [Find]. A process that serves calls [Home.Lock] with what it is;
// a second one gets a [*HeldError] that names the first. [Home.Holder] asks who
// it is, [Home.Edit] guards a change of a small file.
//
// Only cmd/ imports it; it does not read what the files hold. Locks are the
// operating system's, so they end with their process however it ends, and a
// lock file that is left over means nothing.
package home

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A Home is where the files are. The paths are absolute.
type Home struct {
	Dir      string
	Identity string
	Peers    string
	Allow    string
	Invites  string
	Ledger   string
	Config   string
}

// A Variable moves a file of the home.
type Variable struct{ Name, File, Meaning string }

// Variables are the environment variables that [Find] looks at. An empty
// variable counts as not set.
var Variables = []Variable{
	{"LOBSTAH_HOME", ".lobstah", "the folder of everything below"},
	{"LOBSTAH_IDENTITY", "identity.json", "this machine's key pair"},
	{"LOBSTAH_PEERS", "peers.json", "the workers that this machine's router asks"},
	{"LOBSTAH_ALLOW", "allow.json", "the keys that this machine's worker serves"},
	{"LOBSTAH_INVITES", "invites.json", "the invitations that were made, and who came"},
	{"LOBSTAH_LEDGER", "ledger.db", "the receipts"},
	{"LOBSTAH_CONFIG", "config.yaml", "the settings, optional"},
}

// Find tells the paths that the variables and the user's home folder give. It
// touches no file.
func Find(getenv func(string) string) (Home, error) {
	dir := getenv("LOBSTAH_HOME")
	if dir == "" {
		user, err := userDir(getenv)
		if err != nil {
			return Home{}, fmt.Errorf("find the home folder: %w; set LOBSTAH_HOME", err)
		}
		dir = filepath.Join(user, ".lobstah")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Home{}, fmt.Errorf("find the home folder: %w", err)
	}
	h := Home{Dir: dir}
	paths := []*string{&h.Dir, &h.Identity, &h.Peers, &h.Allow, &h.Invites, &h.Ledger, &h.Config}
	for i, v := range Variables[1:] {
		path := getenv(v.Name)
		if path == "" {
			path = filepath.Join(dir, v.File)
		}
		if *paths[i+1], err = filepath.Abs(path); err != nil {
			return Home{}, fmt.Errorf("%s: %w", v.Name, err)
		}
	}
	return h, nil
}

func userDir(getenv func(string) string) (string, error) {
	for _, name := range []string{"HOME", "USERPROFILE"} {
		if dir := getenv(name); dir != "" {
			return dir, nil
		}
	}
	return "", errors.New("neither HOME nor USERPROFILE is set")
}

// Make makes the folder, readable by its owner alone.
func (h Home) Make() error {
	if err := os.MkdirAll(h.Dir, 0o700); err != nil {
		return fmt.Errorf("make the home folder: %w", err)
	}
	return nil
}
