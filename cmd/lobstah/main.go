// Command lobstah pools the machines of people who can run language models: it
// lends this machine's models to those it allows, finds a peer for each request
// that is sent to its one OpenAI-compatible address, and keeps signed receipts
// of who served whom.
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
