// Command lobster runs deterministic workflows: pipelines of JSON values, and workflow files that stop for a person's approval.
//
// main only hands the process over: program (program.go) finds the subcommand, one file has each of them, output.go prints what callers
// parse, and everything that happens between is in lobstah/flow. Called as openclaw.invoke or clawd.invoke it runs that one command.
package main

import (
	"os"
	"runtime/debug"
)

// version is set by the linker for releases.
var version = "2026.9.13+lobstah"

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // runs are short, and many may share a small machine
	}
	p := &program{args: os.Args[1:], environ: os.Environ(), in: os.Stdin, out: os.Stdout, err: os.Stderr}
	os.Exit(p.main(os.Args[0]))
}
