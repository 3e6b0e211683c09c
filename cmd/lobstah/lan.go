package main

import (
	"lobstah/grid/discover"
	"lobstah/internal/cli"
)

var errNoLAN = cli.Usagef("the local network cannot be asked in this version")

func lanSource() (discover.Source, error) { return nil, errNoLAN }

func lanBoard() (discover.Board, error) { return nil, errNoLAN }
