package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"lobstah/internal/cli"
	"lobstah/internal/home"
	"lobstah/key"
	"lobstah/mesh/config"
)

// findHome tells where the files are. It touches none.
func (a *app) findHome() (home.Home, error) {
	dir := a.options.Home
	if dir == "" {
		dir = a.Getenv("CLAWMATRIX_HOME")
	}
	if dir == "" {
		user := a.Getenv("HOME")
		if user == "" {
			user = a.Getenv("USERPROFILE")
		}
		if user == "" {
			return home.Home{}, cli.Hintf(errors.New("cannot find the home folder: neither HOME nor USERPROFILE is set"), "name one: --home DIR")
		}
		dir = filepath.Join(user, ".clawmatrix")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return home.Home{}, fmt.Errorf("find the home folder: %w", err)
	}
	h := home.Home{Dir: dir, Identity: filepath.Join(dir, "identity.json"), Invites: filepath.Join(dir, "invites.json")}
	h.Config, err = filepath.Abs(a.configPath(dir))
	return h, err
}

// configPath is what --config says, else the file in the home that exists.
func (a *app) configPath(dir string) string {
	if a.options.Config != "" {
		return a.options.Config
	}
	path := filepath.Join(dir, "config.yaml")
	if other := filepath.Join(dir, "config.json"); !exists(path) && exists(other) {
		return other
	}
	return path
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// config reads the configuration.
func (a *app) config() (*config.Config, error) {
	c, err := config.Read(a.home.Config)
	if errors.Is(err, config.ErrNone) {
		return nil, cli.Hintf(err, "%s", makeOne)
	}
	if err != nil {
		return nil, err
	}
	user, err := os.UserHomeDir()
	if err != nil {
		return c, nil // then ~/ means nothing, as whoever opens such a file will say
	}
	c.Expand(user)
	return c, nil
}

// identity reads this node's key pair, or makes it.
func (a *app) identity(ctx context.Context) (id key.Identity, err error) {
	id, err = key.Load(a.home.Identity)
	if errors.Is(err, fs.ErrNotExist) {
		// Two commands that both find none must not make two.
		err = a.home.Edit(ctx, func() error {
			id, _, err = key.LoadOrCreate(a.home.Identity)
			return err
		})
	}
	if _, damaged := errors.AsType[*key.DamagedError](err); damaged {
		err = cli.Hintf(err, "the file was left as it is; put a copy in its place, or move it away for a new identity")
	}
	return id, err
}

// lock takes the home for this process.
func (a *app) lock() (*home.Lock, error) {
	lock, err := a.home.Lock(home.Holder{PID: os.Getpid(), What: "clawmatrix start", Since: time.Now().Truncate(time.Second)})
	if _, held := errors.AsType[*home.HeldError](err); held {
		err = cli.Hintf(err, "clawmatrix status shows it, clawmatrix stop stops it; another folder (--home) is another node")
	}
	return lock, err
}
