// Command clawmatrix makes this machine a node of a mesh: nodes dial each other
// outwards, relay for each other, and share models, tools and agents.
//
// Start from [commands] in app.go, which lists everything that can be typed;
// each command stands in the file of its name. clawmatrix start is a [node]:
// node.go says what it serves to the mesh, to programs of this machine and to its
// owner, and is the place to mount more. What it remembers is in state.go.
//
// It composes the packages under mesh, grid and internal, and is imported by
// nobody. Hostile are the names and texts of other nodes that it prints, which
// pass through [cli.Clean], and whatever they ask, which their handlers judge.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"lobstah/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt does what it always does
	code := run(ctx, os.Args[1:], cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Environ()})
	stop()
	os.Exit(code)
}
