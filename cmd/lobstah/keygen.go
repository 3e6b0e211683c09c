package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lobstah/internal/cli"
	"lobstah/internal/home"
	"lobstah/internal/nostrkey"
	"lobstah/key"
)

type keygenCommand struct {
	Force bool `help:"Make a new pair even when there is one. The old one, and its ledger, are kept in another folder."`
}

// Help is printed by --help.
func (keygenCommand) Help() string {
	return `The key pair is this machine's identity: its public half is what others add as
a peer and allow, its secret half signs. Other commands make it when they need
it, so keygen is only for those who want to see it first.

Examples:
  lobstah keygen            make the pair, or show the one there is
  lobstah keygen --force    start anew under another key`
}

func (c *keygenCommand) Run(ctx context.Context, a *app) error {
	if c.Force {
		if err := a.setAside(); err != nil {
			return err
		}
	}
	id, created, err := a.identity(ctx)
	if err != nil {
		return err
	}
	word := "loaded"
	if created {
		word = "created"
	}
	a.say("%s identity", word)
	a.say("%s", a.home.Identity)
	a.say("lobstah: %s", id.ID())
	a.say("nostr:   %s", nostrkey.Npub(id.NostrPublic))
	if created {
		a.say("\nThe lobstah key is public: give it to those who should lend to you or ask you.")
		a.say("The file holds the secret half. Keep a copy; without it nobody can prove to be this machine.")
	}
	return nil
}

// identity reads this machine's key pair, or makes it.
func (a *app) identity(ctx context.Context) (id key.Identity, created bool, err error) {
	id, err = key.Load(a.home.Identity)
	if errors.Is(err, fs.ErrNotExist) {
		// Two commands that both find none must not make two.
		err = a.home.Edit(ctx, func() error {
			id, created, err = key.LoadOrCreate(a.home.Identity)
			return err
		})
	}
	if _, damaged := errors.AsType[*key.DamagedError](err); damaged {
		err = cli.Hintf(err, "the file was left as it is; put a copy in its place, or move it away for a new identity")
	}
	return id, created, err
}

// ownID is this machine's key, if it has a sound one.
func (a *app) ownID() (id key.ID, known bool) {
	own, err := key.Load(a.home.Identity)
	if err != nil {
		return id, false // whoever needs the identity says what is wrong with it
	}
	return own.ID(), true
}

// setAside moves the identity and its ledger, which belong together, into
// folders beside them.
func (a *app) setAside() error {
	lock, err := a.lock("lobstah keygen")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	folder := "old-" + time.Now().Format("20060102-150405.000")
	for _, path := range []string{a.home.Identity, a.home.Ledger, a.home.Ledger + "-wal", a.home.Ledger + "-shm"} {
		if !exists(path) {
			continue
		}
		kept := filepath.Join(filepath.Dir(path), folder, filepath.Base(path))
		if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
			return fmt.Errorf("keep the old files: %w", err)
		}
		if err := os.Rename(path, kept); err != nil {
			return fmt.Errorf("keep the old files: %w", err)
		}
		a.note("kept %s as %s", filepath.Base(path), kept)
	}
	return nil
}

// lock takes the home for this process.
func (a *app) lock(what string) (*home.Lock, error) {
	lock, err := a.home.Lock(holder(what))
	held, ok := errors.AsType[*home.HeldError](err)
	if !ok {
		return lock, err
	}
	err = cli.Hintf(err, "lobstah status shows it, lobstah stop stops it; another folder (LOBSTAH_HOME) has its own identity")
	if strings.HasPrefix(what, "lobstah worker") && strings.HasPrefix(held.Holder.What, "lobstah router") ||
		strings.HasPrefix(what, "lobstah router") && strings.HasPrefix(held.Holder.What, "lobstah worker") {
		err = cli.Hintf(err, "for both at once: lobstah up")
	}
	return nil, err
}
