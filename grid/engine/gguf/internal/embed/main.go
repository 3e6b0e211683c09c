// Command embed writes the demo model, packed, for package gguf to embed. It is
// run by `go generate ./grid/engine/gguf`.
package main

import (
	"compress/gzip"
	"fmt"
	"os"

	"lobstah/internal/tinygguf"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "Usage: embed FILE.gguf.gz")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func write(path string) error {
	model, err := tinygguf.Demo().Build()
	if err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	packer, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := packer.Write(model); err != nil {
		return err
	}
	if err := packer.Close(); err != nil {
		return err
	}
	return out.Close()
}
