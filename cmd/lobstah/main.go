// Command lobstah pools machines that can run language models: it lends this
// machine's models to those it allows, finds a peer for each request that is
// sent to its one OpenAI-compatible address, and keeps signed receipts of who
// served whom.
//
// Start from [commands] in app.go, which lists everything that can be typed;
// each command stands in the file of its name. What serves (up, worker start,
// router start) is a [process]: opened, served and closed in process.go, stopped
// in drain.go, spoken to by other commands through control.go. Settings are in
// settings.go, engines in engines.go, the ledger's two faces in books.go.
//
// It composes the packages under grid, ledger and internal, and is imported by
// nobody. All of it works on what [run] is given, so that scripts in testdata
// run the whole program. Hostile are the answers of routers and peers that it
// prints, which pass through [cli.Clean].
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
