// Command tinygguf writes one of the test models of package tinygguf.
//
//	tinygguf words tiny.gguf         write the model
//	tinygguf -modelfile words tiny.gguf   print what `ollama create -f` needs
package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lobstah/internal/tinygguf"
)

var types = map[string]tinygguf.Type{"f32": tinygguf.F32, "f16": tinygguf.F16, "q8_0": tinygguf.Q8_0}

func main() {
	typ := flag.String("type", "f16", "type of the matrices: f32, f16 or q8_0")
	modelfile := flag.Bool("modelfile", false, "print an Ollama Modelfile for FILE instead of writing it")
	flag.Usage = usage
	flag.Parse()
	if err := run(flag.Args(), *typ, *modelfile); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintf(flag.CommandLine.Output(), "Usage: tinygguf [flags] MODEL FILE\n\nMODEL is one of %s.\n\n", models())
	flag.PrintDefaults()
}

func models() string { return strings.Join(slices.Sorted(maps.Keys(tinygguf.Named)), ", ") }

func run(args []string, typ string, modelfile bool) error {
	if len(args) != 2 {
		flag.Usage()
		os.Exit(2)
	}
	build, ok := tinygguf.Named[args[0]]
	if !ok {
		return fmt.Errorf("no model is named %q: use one of %s", args[0], models())
	}
	spec := build()
	if spec.Type, ok = types[typ]; !ok {
		return fmt.Errorf("no type is named %q: use f32, f16 or q8_0", typ)
	}
	if modelfile {
		return printModelfile(spec, args[1])
	}
	data, err := spec.Build()
	if err != nil {
		return err
	}
	return os.WriteFile(args[1], data, 0o644)
}

func printModelfile(spec tinygguf.Spec, file string) error {
	file, err := filepath.Abs(file)
	if err != nil {
		return fmt.Errorf("finding the folder of %s: %w", file, err)
	}
	_, err = fmt.Print(spec.Modelfile(file))
	return err
}
