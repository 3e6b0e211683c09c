package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// originalLobster is where the tests with other people's programs install it.
const originalLobster = "interop/js/node_modules/.bin/lobster"

// measureLobster measures the shell beside the original where that is
// installed, in turns.
func measureLobster(ctx context.Context, p plan) (err error) {
	folder, err := os.MkdirTemp("", "lobster-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	ours, err := build(ctx, folder, "lobster")
	if err != nil {
		return err
	}
	items := filepath.Join(folder, "items.json")
	if err := os.WriteFile(items, manyItems(100_000), 0o600); err != nil {
		return err
	}
	programs := []string{"true", ours}
	if _, err := os.Stat(originalLobster); err == nil {
		programs = append(programs, originalLobster)
	} else {
		fmt.Println("lobster: the original is not installed (npm ci in interop/js), so ours is measured alone")
	}
	pipeline := fmt.Sprintf("exec --json 'cat %s' | where 'n>500' | sort --key n | head 3", items)
	for _, task := range []struct {
		name string
		args []string
	}{{"lobster version", []string{"version"}}, {"where, sort, head of 100,000", []string{pipeline}}} {
		if err := compare(ctx, folder, task.name, programs, task.args, 3*p.rounds); err != nil {
			return err
		}
	}
	return nil
}

func manyItems(n int) []byte {
	var b strings.Builder
	b.WriteByte('[')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":%d,"n":%d,"name":"item %d","tags":["a","b"]}`, i, i*7919%1000, i)
	}
	b.WriteByte(']')
	return []byte(b.String())
}

// compare runs each program in turns and prints medians.
func compare(ctx context.Context, folder, name string, programs, args []string, rounds int) error {
	wall, cpu := make([][]time.Duration, len(programs)), make([][]time.Duration, len(programs))
	peak := make([]float64, len(programs)) // MiB, at least what bench itself takes
	for range rounds {
		for i, program := range programs {
			cmd := exec.CommandContext(ctx, program, args...)
			cmd.Env = append(os.Environ(), "LOBSTER_STATE_DIR="+folder)
			began := time.Now()
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("%s %q: %w", program, args, err)
			}
			wall[i] = append(wall[i], time.Since(began))
			cpu[i] = append(cpu[i], cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
			peak[i] = max(peak[i], peakMemory(cmd.ProcessState))
		}
	}
	for i, label := range []string{"true", "ours", "the original"}[:len(programs)] {
		fmt.Printf("%-34s %-13s %12s wall %12s CPU %8.1f MiB\n", name, label, round(median(wall[i])), round(median(cpu[i])), peak[i])
	}
	return nil
}
