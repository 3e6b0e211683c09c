package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// measureStart measures how long the programs take to start and say something,
// beside one that does nothing.
func measureStart(ctx context.Context, p plan) (err error) {
	folder, err := os.MkdirTemp("", "lobstah-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	program, err := build(ctx, folder, "lobstah")
	if err != nil {
		return err
	}
	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	var nothing, help []time.Duration
	for range 10 * p.rounds {
		for times, argv := range map[*[]time.Duration][]string{&nothing: {"true"}, &help: {program, "--help"}} {
			began := time.Now()
			if err := exec.CommandContext(ctx, argv[0], argv[1:]...).Run(); err != nil {
				return err
			}
			*times = append(*times, time.Since(began))
		}
	}
	fmt.Printf("%-34s %s (true: %s), %.1f MiB\n", "lobstah --help, median", round(median(help)), round(median(nothing)), float64(info.Size())/(1<<20))
	return nil
}

// build makes one of the programs as it is released.
func build(ctx context.Context, folder, name string) (program string, err error) {
	program = filepath.Join(folder, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "lobstah/cmd/"+name)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return program, nil
}
